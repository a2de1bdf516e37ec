#include "host/scheduling/steering.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/scheduling/test_rig.h"

namespace epp::scheduling {
namespace {

using test::Rig;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

epp::Status FirstIsPrimary(const epp::Scheduling& done, uint32_t& primary) {
  if (!done.ok(0)) return {EPP_INTERNAL, "no target"};
  primary = 0;
  return {};
}

// Runs the first profile; then the second, when the decider of parameter 1 says yes to the first's
// target, whose id it publishes.
epp::Status OneAfterTheOther(const epp::Scheduling& so_far, std::span<int32_t> decisions) {
  if (so_far.result(0).state == EPP_PROFILE_NOT_RUN) {
    decisions[0] = EPP_DECIDE_RUN;
  } else if (so_far.ok(0) && so_far.result(1).state == EPP_PROFILE_NOT_RUN) {
    const epp_profile_result& first = so_far.result(0);
    if (so_far.Ask(1, first.target_rows[0])) {
      so_far.Publish(0, static_cast<int64_t>(first.targets[0]->id));
      decisions[1] = EPP_DECIDE_RUN;
    } else {
      decisions[1] = EPP_DECIDE_SKIP;
    }
  }
  return {};
}

struct SteeringTest : ::testing::Test {
  SteeringTest() {
    rig.AddProfile("first");
    rig.AddProfile("second");
    rig.AddScorer(0, 1, test::Scores({0, 0, 1, 0}));
    rig.SetHandler(&OneAfterTheOther, &FirstIsPrimary);
  }
  Rig rig{4};
};

TEST_F(SteeringTest, TheNextProfileReadsWhatTheHandlerPublished) {
  const uint32_t peer = rig.AddPublished(EPP_T_I64);
  rig.AddDecider(1, [](const Call&, const Candidates& in, bool& yes) {
    yes = in.size() == 1 && in.row(0) == 2;
    return Status();
  });
  std::vector<int64_t> seen;
  for (const size_t profile : {size_t{0}, size_t{1}}) {
    rig.Read(rig.AddFilter(profile,
                           [&](const Call& call, const Candidates& in, epp::Keep& keep) {
                             const auto column = call.column<int64_t>(0);
                             seen.push_back(column.has(0) ? column[0] : -1);
                             for (size_t i = 0; i < in.size(); ++i) keep.SetIf(i, in.row(i) != 2);
                             if (seen.size() == 1) keep.All();
                             return Status();
                           }),
             peer);
  }
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(rig.Targets(0), ElementsAre(2));
  EXPECT_THAT(seen,
              ElementsAre(-1, static_cast<int64_t>(rig.context.candidates->endpoints()[2]->id)));
  // Still there for hooks; without steering.
  EXPECT_NE(rig.context.request_columns[peer].values, nullptr);
  EXPECT_EQ(rig.context.scheduling.steering, nullptr);
  EXPECT_TRUE(rig.context.results[1]->state == EPP_PROFILE_OK);
}

TEST_F(SteeringTest, NobodyPublished) {
  const uint32_t peer = rig.AddPublished(EPP_T_I64);
  ASSERT_FALSE(rig.Run());  // no decider: the answer is no
  EXPECT_EQ(rig.context.results[1]->state, EPP_PROFILE_SKIPPED);
  const epp_column& column = rig.context.request_columns[peer];
  EXPECT_FALSE(epp::Column<int64_t>(column, 1).has(0));
}

TEST_F(SteeringTest, ADeciderGetsItsOwnColumnsOfTheOneRow) {
  const uint32_t made = [&] {
    rig.AddProducer("load", EPP_T_I64, EPP_SCOPE_ENDPOINT, {},
                    [](const Call&, const Candidates& in, epp::Outputs& out) {
                      for (size_t i = 0; i < in.size(); ++i) {
                        out.column<int64_t>(0)[i] = static_cast<int64_t>(i * 10);
                      }
                      return Status();
                    });
    return static_cast<uint32_t>(rig.wiring.produced.size() - 1);
  }();
  rig.AddPublished(EPP_T_I64);
  std::vector<int64_t> loads;
  rig.Read(rig.AddDecider(1,
                          [&](const Call&, const Candidates& in, bool& yes) {
                            for (size_t i = 0; i < in.size(); ++i) {
                              loads.push_back(in.column<int64_t>(0)[i]);
                            }
                            yes = true;
                            return Status();
                          }),
           made);
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(loads, ElementsAre(20));
  EXPECT_EQ(rig.context.results[1]->state, EPP_PROFILE_OK);
  EXPECT_THAT(rig.watch.called,
              Contains("decider-" + std::to_string(rig.wiring.plugins.size() - 1)));
}

TEST_F(SteeringTest, AFailedOrSwitchedOffDeciderSaysNo) {
  rig.AddPublished(EPP_T_I64);
  BoundPlugin* decider = rig.AddDecider(1, [](const Call&, const Candidates&, bool& yes) {
    yes = true;
    return Status(EPP_INTERNAL, "broken");
  });
  ASSERT_FALSE(rig.Run());
  EXPECT_EQ(rig.context.results[1]->state, EPP_PROFILE_SKIPPED);
  EXPECT_THAT(rig.watch.failed, ElementsAre(decider->name() + " 13 broken"));
  rig.watch.failed.clear();
  decider->guard().SetStuck();
  ASSERT_FALSE(rig.Run());
  EXPECT_EQ(rig.context.results[1]->state, EPP_PROFILE_SKIPPED);
  EXPECT_THAT(rig.watch.failed, IsEmpty());
}

TEST_F(SteeringTest, QuestionsOutsideAreNo) {
  rig.AddDecider(1, [](const Call&, const Candidates& in, bool& yes) {
    yes = in.size() == 0;
    return Status();
  });
  std::vector<bool> answers;
  rig.SetHandler(
      [&](const epp::Scheduling& s, std::span<int32_t> decisions) {
        if (s.result(0).state == EPP_PROFILE_NOT_RUN) {
          answers = {s.Ask(1), s.Ask(0), s.Ask(7), s.Ask(1, 0), s.Ask(1, 4)};
          decisions[0] = EPP_DECIDE_RUN;
        }
        return Status();
      },
      &FirstIsPrimary);
  ASSERT_FALSE(rig.Run());
  EXPECT_THAT(answers, ElementsAre(true, false, false, false, false));
}

TEST_F(SteeringTest, ThePortIsTheRequestsOwn) {
  bool set = true;
  rig.SetHandler(
      [](const epp::Scheduling& s, std::span<int32_t> decisions) {
        decisions[0] = s.result(0).state == EPP_PROFILE_NOT_RUN ? EPP_DECIDE_RUN : 0;
        return Status();
      },
      [&](const epp::Scheduling& s, uint32_t& primary) {
        if (set) {
          s.SetDestinationPort(0);
          s.SetDestinationPort(70000);  // is none
        }
        return FirstIsPrimary(s, primary);
      });
  ASSERT_FALSE(rig.Run());
  EXPECT_EQ(rig.context.destination_port, 0);
  set = false;
  ASSERT_FALSE(rig.Run());
  EXPECT_EQ(rig.context.destination_port, std::nullopt);
}

}  // namespace
}  // namespace epp::scheduling
