#include "host/scheduling/record.h"

#include <bit>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/scheduling/test_rig.h"

namespace epp::scheduling {
namespace {

using telemetry::DecisionRecord;
using telemetry::ProfileRecord;
using test::Rig;

// One line of a record, as explain would read it.
struct Row {
  uint64_t id;
  double total;
  std::vector<double> scores;
};

std::vector<Row> RowsOf(const DecisionRecord& record, const ProfileRecord& profile) {
  std::vector<Row> rows;
  for (size_t r = 0; r < profile.row_count; ++r) {
    const double* cell = record.cells.data() + profile.cells_begin + r * profile.stride();
    rows.push_back({std::bit_cast<uint64_t>(cell[0]), cell[1],
                    std::vector<double>(cell + 2, cell + 2 + profile.scorer_count)});
  }
  return rows;
}

// The record alone must lead to the pick: totals re-added from scores and weights, compared with
// the best of what has no row.
void CheckExplains(const DecisionRecord& record, const ProfileRecord& profile, const Rig& rig) {
  const auto& scored = rig.context.scored[profile.profile];
  const uint32_t n = scored.list->size();
  const std::vector<Row> rows = RowsOf(record, profile);
  ASSERT_EQ(rows.size() + profile.omitted, n);
  std::map<uint64_t, double> truth;
  for (uint32_t i = 0; i < n; ++i) truth[scored.list->endpoints()[i]->id] = scored.totals[i];

  std::set<uint64_t> shown;
  double best = profile.omitted ? profile.omitted_best : -INFINITY;
  const Row* picked = nullptr;
  ASSERT_GE(profile.pick_count, 1);
  for (const Row& row : rows) {
    EXPECT_TRUE(shown.insert(row.id).second) << "two rows of one endpoint";
    double total = 0;
    for (size_t s = 0; s < profile.scorer_count; ++s) {
      ASSERT_GE(row.scores[s], 0.0);
      ASSERT_LE(row.scores[s], 1.0);
      total += profile.scorers[s].weight * row.scores[s];
    }
    EXPECT_EQ(total, row.total);
    EXPECT_EQ(total, truth.at(row.id));
    best = std::max(best, total);
    if (row.id == profile.picks[0]) picked = &row;
  }
  ASSERT_NE(picked, nullptr) << "the pick has no row";
  EXPECT_EQ(picked->total, best);
  const epp_profile_result& result = *rig.context.results[profile.profile];
  EXPECT_EQ(result.targets[0]->id, profile.picks[0]);

  double omitted_best = -INFINITY;
  double overall = -INFINITY;
  for (const auto& [id, total] : truth) {
    overall = std::max(overall, total);
    if (!shown.contains(id)) omitted_best = std::max(omitted_best, total);
  }
  if (profile.omitted) {
    EXPECT_EQ(profile.omitted_best, omitted_best);
  }
  EXPECT_EQ(profile.ties, std::count_if(truth.begin(), truth.end(),
                                        [&](const auto& t) { return t.second == overall; }));
}

TEST(RecordTest, TheRecordOfARandomDecisionExplainsThePick) {
  std::mt19937_64 random(20260101);
  const auto below = [&](uint64_t n) { return random() % n; };
  int decisions = 0;
  for (int pool = 0; pool < 40; ++pool) {
    Rig rig(1 + below(pool % 2 ? 20 : 300));
    rig.record.emplace();
    const size_t profiles = 1 + below(3);
    for (size_t p = 0; p < profiles; ++p) {
      rig.AddProfile(
          "profile-" + std::to_string(p),
          [&](const Call& c, const Candidates& in, std::span<const double> totals, Picks& picks) {
            return test::BestPicker(random())(c, in, totals, picks);
          });
      for (size_t f = below(4); f > 0; --f) {
        rig.AddFilter(p, [&](const Call&, const Candidates& in, epp::Keep& keep) {
          for (size_t i = 0; i < in.size(); ++i) keep.SetIf(i, below(8) != 0);
          keep.Set(below(in.size()));
          return Status();
        });
      }
      for (size_t s = below(6); s > 0; --s) {
        const double weight = static_cast<double>(below(7)) - 2 + (below(2) ? 0.5 : 0.0);
        const bool coarse = below(2);  // ties
        rig.AddScorer(p, weight,
                      [&, coarse](const Call&, const Candidates&, std::span<double> out) {
                        for (double& score : out) {
                          score = coarse ? static_cast<double>(below(3)) / 2
                                         : static_cast<double>(below(1 << 20)) / (1 << 19) - 0.5;
                        }
                        if (below(20) == 0) out[below(out.size())] = NAN;
                        return below(50) ? Status() : Status(EPP_INTERNAL, "now and then");
                      });
      }
    }
    for (int i = 0; i < 250; ++i, ++decisions) {
      *rig.record = DecisionRecord{};
      ASSERT_FALSE(rig.Run());
      ASSERT_EQ(rig.record->profile_count, profiles);
      ASSERT_LE(rig.record->cells_used, DecisionRecord::kMaxCells);
      EXPECT_EQ(rig.record->primary, 0);
      for (size_t p = 0; p < profiles; ++p) {
        SCOPED_TRACE(testing::Message() << "decision " << decisions << " profile " << p);
        const ProfileRecord& profile = rig.record->profiles[p];
        EXPECT_FALSE(profile.failed);
        EXPECT_EQ(profile.candidates, rig.context.candidates->size());
        EXPECT_EQ(profile.filter_count, rig.wiring.profiles[p].filters.size());
        CheckExplains(*rig.record, profile, rig);
        if (testing::Test::HasFailure()) return;
      }
    }
  }
  EXPECT_EQ(decisions, 10'000);
}

TEST(RecordTest, FiltersSayWhomTheyDropped) {
  Rig rig(6);
  rig.record.emplace();
  rig.AddProfile("default");
  const auto drop = [](std::set<uint32_t> rows) {
    return [rows](const Call&, const Candidates& in, epp::Keep& keep) {
      for (size_t i = 0; i < in.size(); ++i) keep.SetIf(i, !rows.contains(in.row(i)));
      return Status();
    };
  };
  const BoundPlugin* first = rig.AddFilter(0, drop({1, 3}));
  rig.AddFilter(0, drop({}));
  rig.AddFilter(0, drop({0}));
  ASSERT_FALSE(rig.Run());
  const DecisionRecord& record = *rig.record;
  const ProfileRecord& profile = record.profiles[0];
  ASSERT_EQ(profile.filter_count, 3);
  EXPECT_EQ(profile.filters[0].plugin, first->index);
  EXPECT_EQ(profile.filters[0].in, 6u);
  EXPECT_EQ(profile.filters[0].out, 4u);
  EXPECT_EQ(profile.filters[1].out, 4u);
  EXPECT_EQ(profile.filters[2].out, 3u);
  const auto endpoints = rig.context.candidates->endpoints();
  ASSERT_EQ(record.dropped_count, 3);
  EXPECT_EQ(record.dropped[0], endpoints[1]->id);
  EXPECT_EQ(record.dropped[1], endpoints[3]->id);
  EXPECT_EQ(record.dropped[2], endpoints[0]->id);
  EXPECT_EQ(record.dropped_by[1], 0);
  EXPECT_EQ(record.dropped_by[2], 2);
}

TEST(RecordTest, MoreThanFits) {
  Rig rig(100);
  rig.record.emplace();
  for (const char* name : {"a", "b", "c", "d"}) rig.AddProfile(name);
  for (size_t p = 0; p < 4; ++p) {
    for (int i = 0; i < 12; ++i) {
      rig.AddFilter(p, [](const Call&, const Candidates& in, epp::Keep& keep) {
        for (size_t k = 3; k < in.size(); ++k) keep.Set(k);
        return Status();
      });
      rig.AddScorer(p, 1,
                    [](const Call&, const Candidates&, std::span<double>) { return Status(); });
    }
  }
  ASSERT_FALSE(rig.Run());
  EXPECT_EQ(rig.record->profile_count, DecisionRecord::kMaxProfiles);
  EXPECT_EQ(rig.record->dropped_count, DecisionRecord::kMaxDropped);
  EXPECT_LE(rig.record->cells_used, DecisionRecord::kMaxCells);
  for (size_t p = 0; p < 3; ++p) {
    const ProfileRecord& profile = rig.record->profiles[p];
    EXPECT_EQ(profile.filter_count, ProfileRecord::kMaxSteps);
    EXPECT_EQ(profile.scorer_count, ProfileRecord::kMaxSteps);
    EXPECT_EQ(profile.row_count + profile.omitted, 64u);
    EXPECT_GT(profile.row_count, 4);
  }
}

TEST(RecordTest, ColumnsBesideTheScores) {
  Rig rig(3);
  rig.record.emplace();
  rig.AddProfile("default");
  rig.AddProducer("p", EPP_T_I64, EPP_SCOPE_ENDPOINT, {},
                  [](const Call&, const Candidates&, epp::Outputs& out) {
                    out.column<int64_t>(0)[0] = 12;
                    out.Clear(0, 1);
                    return Status();
                  });
  rig.Read(rig.AddScorer(0, 1, test::Scores({1, 0, 0})), 0);
  ASSERT_FALSE(rig.Run());
  const ProfileRecord& profile = rig.record->profiles[0];
  const double* cells = rig.record->cells.data() + profile.cells_begin;
  EXPECT_EQ(cells[3], 12);
  EXPECT_TRUE(std::isnan(cells[profile.stride() + 3]));
  EXPECT_EQ(cells[2 * profile.stride() + 3], 0);
}

TEST(RecordTest, AFailedProfileIsMarked) {
  Rig rig(2);
  rig.record.emplace();
  rig.AddProfile("default");
  rig.AddFilter(0, [](const Call&, const Candidates&, epp::Keep&) { return Status(); });
  ASSERT_TRUE(rig.Run());
  EXPECT_TRUE(rig.record->profiles[0].failed);
  EXPECT_EQ(rig.record->primary, 0xff);
  EXPECT_EQ(rig.record->dropped_count, 2);
}

}  // namespace
}  // namespace epp::scheduling
