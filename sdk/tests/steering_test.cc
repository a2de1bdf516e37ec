// Profile handlers that ask deciders, publish attributes and move the port; and deciders.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"
#include "everything.h"

namespace {

using epp::test::Cell;
using epp::test::Make;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using epp::test::Selection;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Runs "second" near the pick of "first" when its decider says so.
class TwoSteps {
 public:
  static constexpr const char* kName = "two-steps";
  static constexpr const char* kDoc = "Runs a second profile when a decider says so.";
  static constexpr std::array kParams{
      epp::Int("port", -1, -1, 100000, "port for the proxy"),
      epp::Plugin("decider", nullptr, "who decides").Implementing(EPP_DECIDER_ID)};
  static constexpr std::array kProduces{epp::Makes({"peer", EPP_T_I64, EPP_SCOPE_REQUEST}),
                                        epp::Makes({"never", EPP_T_F64, EPP_SCOPE_REQUEST})};
  explicit TwoSteps(int64_t port) : port_(port) {}
  static epp::Result<TwoSteps> Create(const epp::Context& ctx) { return TwoSteps(ctx.i64(0)); }
  epp::Status Choose(const epp::Call&, const epp::Scheduling& so_far, const epp::Candidates&,
                     std::span<int32_t> decisions) const {
    if (so_far.result(0).state == EPP_PROFILE_NOT_RUN) {
      if (!so_far.Ask(1)) decisions[0] = EPP_DECIDE_RUN;
    } else if (so_far.Ask(1, so_far.result(0).target_rows[0])) {
      so_far.Publish(0, static_cast<int64_t>(so_far.result(0).targets[0]->id));
      decisions[1] = EPP_DECIDE_RUN;
    }
    return {};
  }
  epp::Status Conclude(const epp::Call&, const epp::Scheduling& done, const epp::Candidates&,
                       uint32_t& primary) const {
    primary = 0;
    if (port_ >= 0) done.SetDestinationPort(static_cast<uint32_t>(port_));
    return {};
  }

 private:
  int64_t port_;
};

TEST(Steering, AHandlerAsksAndPublishes) {
  const Pool pool(3);
  auto handler = Make<TwoSteps>({{"decider", "d"}});
  Request request;
  Profiles profiles{"first", "second"};
  EXPECT_THAT(handler.Choose(profiles, pool, request), ElementsAre(EPP_DECIDE_RUN, 0));
  EXPECT_THAT(request.asked(), ElementsAre(Request::Question{"decider", std::nullopt}));
  EXPECT_THAT(request.attributes(), IsEmpty());
  profiles.Ok("first", {2});
  EXPECT_THAT(handler.Choose(profiles, pool, request), ElementsAre(0, 0));
  request.Answer("decider", true);
  EXPECT_THAT(handler.Choose(profiles, pool, request), ElementsAre(0, EPP_DECIDE_RUN));
  EXPECT_EQ(request.asked().back(), (Request::Question{"decider", 2}));
  ASSERT_EQ(request.attributes().size(), 1u);
  EXPECT_EQ(request.attributes().at("peer"), Cell(static_cast<int64_t>(pool.endpoint(2).id)));
}

TEST(Steering, AHandlerMovesThePort) {
  const Pool pool(1);
  Request request;
  Make<TwoSteps>().Conclude(Profiles{"a"}.Ok("a", {0}), pool, request);
  EXPECT_EQ(request.destination_port(), std::nullopt);
  Make<TwoSteps>({{"port", 0}}).Conclude(Profiles{"a"}.Ok("a", {0}), pool, request);
  EXPECT_EQ(request.destination_port(), 0u);
  auto wrong = Make<TwoSteps>({{"port", 65536}});
  EXPECT_THROW(wrong.Conclude(Profiles{"a"}.Ok("a", {0}), pool, request), std::logic_error);
}

TEST(Steering, WhatIsNoHandlerHasNothingToSteerWith) {
  const epp_scheduling old{offsetof(epp_scheduling, steering), 0, 0, 0, nullptr, nullptr, nullptr};
  const epp::Scheduling scheduling(&old);
  EXPECT_FALSE(scheduling.Ask(0));
  scheduling.Publish(0, int64_t{1});
  scheduling.SetDestinationPort(1);
}

TEST(Steering, ADeciderSeesOneEndpointOrNone) {
  Pool pool(2);
  pool.Set(epp::attr::kWaitingQueueSize, {0, 9});
  auto decider = Make<epp::sdk_test::Everything>();
  Request request;
  EXPECT_FALSE(decider.Decide(Selection(pool, {0}), request));
  EXPECT_TRUE(decider.Decide(Selection(pool, {1}), request));
  EXPECT_FALSE(decider.Decide(Selection(pool, {}), request));
  EXPECT_EQ(decider.error(), "want an endpoint");
  EXPECT_THROW(decider.Decide(pool, request), std::logic_error);
}

}  // namespace
