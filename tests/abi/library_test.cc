// Built libraries, loaded from their files as a host does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Library;
using epp::test::Pool;
using epp::test::Request;
using ::testing::ElementsAre;

TEST(CFilter, Filters) {
  const Library library(C_FILTER);
  ASSERT_TRUE(library.ok()) << library.error();
  EXPECT_STREQ(library.module().name, "example-c-filter");
  Pool pool(3);
  pool.Set(epp::attr::kWaitingQueueSize, {5, 4, std::nullopt});
  auto filter = library.Make("c-queue-limit-filter");
  EXPECT_THAT(filter.Filter(pool), ElementsAre(1, 2));
  auto strict = library.Make("c-queue-limit-filter", {{"maxWaiting", 0}});
  EXPECT_THAT(strict.Filter(pool), ElementsAre(2));
}

TEST(CFilter, ReportsItsErrors) {
  const Library library(C_FILTER);
  auto filter = library.Make("c-queue-limit-filter");
  Request request;
  EXPECT_TRUE(filter.Filter(Pool(1), request.DeadlineNs(1)).empty());
  EXPECT_EQ(filter.status(), EPP_DEADLINE_EXCEEDED);
  EXPECT_EQ(filter.error(), "the request is late");
  EXPECT_FALSE(library.Make("c-queue-limit-filter", {{"maxWaiting", -1}}).ok());
  EXPECT_FALSE(filter.Has(EPP_SCORER_ID));
}

TEST(Library, TwoInstancesOfOneFile) {
  const Library first(C_FILTER);
  const Library second(C_FILTER);
  EXPECT_EQ(&first.module(), &second.module());
}

}  // namespace
