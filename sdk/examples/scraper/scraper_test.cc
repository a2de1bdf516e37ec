#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Cell;
using epp::test::Make;
using ::testing::HasSubstr;

constexpr std::string_view kPage =
    "tern 1.4\nslots.busy 5\nslots.total 16\nqueue 3\ncache.pages.used 120\n"
    "cache.pages.total 480\nmodel llama-8b\n";

TEST(TernMetrics, ReadsAPage) {
  const auto written = Make("tern-metrics").Scrape(kPage);
  EXPECT_EQ(written.value(epp::attr::kWaitingQueueSize), Cell(3));
  EXPECT_EQ(written.value(epp::attr::kRunningRequestsSize), Cell(5));
  EXPECT_EQ(written.value(epp::attr::kKvCacheUsage), Cell(0.25));
}

TEST(TernMetrics, WhatIsNoNumberIsUnknown) {
  for (const char* page :
       {"tern 1\nqueue many\nslots.busy -1\ncache.pages.used 1\n",
        "tern 1\nqueue nan\nslots.busy 1e99",
        "tern 1\nqueue \nslots.busy 5 5\ncache.pages.used 1\ncache.pages.total 0\n"}) {
    auto scraper = Make("tern-metrics");
    const auto written = scraper.Scrape(page);
    EXPECT_EQ(scraper.status(), EPP_OK);
    EXPECT_EQ(written.value(epp::attr::kWaitingQueueSize), Cell()) << page;
    EXPECT_EQ(written.value(epp::attr::kRunningRequestsSize), Cell()) << page;
    EXPECT_EQ(written.value(epp::attr::kKvCacheUsage), Cell()) << page;
  }
}

TEST(TernMetrics, AnotherPageIsNoGoodSample) {
  auto scraper = Make("tern-metrics");
  for (const char* page : {"", "# HELP vllm:num_requests_waiting", "tern"}) {
    scraper.Scrape(page);
    EXPECT_EQ(scraper.status(), EPP_INVALID_ARGUMENT) << page;
    EXPECT_THAT(scraper.error(), HasSubstr("not a status page of Tern"));
  }
}

TEST(TernMetrics, SaysWhatToFetch) {
  auto source = Make("tern-metrics", {{"port", 9400}});
  const auto plan = source.Plan();
  ASSERT_TRUE(plan);
  EXPECT_EQ(epp::View(plan->path), "/status");
  EXPECT_EQ(plan->port, 9400u);
  EXPECT_EQ(epp::View(plan->payload), "tern-status");
  EXPECT_THAT(Make("tern-metrics", {{"path", "status"}}).error(), HasSubstr("want a leading /"));
}

}  // namespace
