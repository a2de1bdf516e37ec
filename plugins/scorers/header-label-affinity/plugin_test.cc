#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "header-label-affinity-scorer";
const Params kParams{{"headerName", "X-Slice"}, {"labelKey", "example.com/slice"}};

epp::test::Pool Slices() {
  epp::test::Pool pool(4);
  pool.Label(0, "example.com/slice", "slice-a").Label(1, "example.com/slice", "slice-b");
  pool.Label(2, "other", "slice-a").Label(3, "example.com/slice", "");
  return pool;
}

TEST(HeaderLabelAffinityScorerTest, Case039) {
  auto scorer = epp::test::Make(kType, kParams);
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  epp::test::Request request;
  request.Header("x-slice", "slice-a");
  EXPECT_THAT(scorer.Score(Slices(), request), ElementsAre(1, 0, 0, 0));
}

TEST(HeaderLabelAffinityScorerTest, NobodyMatches) {
  auto scorer = epp::test::Make(kType, kParams);
  const epp::test::Pool pool = Slices();
  EXPECT_THAT(scorer.Score(pool), Each(0)) << "no header";
  epp::test::Request empty;
  empty.Header("x-slice", "");
  EXPECT_THAT(scorer.Score(pool, empty), Each(0)) << "an empty header is none";
  epp::test::Request unknown;
  unknown.Header("x-slice", "slice-z");
  EXPECT_THAT(scorer.Score(pool, unknown), Each(0));
  EXPECT_EQ(scorer.host().FindSymbol("slice-z"), 0u) << "a client's string was kept";
}

TEST(HeaderLabelAffinityScorerTest, Parameters) {
  const auto error = [](const Params& p) { return epp::test::Make(kType, p).error(); };
  EXPECT_THAT(error({}), HasSubstr("required"));
  EXPECT_THAT(error({{"headerName", "x-slice"}}), HasSubstr("labelKey"));
  EXPECT_THAT(error({{"headerName", ""}, {"labelKey", "l"}}), HasSubstr("headerName: got \"\""));
  EXPECT_THAT(error({{"headerName", "h"}, {"labelKey", ""}}), HasSubstr("labelKey: got \"\""));
}

TEST(HeaderLabelAffinityScorerTest, IsExperimental) {
  auto scorer = epp::test::Make(kType, kParams);
  EXPECT_EQ(scorer.type().stability, EPP_STABILITY_ALPHA);
}

}  // namespace
