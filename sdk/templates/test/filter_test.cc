#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Make;
using epp::test::Pool;
using ::testing::ElementsAre;

TEST(@CLASS@, KeepsShortQueues) {
  Pool pool(4);
  pool.Set(epp::attr::kWaitingQueueSize, {8, 9, 0, std::nullopt});
  EXPECT_THAT(Make("@NAME@").Filter(pool), ElementsAre(0, 2, 3));
  EXPECT_THAT(Make("@NAME@", {{"maxWaiting", 0}}).Filter(pool), ElementsAre(2, 3));
}

TEST(@CLASS@, KeepsBeyondOneWord) {
  const Pool pool(130);  // all queues are unknown, hence 0
  EXPECT_EQ(Make("@NAME@").Filter(pool).size(), 130u);
}

TEST(@CLASS@, RecordHasNoMistake) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), ::testing::IsEmpty());
}

}  // namespace
