#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Make;
using epp::test::Pool;
using ::testing::ElementsAre;

TEST(@CLASS@, PicksTheBest) {
  EXPECT_THAT(Make("@NAME@").Pick(Pool(3), {0.1, 0.9, 0.5}), ElementsAre(1));
  EXPECT_THAT(Make("@NAME@").Pick(Pool(1), {0.0}), ElementsAre(0));
}

TEST(@CLASS@, TheFirstOfEquals) {
  EXPECT_THAT(Make("@NAME@").Pick(Pool(3), {0.1, 0.9, 0.9}), ElementsAre(1));
}

TEST(@CLASS@, FallbacksFollowBestFirst) {
  auto picker = Make("@NAME@", {{"maxPicks", 10}});
  EXPECT_THAT(picker.Pick(Pool(4), {0.3, 0.1, 0.4, 0.3}), ElementsAre(2, 0, 3, 1));
}

TEST(@CLASS@, RecordHasNoMistake) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), ::testing::IsEmpty());
}

}  // namespace
