#include "host/scheduling/cycle.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/scheduling/test_rig.h"

namespace epp::scheduling {
namespace {

using test::Rig;
using test::Scores;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

Status Fails() { return {EPP_UNAVAILABLE, "broken"}; }

// Drops the candidates (by their row) that are listed.
test::Lambda::FilterFn Drop(std::vector<uint32_t> rows) {
  return [rows](const Call&, const Candidates& in, epp::Keep& keep) {
    for (size_t i = 0; i < in.size(); ++i) {
      keep.SetIf(i, std::find(rows.begin(), rows.end(), in.row(i)) == rows.end());
    }
    return Status();
  };
}

struct SumCase {
  const char* name;
  std::vector<std::pair<double, std::vector<double>>> scorers;  // weight, score per candidate
  std::vector<double> totals;
  uint64_t bad;
};

TEST(ProfileTest, WeightedSumsOfClampedScores) {
  const SumCase cases[] = {
      {"NoScorers", {}, {0, 0}, 0},
      {"TwoOfWeightOne", {{1, {0.3, 0}}, {1, {0.8, 0}}}, {0.3 + 0.8, 0}, 0},
      {"Weights", {{60, {0.3, 0.1}}, {40, {0.8, 0.1}}}, {60 * 0.3 + 40 * 0.8, 10}, 0},
      {"Clamped", {{1, {-0.5, 0}}, {1, {1.5, 0}}}, {1, 0}, 0},
      {"NegativeWeight", {{-2, {1, 0.25}}}, {-2, -0.5}, 0},
      {"ZeroWeight", {{0, {1, 1}}}, {0, 0}, 0},
      {"NotFinite", {{1, {kNan, 0.5}}, {1, {kInf, -kInf}}}, {0, 0.5}, 3},
  };
  for (const SumCase& c : cases) {
    SCOPED_TRACE(c.name);
    Rig rig(2);
    rig.AddProfile("default");
    for (const auto& [weight, scores] : c.scorers) rig.AddScorer(0, weight, Scores(scores));
    ASSERT_FALSE(rig.Run());
    EXPECT_EQ(rig.Totals(), c.totals);
    EXPECT_EQ(rig.watch.bad_scores, c.bad);
  }
}

TEST(ProfileTest, FiltersRunInOrderOnWhatIsLeft) {
  Rig rig(5);
  rig.AddProfile("default");
  std::vector<size_t> sizes;
  rig.AddFilter(0, Drop({1}));
  rig.AddFilter(0, [&](const Call& c, const Candidates& in, epp::Keep& keep) {
    sizes.push_back(in.size());
    return Drop({0, 4})(c, in, keep);
  });
  rig.AddScorer(0, 1, Scores({1, 1, 0.5, 0.75, 1}));
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(sizes, ElementsAre(4u));
  EXPECT_THAT(rig.Totals(), ElementsAre(0.5, 0.75));
  EXPECT_THAT(rig.Targets(), ElementsAre(3u));
  EXPECT_EQ(rig.context.results[0]->targets[0], rig.context.candidates->endpoints()[3]);
  EXPECT_EQ(rig.context.scheduling.primary, 0u);
}

TEST(ProfileTest, NobodyLeftIsSaturationAndStopsThere) {
  Rig rig(3);
  rig.AddProfile("default");
  rig.AddFilter(0, Drop({0, 1, 2}));
  rig.AddFilter(0, Drop({}));
  rig.AddScorer(0, 1, Scores({1, 1, 1}));
  const auto error = rig.Run();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(HttpStatus(error->code), 429);
  EXPECT_EQ(error->drop_reason, kRejectedSaturated);
  EXPECT_EQ(error->message, "no endpoints available for the given request");
  EXPECT_THAT(rig.watch.called, ElementsAre("handler", "filter-2", "handler", "handler"));
}

TEST(ProfileTest, NoCandidatesAtAll) {
  Rig rig(0);
  rig.AddProfile("default");
  rig.AddFilter(0, Drop({}));
  const auto error = rig.Run();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kResourceExhausted);
}

TEST(ProfileTest, AFailingFilterKeepsAll) {
  Rig rig(3);
  rig.AddProfile("default");
  rig.AddFilter(0, [](const Call&, const Candidates&, epp::Keep& keep) {
    keep.Set(1);
    return Fails();
  });
  ASSERT_FALSE(rig.Run());
  EXPECT_EQ(rig.Totals().size(), 3u);
  EXPECT_THAT(rig.watch.failed, ElementsAre("filter-2 14 broken"));
}

TEST(ProfileTest, AFailingScorerContributesNothing) {
  Rig rig(2);
  rig.AddProfile("default");
  rig.AddScorer(0, 5, [](const Call&, const Candidates&, std::span<double> out) {
    out[0] = 1;
    return Fails();
  });
  rig.AddScorer(0, 5, [](const Call&, const Candidates&, std::span<double>) -> Status {
    throw std::runtime_error("thrown");
  });
  rig.AddScorer(0, 1, Scores({0.25, 0.5}));
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(rig.Totals(), ElementsAre(0.25, 0.5));
  EXPECT_THAT(rig.watch.failed, ElementsAre("scorer-2 14 broken", "scorer-3 13 thrown"));
}

TEST(ProfileTest, AFailureWithoutWordsIsNotToldInAnothersWords) {
  Rig rig(2);
  rig.AddProfile("default");
  rig.AddFilter(0, [](const Call&, const Candidates&, epp::Keep&) { return Fails(); });
  const BoundPlugin* mute = rig.AddScorer(0, 1, Scores({0, 0}));
  static constexpr epp_scorer kMute{sizeof(epp_scorer), 0,
                                    [](void*, const epp_call*, const epp_candidates*, double*,
                                       epp_error*) noexcept -> epp_status { return EPP_INTERNAL; }};
  rig.wiring.profiles[0].scorers[0].table = &kMute;
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(rig.watch.failed, ElementsAre("filter-2 14 broken", mute->name() + " 13 "));
}

TEST(ProfileTest, ScorersSeeZeroesAtEntry) {
  Rig rig(3);
  rig.AddProfile("default");
  for (int i = 0; i < 2; ++i) {
    rig.AddScorer(0, 1, [](const Call&, const Candidates&, std::span<double> out) {
      for (double& score : out) {
        EXPECT_EQ(score, 0.0);
        score = 1;
      }
      return Status();
    });
  }
  ASSERT_FALSE(rig.Run());
}

TEST(ProfileTest, UselessPickersFailTheRequestAsInternal) {
  struct Case {
    const char* name;
    test::Lambda::PickFn pick;
    const char* message;
  };
  const auto adding = [](std::vector<uint32_t> positions) {
    return [positions](const Call&, const Candidates&, std::span<const double>, Picks& picks) {
      for (const uint32_t p : positions) picks.Add(p);
      return Status();
    };
  };
  const Case cases[] = {
      {"Fails", [](auto&&...) { return Fails(); }, "broken"},
      {"Nothing", adding({}), "picked nothing"},
      {"Outside", adding({3}), "picked outside the list"},
      {"FarOutside", adding({0, 0xffffffff}), "picked outside the list"},
      {"Twice", adding({1, 1}), "picked outside the list, or twice"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Rig rig(3);
    rig.AddProfile("default", c.pick);
    const auto error = rig.Run();
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, ErrorCode::kInternal);
    EXPECT_THAT(error->message, HasSubstr("picker \"default-picker\" failed: "));
    EXPECT_THAT(error->message, HasSubstr(c.message));
    EXPECT_EQ(rig.watch.failed.size(), 1u);
    EXPECT_EQ(rig.context.results[0]->state, EPP_PROFILE_FAILED);
  }
}

// Counts `kCount` targets and writes none.
template <uint32_t kCount>
constexpr epp_picker kCounting{sizeof(epp_picker), 0,
                               [](void*, const epp_call*, const epp_candidates*, const double*,
                                  uint32_t*, uint32_t* count, epp_error*) noexcept -> epp_status {
                                 *count = kCount;
                                 return EPP_OK;
                               }};

TEST(ProfileTest, APickerThatCountsWhatItDoesNotWrite) {
  for (const epp_picker* table : {&kCounting<1>, &kCounting<2>, &kCounting<4>}) {
    Rig rig(3);
    rig.AddProfile("default").picker.table = table;
    const auto error = rig.Run();
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, ErrorCode::kInternal);
    EXPECT_THAT(error->message, HasSubstr("picked outside the list"));
  }
}

TEST(ProfileTest, SeveralTargetsInThePickersOrder) {
  Rig rig(4);
  rig.AddProfile("default", [](const Call&, const Candidates&, std::span<const double>, Picks& p) {
    p.Add(2);
    p.Add(0);
    return Status();
  });
  rig.AddFilter(0, Drop({1}));
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(rig.Targets(), ElementsAre(3u, 0u));
}

// ---- producers ----

TEST(ProduceTest, ValuesReachFiltersScorersAndLaterProducers) {
  Rig rig(4);
  rig.AddProfile("default");
  rig.AddProducer("first", EPP_T_I64, EPP_SCOPE_ENDPOINT, {},
                  [](const Call&, const Candidates& in, epp::Outputs& out) {
                    for (size_t i = 0; i < in.size(); ++i) {
                      EXPECT_EQ(out.column<int64_t>(0)[i], 0);
                      out.column<int64_t>(0)[i] = static_cast<int64_t>(i) + 1;
                    }
                    out.Clear(0, 2);
                    return Status();
                  });
  rig.AddProducer("second", EPP_T_F64, EPP_SCOPE_REQUEST, {0},
                  [](const Call&, const Candidates& in, epp::Outputs& out) {
                    const auto column = in.column<int64_t>(0);
                    EXPECT_TRUE(column.has(1));
                    EXPECT_FALSE(column.has(2));
                    // A cleared value reads as 0 although one was written.
                    EXPECT_EQ(column[2], 0);
                    out.Set<double>(0, static_cast<double>(column[3]));
                    return Status();
                  });
  rig.AddFilter(0, Drop({0}));
  BoundPlugin* scorer =
      rig.AddScorer(0, 1, [](const Call& call, const Candidates& in, std::span<double> out) {
        EXPECT_EQ(call.column<double>(0)[0], 4.0);
        const auto column = in.column<int64_t>(0);
        for (size_t i = 0; i < in.size(); ++i) out[i] = static_cast<double>(column[i]) / 10;
        EXPECT_FALSE(column.has(1));
        return Status();
      });
  rig.Read(scorer, 0);
  rig.Read(scorer, 1);
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(rig.Totals(), ElementsAre(0.2, 0.0, 0.4));
}

TEST(ProduceTest, AFailureSkipsDependantsOnlyAndLeavesNoValues) {
  Rig rig(3);
  rig.AddProfile("default");
  const auto sevens = [](const Call&, const Candidates&, epp::Outputs& out) {
    for (int64_t& value : out.column<int64_t>(0)) value = 7;
    return Status();
  };
  rig.AddProducer("broken", EPP_T_I64, EPP_SCOPE_ENDPOINT, {},
                  [&](const Call& c, const Candidates& in, epp::Outputs& out) {
                    sevens(c, in, out).ok();
                    return Fails();
                  });
  rig.AddProducer("dependant", EPP_T_I64, EPP_SCOPE_ENDPOINT, {0}, sevens);
  rig.AddProducer("further", EPP_T_F64, EPP_SCOPE_REQUEST, {1},
                  [](const Call&, const Candidates&, epp::Outputs&) { return Status(); });
  rig.AddProducer("apart", EPP_T_I64, EPP_SCOPE_ENDPOINT, {}, sevens);
  rig.AddProducer("cleared", EPP_T_F64, EPP_SCOPE_REQUEST, {},
                  [](const Call&, const Candidates&, epp::Outputs& out) {
                    out.Set<double>(0, 3);
                    out.ClearRequest(0);
                    return Status();
                  });
  rig.AddProducer("of cleared", EPP_T_F64, EPP_SCOPE_REQUEST, {4},
                  [](const Call&, const Candidates&, epp::Outputs&) { return Status(); });
  BoundPlugin* scorer =
      rig.AddScorer(0, 1, [](const Call& call, const Candidates& in, std::span<double>) {
        for (const size_t failed : {0u, 1u}) {
          const auto column = in.column<int64_t>(failed);
          EXPECT_EQ(column.values().size(), in.size());
          for (size_t i = 0; i < in.size(); ++i) {
            EXPECT_FALSE(column.has(i));
            EXPECT_EQ(column[i], 0);
          }
        }
        EXPECT_EQ(in.column<int64_t>(2)[0], 7);
        for (const size_t i : {0u, 1u, 2u}) {
          EXPECT_FALSE(call.column<double>(i).empty());
          EXPECT_FALSE(call.column<double>(i).has(0));
          EXPECT_EQ(call.column<double>(i)[0], 0.0);
        }
        return Status();
      });
  for (const uint32_t produced : {0u, 1u, 3u, 2u, 4u, 5u}) rig.Read(scorer, produced);
  rig.AddFilter(0, Drop({1}));
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(rig.watch.failed, ElementsAre("broken 14 broken"));
  EXPECT_EQ(std::vector<std::string>(rig.watch.called.begin(), rig.watch.called.begin() + 3),
            (std::vector<std::string>{"broken", "apart", "cleared"}));
}

TEST(ProduceTest, Lists) {
  Rig rig(4);
  rig.AddProfile("default");
  rig.AddProducer("lists", EPP_T_SYMBOL_LIST, EPP_SCOPE_ENDPOINT, {},
                  [](const Call& call, const Candidates& in, epp::Outputs& out) {
                    uint32_t* items = call.Alloc<uint32_t>(10);
                    uint32_t* offsets = call.Alloc<uint32_t>(in.size() + 1);
                    for (uint32_t i = 0; i < 10; ++i) items[i] = i;
                    for (uint32_t i = 0; i <= in.size(); ++i) offsets[i] = 2 * i;
                    out.SetList(0, items, offsets);
                    out.Clear(0, 1);
                    return Status();
                  });
  rig.AddProducer("forgets", EPP_T_SYMBOL_LIST, EPP_SCOPE_ENDPOINT, {},
                  [](const Call&, const Candidates&, epp::Outputs&) { return Status(); });
  std::vector<std::vector<uint32_t>> seen;
  const auto look = [&](const Call&, const Candidates& in, std::span<double>) {
    for (size_t i = 0; i < in.size(); ++i) {
      const auto items = in.list<uint32_t>(0)[i];
      seen.emplace_back(items.begin(), items.end());
      EXPECT_TRUE(in.list<uint32_t>(1)[i].empty());
    }
    return Status();
  };
  BoundPlugin* scorer = rig.AddScorer(0, 1, look);
  rig.Read(scorer, 0);
  rig.Read(scorer, 1);
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(seen,
              ElementsAre(ElementsAre(0, 1), IsEmpty(), ElementsAre(4, 5), ElementsAre(6, 7)));
  seen.clear();
  rig.AddFilter(0, Drop({0}));
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(seen, ElementsAre(IsEmpty(), ElementsAre(4, 5), ElementsAre(6, 7)));
}

TEST(ProduceTest, StateLivesThroughTheRequest) {
  Rig rig(1);
  rig.AddProfile("default");
  BoundPlugin* producer = rig.AddProducer("keeps", EPP_T_I64, EPP_SCOPE_REQUEST, {},
                                          [](const Call& call, const Candidates&, epp::Outputs&) {
                                            EXPECT_EQ(call.state<int>(), nullptr);
                                            call.state<int>() = call.Alloc<int>();
                                            *call.state<int>() = 42;
                                            return Status();
                                          });
  ASSERT_FALSE(rig.Run());
  EXPECT_EQ(*static_cast<int*>(rig.context.states[producer->index]), 42);
}

// ---- profile handlers ----

class HandlerTest : public testing::Test {
 protected:
  HandlerTest() {
    for (const char* name : {"a", "b", "c"}) rig_.AddProfile(name);
  }
  void Handle(test::Lambda::ChooseFn choose, test::Lambda::ConcludeFn conclude) {
    BoundPlugin* handler =
        rig_.Add("own-handler", {.choose = std::move(choose), .conclude = std::move(conclude)});
    rig_.wiring.handler = {handler,
                           handler->instance->Get<epp_profile_handler>(EPP_PROFILE_HANDLER_ID)};
  }
  int32_t state(size_t p) const { return rig_.context.results[p]->state; }
  static Status Primary(uint32_t p, uint32_t& primary) {
    primary = p;
    return {};
  }
  Rig rig_{2};
};

TEST_F(HandlerTest, RoundsSkipsAndPrimary) {
  std::vector<std::string> rounds;
  Handle(
      [&](const Scheduling& s, std::span<int32_t> decisions) {
        std::string states;
        for (size_t p = 0; p < s.size(); ++p) states += std::to_string(s.result(p).state);
        rounds.push_back(states);
        EXPECT_EQ(s.primary(), s.size());
        for (const int32_t d : decisions) EXPECT_EQ(d, EPP_DECIDE_NOTHING);
        if (!s.ok(2)) {
          decisions[2] = EPP_DECIDE_RUN;
        } else if (!s.ok(0)) {
          decisions[0] = EPP_DECIDE_RUN;
          decisions[1] = EPP_DECIDE_SKIP;
          decisions[2] = EPP_DECIDE_RUN;  // has run: is not run again
        }
        return Status();
      },
      [](const Scheduling&, uint32_t& primary) { return Primary(2, primary); });
  ASSERT_FALSE(rig_.Run());
  EXPECT_THAT(rounds, ElementsAre("000", "001", "131"));
  EXPECT_EQ(rig_.context.scheduling.primary, 2u);
  EXPECT_EQ(std::count(rig_.watch.called.begin(), rig_.watch.called.end(), "c-picker"), 1);
}

TEST_F(HandlerTest, AHandlerThatNeverStopsIsStopped) {
  int rounds = 0;
  Handle(
      [&](const Scheduling&, std::span<int32_t> decisions) {
        ++rounds;
        std::fill(decisions.begin(), decisions.end(), EPP_DECIDE_RUN);
        return Status();
      },
      [](const Scheduling&, uint32_t& primary) { return Primary(0, primary); });
  ASSERT_FALSE(rig_.Run());
  EXPECT_EQ(rounds, 2);
}

TEST_F(HandlerTest, NoProfileRun) {
  Handle([](const Scheduling&, std::span<int32_t>) { return Status(); },
         [](const Scheduling&, uint32_t& primary) { return Primary(0, primary); });
  const auto error = rig_.Run();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(error->message, HasSubstr("failed to run any scheduler profile for request req-1"));
}

TEST_F(HandlerTest, AFailedProfileDoesNotFailTheOthers) {
  rig_.AddFilter(0, Drop({0, 1}));
  Handle(
      [](const Scheduling&, std::span<int32_t> decisions) {
        std::fill(decisions.begin(), decisions.end(), EPP_DECIDE_RUN);
        return Status();
      },
      [](const Scheduling& s, uint32_t& primary) {
        EXPECT_FALSE(s.ok(0));
        return Primary(1, primary);
      });
  ASSERT_FALSE(rig_.Run());
  EXPECT_EQ(state(0), EPP_PROFILE_FAILED);
  EXPECT_EQ(state(1), EPP_PROFILE_OK);
  EXPECT_EQ(rig_.context.scheduling.primary, 1u);
}

TEST_F(HandlerTest, TheFirstFailedProfileByNameDecidesTheStatus) {
  // Out of order: c runs first in the config's order of names, a fails last.
  std::swap(rig_.wiring.profiles[0], rig_.wiring.profiles[2]);
  rig_.AddFilter(0, Drop({0, 1}));  // c: saturated
  rig_.wiring.profiles[2].picker.plugin =
      rig_.Add("bad-picker", {.pick = [](auto&&...) { return Fails(); }});
  Handle(
      [](const Scheduling&, std::span<int32_t> decisions) {
        std::fill(decisions.begin(), decisions.end(), EPP_DECIDE_RUN);
        return Status();
      },
      [](const Scheduling&, uint32_t&) { return Status(EPP_INTERNAL, "no decode target"); });
  const auto error = rig_.Run();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kInternal);
  EXPECT_THAT(error->message, HasSubstr("bad-picker"));
}

TEST_F(HandlerTest, AHandlersOwnRefusalWithoutFailedProfiles) {
  Handle(
      [](const Scheduling&, std::span<int32_t> decisions) {
        decisions[0] = EPP_DECIDE_SKIP;
        return Status();
      },
      [](const Scheduling&, uint32_t&) { return Status(EPP_INTERNAL, "nothing ran"); });
  const auto error = rig_.Run();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(error->message, HasSubstr("failed to find target endpoint: nothing ran"));
}

TEST_F(HandlerTest, APrimaryWithoutTargetsIsInternal) {
  for (const uint32_t primary : {1u, 3u, 0xffffffffu}) {
    Handle(
        [](const Scheduling&, std::span<int32_t> decisions) {
          decisions[0] = EPP_DECIDE_RUN;
          return Status();
        },
        [primary](const Scheduling&, uint32_t& out) { return Primary(primary, out); });
    const auto error = rig_.Run();
    ASSERT_TRUE(error) << primary;
    EXPECT_EQ(error->code, ErrorCode::kInternal);
  }
}

TEST_F(HandlerTest, AFailingChoiceEndsTheRequestWithItsCode) {
  Handle(
      [](const Scheduling&, std::span<int32_t>) { return Status(EPP_INVALID_ARGUMENT, "what?"); },
      [](const Scheduling&, uint32_t&) { return Status(); });
  const auto error = rig_.Run();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::kBadRequest);
  EXPECT_THAT(error->message, HasSubstr("what?"));
}

}  // namespace
}  // namespace epp::scheduling
