#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "epp/testing.hpp"

namespace {

using epp::test::Make;
using epp::test::Pool;
using ::testing::ElementsAre;
using ::testing::SizeIs;

TEST(TwoChoicesPicker, TheOnlyCandidate) {
  EXPECT_THAT(Make("two-choices-picker").Pick(Pool(1), {0.0}), ElementsAre(0));
}

TEST(TwoChoicesPicker, OfTwoTheBetter) {
  auto picker = Make("two-choices-picker");
  for (int i = 0; i < 50; ++i) EXPECT_THAT(picker.Pick(Pool(2), {0.1, 0.9}), ElementsAre(1, 0));
}

TEST(TwoChoicesPicker, TheWorstOfManyIsNeverPickedAndTheOthersAre) {
  auto picker = Make("two-choices-picker");
  std::map<size_t, int> picked;
  for (int i = 0; i < 1000; ++i) ++picked[picker.Pick(Pool(4), {0.3, 0.1, 0.4, 0.2})[0]];
  EXPECT_EQ(picked[1], 0);
  EXPECT_GT(picked[2], picked[0]);  // 1/2, 1/3 and 1/6 of the draws
  EXPECT_GT(picked[0], picked[3]);
  EXPECT_GT(picked[3], 0);
}

TEST(TwoChoicesPicker, FallbacksFollowBestFirst) {
  auto picker = Make("two-choices-picker", {{"fallbacks", 10}});
  for (int i = 0; i < 50; ++i) {
    const std::vector<double> totals{0.3, 0.1, 0.4, 0.2};
    const std::vector<size_t> picks = picker.Pick(Pool(4), totals);
    ASSERT_THAT(picks, SizeIs(4));
    EXPECT_GE(totals[picks[1]], totals[picks[2]]);
    EXPECT_GE(totals[picks[2]], totals[picks[3]]);
  }
  EXPECT_THAT(
      Make("two-choices-picker", {{"fallbacks", 0}}).Pick(Pool(9), {1, 2, 3, 4, 5, 6, 7, 8, 9}),
      SizeIs(1));
}

}  // namespace
