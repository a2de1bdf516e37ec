#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Make;
using epp::test::Cell;
using ::testing::HasSubstr;

TEST(@CLASS@, ReadsAPage) {
  const auto written = Make("@NAME@").Scrape("version 3\nwaiting 7\nrunning 2\n");
  EXPECT_EQ(written.value(epp::attr::kWaitingQueueSize), Cell(7));
  EXPECT_EQ(written.value(epp::attr::kRunningRequestsSize), Cell(2));
}

TEST(@CLASS@, WhatIsNoNumberIsUnknown) {
  auto scraper = Make("@NAME@");
  const auto written = scraper.Scrape("waiting many\nrunning 2");
  EXPECT_EQ(scraper.status(), EPP_OK);
  EXPECT_EQ(written.value(epp::attr::kWaitingQueueSize), Cell());
  EXPECT_EQ(written.value(epp::attr::kRunningRequestsSize), Cell(2));
}

TEST(@CLASS@, AnotherPageIsNoGoodSample) {
  auto scraper = Make("@NAME@");
  for (const char* page : {"", "\n\n", "<html>", "waiting", "running -1"}) {
    scraper.Scrape(page);
    EXPECT_EQ(scraper.status(), EPP_INVALID_ARGUMENT) << page;
  }
}

TEST(@CLASS@, SaysWhatToFetch) {
  auto source = Make("@NAME@", {{"port", 9400}});
  const auto plan = source.Plan();
  ASSERT_TRUE(plan);
  EXPECT_EQ(epp::View(plan->path), "/status");
  EXPECT_EQ(plan->port, 9400u);
  EXPECT_EQ(epp::View(plan->payload), "@NAME@");
  EXPECT_THAT(Make("@NAME@", {{"path", "status"}}).error(), HasSubstr("want a leading /"));
}

TEST(@CLASS@, RecordHasNoMistake) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), ::testing::IsEmpty());
}

}  // namespace
