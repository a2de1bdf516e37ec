#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

struct Case {
  const char* name;
  std::vector<double> usage;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class KvCacheUtilizationScorerTest : public testing::TestWithParam<Case> {};

TEST_P(KvCacheUtilizationScorerTest, Scores) {
  auto scorer = epp::test::Make("kv-cache-utilization-scorer");
  epp::test::Pool pool(GetParam().usage.size());
  pool.Set(epp::attr::kKvCacheUsage, GetParam().usage);
  EXPECT_THAT(scorer.Score(pool),
              testing::Pointwise(testing::DoubleNear(1e-9), GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(Table, KvCacheUtilizationScorerTest,
                         testing::Values(Case{"Case005", {0.8, 0.5, 0}, {0.2, 0.5, 1}},
                                         Case{"Case006", {0.6, 0.6}, {0.4, 0.4}},
                                         Case{"Case006Full", {1.0, 0.5}, {0, 0.5}},
                                         Case{"NoCandidates", {}, {}}),
                         [](const auto& info) { return info.param.name; });

TEST(KvCacheUtilizationScorerTest, WhatIsNoNumberScoresNothing) {
  auto scorer = epp::test::Make("kv-cache-utilization-scorer");
  epp::test::Pool pool(3);
  pool.Set(epp::attr::kKvCacheUsage, {std::nan(""), HUGE_VAL, -HUGE_VAL});
  EXPECT_THAT(scorer.Score(pool), testing::ElementsAre(0, 0, 0));
}

TEST(KvCacheUtilizationScorerTest, UnknownUsageCountsAsEmpty) {
  auto scorer = epp::test::Make("kv-cache-utilization-scorer", {{"anything", true}});
  epp::test::Pool pool(2);
  pool.Set(epp::attr::kKvCacheUsage, {0.25, std::nullopt});
  EXPECT_THAT(scorer.Score(pool), testing::ElementsAre(0.75, 1));
}

}  // namespace
