#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Pool;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

std::vector<size_t> Pick(int k, const std::vector<double>& totals) {
  auto picker = epp::test::Make("max-score-picker", {{"maxNumOfEndpoints", k}});
  return picker.Pick(Pool(totals.size()), totals);
}

TEST(MaxScorePickerTest, Case051TakesTheHighest) {
  EXPECT_THAT(Pick(1, {10, 25, 15}), ElementsAre(1));
}

TEST(MaxScorePickerTest, Case052TakesTheTwoHighest) {
  EXPECT_THAT(Pick(2, {50, 50, 30}), UnorderedElementsAre(0, 1));
  EXPECT_THAT(Pick(2, {20, 25, 30}), ElementsAre(2, 1));
}

TEST(MaxScorePickerTest, Case053TakesAllWhenAskedForMore) {
  EXPECT_THAT(Pick(4, {20, 25, 30}), ElementsAre(2, 1, 0));
  const std::vector<size_t> picks = Pick(3, {30, 25, 30});
  ASSERT_EQ(picks.size(), 3u);
  EXPECT_THAT((std::vector<size_t>{picks[0], picks[1]}), UnorderedElementsAre(0, 2));
  EXPECT_EQ(picks[2], 1u);
}

TEST(MaxScorePickerTest, ZeroAndLessMeanOne) {
  EXPECT_THAT(Pick(0, {1, 2}), ElementsAre(1));
  EXPECT_THAT(Pick(-7, {1, 2}), ElementsAre(1));
}

TEST(MaxScorePickerTest, NegativeAndOddTotals) {
  EXPECT_THAT(Pick(1, {-3, -1, -2}), ElementsAre(1));
  EXPECT_THAT(Pick(2, {NAN, -1, -HUGE_VAL}).front(), 1u);
  EXPECT_EQ(Pick(1, {NAN, NAN}).size(), 1u);
}

// Every order of equal totals is equally likely.
TEST(MaxScorePickerTest, TiesAreUniform) {
  constexpr int kDraws = 12000;
  const Pool pool(4);
  auto one = epp::test::Make("max-score-picker");
  std::map<size_t, int> first;
  for (int i = 0; i < kDraws; ++i) ++first[one.Pick(pool, {5, 1, 5, 5})[0]];
  EXPECT_EQ(first.count(1), 0u);
  for (const size_t i : {0, 2, 3}) EXPECT_NEAR(first[i], kDraws / 3, kDraws * 0.03) << i;

  auto two = epp::test::Make("max-score-picker", {{"maxNumOfEndpoints", 2}});
  std::map<std::vector<size_t>, int> pairs;
  for (int i = 0; i < kDraws; ++i) ++pairs[two.Pick(pool, {5, 1, 5, 5})];
  EXPECT_EQ(pairs.size(), 6u);
  for (const auto& [pair, count] : pairs) EXPECT_NEAR(count, kDraws / 6, kDraws * 0.03);
}

}  // namespace
