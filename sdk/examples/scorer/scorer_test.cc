#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ShortQueueScorer, FewerWaitingRequestsScoreHigher) {
  epp::test::Pool pool(3);
  pool.Set(epp::attr::kWaitingQueueSize, {0, 1, 3});
  auto scorer = epp::test::Make("short-queue-scorer");
  EXPECT_THAT(scorer.Score(pool), ElementsAre(1.0, 0.5, 0.25));
}

TEST(ShortQueueScorer, IdleBelowForgivesShortQueues) {
  epp::test::Pool pool(3);
  pool.Set(epp::attr::kWaitingQueueSize, {0, 4, 5});
  auto scorer = epp::test::Make("short-queue-scorer", {{"idleBelow", 4}});
  EXPECT_THAT(scorer.Score(pool), ElementsAre(1.0, 1.0, 0.5));
}

TEST(ShortQueueScorer, UnknownQueueCountsAsEmpty) {
  epp::test::Pool pool(2);
  pool.Set(epp::attr::kWaitingQueueSize, {std::nullopt, 1});
  EXPECT_THAT(epp::test::Make("short-queue-scorer").Score(pool), ElementsAre(1.0, 0.5));
}

TEST(ShortQueueScorer, ParametersAreChecked) {
  auto scorer = epp::test::Make("short-queue-scorer", {{"idleBelow", -1}});
  EXPECT_FALSE(scorer.ok());
  EXPECT_THAT(scorer.error(), HasSubstr("\"idleBelow\" is -1"));
}

}  // namespace
