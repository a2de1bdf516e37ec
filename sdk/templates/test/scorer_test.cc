#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Make;
using epp::test::Pool;
using ::testing::ElementsAre;

TEST(@CLASS@, ShortQueuesScoreHigher) {
  Pool pool(3);
  pool.Set(epp::attr::kWaitingQueueSize, {0, 4, 12});
  EXPECT_THAT(Make("@NAME@").Score(pool), ElementsAre(1.0, 0.5, 0.25));
  EXPECT_THAT(Make("@NAME@", {{"halfAt", 12}}).Score(pool), ElementsAre(1.0, 0.75, 0.5));
}

TEST(@CLASS@, UnknownQueueCountsAsEmpty) {
  Pool pool(2);
  pool.Set(epp::attr::kWaitingQueueSize, {std::nullopt, -1});
  EXPECT_THAT(Make("@NAME@").Score(pool), ElementsAre(1.0, 1.0));
}

TEST(@CLASS@, RecordHasNoMistake) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), ::testing::IsEmpty());
}

}  // namespace
