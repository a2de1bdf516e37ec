#include "host/scheduling/candidates.h"

#include <random>
#include <string>

#include "gtest/gtest.h"
#include "host/scheduling/test_rig.h"

namespace epp::scheduling {
namespace {

using test::Rig;

// Values of every type on some endpoints; which and what follows from the endpoint's number.
class CandidatesTest : public testing::Test {
 protected:
  static constexpr size_t kEndpoints = 150;
  void SetUp() override {
    int64_ = rig_.FrameSource("int", EPP_T_I64);
    float_ = rig_.FrameSource("float", EPP_T_F64);
    bool_ = rig_.FrameSource("bool", EPP_T_BOOL);
    symbol_ = rig_.FrameSource("symbol", EPP_T_SYMBOL);
    list_ = rig_.FrameSource("list", EPP_T_SYMBOL_LIST);
    label_ = rig_.FrameSource("label/zone", EPP_T_SYMBOL, "");
    plugin_ = rig_.Add("reader", {});
    plugin_->columns = {int64_, float_, bool_, symbol_, list_, label_, {Source::Kind::kAge, 0}, {}};
    rig_.pool.Publish();
    const auto frame = rig_.pool.current();
    for (const epp_endpoint* e : frame->endpoints()) {
      const uint64_t i = e->id;
      std::vector<pool::AttributeValue> values;
      const auto id = [&](const Source& s) { return rig_.wiring.frame_columns[s.index]; };
      if (i % 2) values.push_back({.id = id(int64_), .i64 = Int(i)});
      if (i % 3) values.push_back({.id = id(float_), .f64 = Float(i)});
      if (i % 5) values.push_back({.id = id(bool_), .i64 = 1});
      values.push_back({.id = id(symbol_), .i64 = static_cast<int64_t>(i + 7)});
      if (i % 4) values.push_back({.id = id(list_), .symbols = List(i)});
      if (i % 7) rig_.pool.Update(i, values, true);
    }
    rig_.pool.Publish();
    rig_.clock.Advance(1'000);
  }
  static int64_t Int(uint64_t i) { return static_cast<int64_t>(i) * 11 - 50; }
  static double Float(uint64_t i) { return static_cast<double>(i) / 8; }
  static std::vector<uint32_t> List(uint64_t i) {
    return std::vector<uint32_t>(i % 6, static_cast<uint32_t>(i));
  }

  void Check(CandidateList* list) {
    const epp_candidates* view = list->View(*plugin_, rig_.arena);
    const Candidates in(view);
    ASSERT_EQ(in.size(), list->size());
    EXPECT_EQ(view->struct_size, sizeof(epp_candidates));
    EXPECT_EQ(view->column_count, 8u);
    EXPECT_EQ(view->frame, rig_.pool.current()->number());
    for (size_t k = 0; k < in.size(); ++k) {
      const uint64_t i = in.endpoint(k).id;
      SCOPED_TRACE(i);
      EXPECT_EQ(in.slot(k), in.endpoint(k).slot);
      EXPECT_EQ(rig_.context.candidates->endpoints()[in.row(k)]->id, i);
      const bool scraped = i % 7;
      const auto ints = in.column<int64_t>(0);
      EXPECT_EQ(ints.has(k), scraped && i % 2);
      EXPECT_EQ(ints[k], ints.has(k) ? Int(i) : 0);
      const auto floats = in.column<double>(1);
      EXPECT_EQ(floats.has(k), scraped && i % 3);
      EXPECT_EQ(floats[k], floats.has(k) ? Float(i) : 0);
      EXPECT_EQ(in.column<uint8_t>(2)[k], scraped && i % 5);
      EXPECT_EQ(in.column<uint32_t>(3)[k], scraped ? i + 7 : 0);
      const std::span<const uint32_t> items = in.list<uint32_t>(4)[k];
      EXPECT_EQ(std::vector<uint32_t>(items.begin(), items.end()),
                scraped && i % 4 ? List(i) : std::vector<uint32_t>());
      const std::string_view zone = Label(in.endpoint(k), "zone");
      EXPECT_EQ(in.column<uint32_t>(5)[k], zone.empty() ? 0 : rig_.interner->Find(zone));
      EXPECT_EQ(in.column<int64_t>(6).has(k), scraped);
      EXPECT_EQ(in.column<int64_t>(6)[k], scraped ? 1000 : 0);
    }
    EXPECT_EQ(view->columns[7].values, nullptr);
  }

  Rig rig_{kEndpoints};
  Source int64_, float_, bool_, symbol_, list_, label_;
  BoundPlugin* plugin_ = nullptr;
};

TEST_F(CandidatesTest, TheWholeFrameIsSharedNotCopied) {
  rig_.Begin();
  Check(rig_.context.candidates);
  const epp_candidates* view = rig_.context.candidates->View(*plugin_, rig_.arena);
  const auto frame = rig_.pool.current();
  EXPECT_EQ(view->columns[0].values, frame->column(rig_.wiring.frame_columns[0]).values);
  EXPECT_EQ(view->endpoints, frame->endpoints().data());
}

TEST_F(CandidatesTest, SubsetsAndFiltersOfFilters) {
  std::mt19937 random(7);
  for (int round = 0; round < 30; ++round) {
    SCOPED_TRACE(round);
    std::optional<std::vector<uint32_t>> rows;
    if (round % 2) {
      rows.emplace();
      for (uint32_t i = 0; i < kEndpoints; ++i) {
        if (random() % 2) rows->push_back(i);
      }
    }
    rig_.Begin(rows);
    CandidateList* list = rig_.context.candidates;
    Check(list);
    for (int filters = 0; filters < 4; ++filters) {
      std::vector<uint64_t> keep(kEndpoints / 64 + 1);
      uint32_t kept = 0;
      for (uint32_t i = 0; i < list->size(); ++i) {
        if (random() % 3 == 0) continue;
        keep[i / 64] |= uint64_t{1} << (i % 64);
        ++kept;
      }
      CandidateList* shorter = list->Keep(keep.data(), rig_.arena);
      ASSERT_EQ(shorter->size(), kept);
      Check(shorter);
      Check(list);  // the longer one is as it was
      list = shorter;
    }
  }
}

TEST_F(CandidatesTest, KeepingAllIsTheSameListWhateverTheUnusedBits) {
  rig_.Begin();
  std::vector<uint64_t> keep(3, ~uint64_t{0});
  EXPECT_EQ(rig_.context.candidates->Keep(keep.data(), rig_.arena), rig_.context.candidates);
  keep = {0, 0, ~uint64_t{0} << (kEndpoints - 128)};
  const CandidateList* none = rig_.context.candidates->Keep(keep.data(), rig_.arena);
  EXPECT_EQ(none->size(), 0u);
}

TEST_F(CandidatesTest, NoCandidates) {
  rig_.Begin(std::vector<uint32_t>{});
  EXPECT_EQ(rig_.context.candidates->View(*plugin_, rig_.arena)->count, 0u);
}

TEST_F(CandidatesTest, AFrameOlderThanTheAttributeHasNoValueYetReadsAsZero) {
  plugin_->columns = {rig_.FrameSource("late", EPP_T_F64),
                      rig_.FrameSource("late-list", EPP_T_SYMBOL_LIST)};
  for (const bool subset : {false, true}) {
    rig_.Begin(subset ? std::optional(std::vector<uint32_t>{1, 2, 140}) : std::nullopt);
    const Candidates in(rig_.context.candidates->View(*plugin_, rig_.arena));
    const auto column = in.column<double>(0);
    ASSERT_EQ(column.values().size(), in.size());
    for (size_t i = 0; i < in.size(); ++i) {
      EXPECT_FALSE(column.has(i));
      EXPECT_EQ(column[i], 0.0);
      EXPECT_TRUE(in.list<uint32_t>(1)[i].empty());
    }
  }
}

TEST(ManyCandidatesTest, MoreThanTheSharedRowNumbers) {
  Rig rig(5000);
  rig.Begin();
  const std::span<const uint32_t> rows = rig.context.candidates->rows();
  for (uint32_t i = 0; i < 5000; ++i) ASSERT_EQ(rows[i], i);
}

}  // namespace
}  // namespace epp::scheduling
