#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Pool;

struct Case {
  const char* name;
  int k;
  size_t candidates;
  size_t picked;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class RandomPickerTest : public testing::TestWithParam<Case> {};

// The fake host checks that picks are distinct candidates.
TEST_P(RandomPickerTest, PicksDistinctCandidates) {
  auto picker = epp::test::Make("random-picker", {{"maxNumOfEndpoints", GetParam().k}});
  const Pool pool(GetParam().candidates);
  const std::vector<double> totals(GetParam().candidates, 1.0);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(picker.Pick(pool, totals).size(), GetParam().picked);
    ASSERT_EQ(picker.status(), EPP_OK);
  }
}

INSTANTIATE_TEST_SUITE_P(Table, RandomPickerTest,
                         testing::Values(Case{"Case056One", 1, 3, 1}, Case{"Case056Fewer", 2, 5, 2},
                                         Case{"Case056More", 7, 3, 3}, Case{"Case056All", 3, 3, 3},
                                         Case{"ZeroMeansOne", 0, 3, 1}),
                         [](const auto& info) { return info.param.name; });

TEST(RandomPickerTest, OrderIsUniform) {
  constexpr int kDraws = 12000;
  auto picker = epp::test::Make("random-picker", {{"maxNumOfEndpoints", 2}});
  const Pool pool(3);
  std::map<std::vector<size_t>, int> pairs;
  for (int i = 0; i < kDraws; ++i) ++pairs[picker.Pick(pool, {100, 0, 1})];
  EXPECT_EQ(pairs.size(), 6u);
  for (const auto& [pair, count] : pairs) EXPECT_NEAR(count, kDraws / 6, kDraws * 0.03);
}

}  // namespace
