#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Make;
using epp::test::Pool;
using epp::test::Request;
using ::testing::ElementsAre;

TEST(QueueLimitFilter, KeepsShortQueues) {
  Pool pool(3);
  pool.Set(epp::attr::kWaitingQueueSize, {5, 4, std::nullopt});
  EXPECT_THAT(Make("c-queue-limit-filter").Filter(pool), ElementsAre(1, 2));
  EXPECT_THAT(Make("c-queue-limit-filter", {{"maxWaiting", 0}}).Filter(pool), ElementsAre(2));
}

TEST(QueueLimitFilter, RefusesLateRequests) {
  auto filter = Make("c-queue-limit-filter");
  Request request;
  EXPECT_TRUE(filter.Filter(Pool(1), request.DeadlineNs(1)).empty());
  EXPECT_EQ(filter.status(), EPP_DEADLINE_EXCEEDED);
  EXPECT_EQ(filter.error(), "the request is late");
}

TEST(QueueLimitFilter, RecordHasNoMistake) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), ::testing::IsEmpty());
}

}  // namespace
