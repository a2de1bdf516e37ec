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
  std::vector<double> totals;
  std::vector<double> share;  // of the draws, first pick
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class WeightedRandomPickerTest : public testing::TestWithParam<Case> {};

// One target and several take different ways; the first of several has the same chances.
TEST_P(WeightedRandomPickerTest, FirstPickFollowsTotals) {
  constexpr int kDraws = 10000;
  const Pool pool(GetParam().totals.size());
  for (const int k : {1, 2}) {
    auto picker = epp::test::Make("weighted-random-picker", {{"maxNumOfEndpoints", k}});
    std::vector<int> first(GetParam().totals.size());
    for (int i = 0; i < kDraws; ++i) ++first[picker.Pick(pool, GetParam().totals).at(0)];
    for (size_t i = 0; i < first.size(); ++i) {
      EXPECT_NEAR(first[i], kDraws * GetParam().share[i], kDraws * 0.03) << "k " << k << ", " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, WeightedRandomPickerTest,
    testing::Values(Case{"Case054", {10, 90}, {0.1, 0.9}},
                    Case{"Case055Equal", {100, 100, 100}, {1 / 3.0, 1 / 3.0, 1 / 3.0}},
                    Case{"Case055Zero", {30, 0}, {1, 0}},
                    Case{"Case055Five",
                         {100, 90, 50, 30, 20},
                         {100 / 290.0, 90 / 290.0, 50 / 290.0, 30 / 290.0, 20 / 290.0}},
                    Case{"NobodyHasAChance", {0, 0, -1}, {1 / 3.0, 1 / 3.0, 1 / 3.0}},
                    Case{"Tiny", {1e-300, 3e-300}, {0.25, 0.75}}),
    [](const auto& info) { return info.param.name; });

TEST(WeightedRandomPickerTest, ZeroComesLast) {
  auto picker = epp::test::Make("weighted-random-picker", {{"maxNumOfEndpoints", 5}});
  const Pool pool(4);
  std::map<size_t, int> third;
  for (int i = 0; i < 400; ++i) {
    const std::vector<size_t> picks = picker.Pick(pool, {0, 2, 0, 1});
    ASSERT_EQ(picks.size(), 4u);
    EXPECT_TRUE(picks[0] == 1 || picks[0] == 3);
    EXPECT_TRUE(picks[1] == 1 || picks[1] == 3);
    ++third[picks[2]];
  }
  EXPECT_GT(third[0], 100);
  EXPECT_GT(third[2], 100);
}

TEST(WeightedRandomPickerTest, ZeroAndLessMeanOne) {
  auto picker = epp::test::Make("weighted-random-picker", {{"maxNumOfEndpoints", -1}});
  EXPECT_EQ(picker.Pick(Pool(3), {1, 1, 1}).size(), 1u);
}

}  // namespace
