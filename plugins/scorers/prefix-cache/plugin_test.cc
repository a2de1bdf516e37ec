#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

struct Case {
  const char* name;
  Params params;
  int64_t total;
  int64_t block_size;
  std::vector<std::optional<int64_t>> match;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class PrefixCacheScorerTest : public testing::TestWithParam<Case> {};

TEST_P(PrefixCacheScorerTest, Scores) {
  auto scorer = epp::test::Make("prefix-cache-scorer", GetParam().params);
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  epp::test::Pool pool(GetParam().match.size());
  pool.Set(epp::attr::kPrefixMatchBlocks, GetParam().match);
  epp::test::Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, GetParam().total);
  request.Set(epp::attr::kPrefixBlockSize, GetParam().block_size);
  EXPECT_THAT(scorer.Score(pool, request),
              testing::Pointwise(DoubleNear(1e-9), GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    Table, PrefixCacheScorerTest,
    testing::Values(Case{"Case022", {}, 10, 64, {5, 2}, {0.5, 0.2}},
                    Case{"Case024Short",
                         {{"matchLengthWeight", 0.5}, {"matchLengthScaleTokens", 100}},
                         10,
                         1,
                         {5},
                         {0.25125}},
                    Case{"Case024Long",
                         {{"matchLengthWeight", 0.5}, {"matchLengthScaleTokens", 100}},
                         100,
                         1,
                         {50},
                         {0.375}},
                    Case{"LengthStopsAtOne",
                         {{"matchLengthWeight", 1}, {"matchLengthScaleTokens", 100}},
                         10,
                         64,
                         {10, 2, 1},
                         {1, 1, 0.4096}},
                    Case{"NoBlocks", {}, 0, 64, {0, 0}, {0, 0}}),
    [](const auto& info) { return info.param.name; });

TEST(PrefixCacheScorerTest, Case023MissingInformation) {
  epp::test::Host host;
  auto scorer = epp::test::Make("prefix-cache-scorer", {}, &host);
  epp::test::Pool pool(3);
  pool.Set(epp::attr::kPrefixMatchBlocks, {5, std::nullopt, std::nullopt});
  epp::test::Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 10).Set(epp::attr::kPrefixBlockSize, 64);
  EXPECT_THAT(scorer.Score(pool, request), ElementsAre(0.5, 0, 0));
  ASSERT_EQ(host.logs().size(), 1u);
  EXPECT_THAT(host.logs()[0].text, HasSubstr("2 endpoints"));
}

TEST(PrefixCacheScorerTest, MoreThanThereIsCountsAsAll) {
  auto scorer = epp::test::Make("prefix-cache-scorer");
  epp::test::Pool pool(2);
  pool.Set(epp::attr::kPrefixMatchBlocks, {12, -3});
  epp::test::Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 10).Set(epp::attr::kPrefixBlockSize, 64);
  EXPECT_THAT(scorer.Score(pool, request), ElementsAre(1, 0));
}

TEST(PrefixCacheScorerTest, NoProducerRan) {
  auto scorer = epp::test::Make("prefix-cache-scorer");
  EXPECT_THAT(scorer.Score(epp::test::Pool(2)), ElementsAre(0, 0));
}

TEST(PrefixCacheScorerTest, Case025Parameters) {
  const auto ok = [](const Params& p) { return epp::test::Make("prefix-cache-scorer", p).ok(); };
  EXPECT_FALSE(ok({{"matchLengthWeight", -0.1}}));
  EXPECT_FALSE(ok({{"matchLengthWeight", 1.1}}));
  EXPECT_FALSE(ok({{"matchLengthWeight", 0.5}, {"matchLengthScaleTokens", 0}}));
  EXPECT_TRUE(ok({{"matchLengthWeight", 0.5}}));
  EXPECT_TRUE(ok({{"matchLengthScaleTokens", 0}}));

  auto scorer = epp::test::Make("prefix-cache-scorer", {{"matchLengthWeight", 0.5}});
  epp::test::Pool pool(1);
  pool.Set(epp::attr::kPrefixMatchBlocks, {64});
  epp::test::Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 128).Set(epp::attr::kPrefixBlockSize, 64);
  // 64 * 64 / 8192 = 0.5
  EXPECT_THAT(scorer.Score(pool, request), ElementsAre(0.5 * 0.25 + 0.5 * 0.5));
}

TEST(PrefixCacheScorerTest, OtherTypesAreTheSameCode) {
  epp::test::Pool pool(2);
  pool.Set(epp::attr::kPrefixMatchBlocks, {5, 2});
  epp::test::Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 10).Set(epp::attr::kPrefixBlockSize, 64);
  for (const char* type : {"multicluster-prefix-cache-scorer", "precise-prefix-cache-scorer"}) {
    auto scorer = epp::test::Make(type);
    ASSERT_TRUE(scorer.ok()) << scorer.error();
    EXPECT_THAT(scorer.Score(pool, request), ElementsAre(0.5, 0.2)) << type;
  }
}

TEST(PrefixCacheScorerTest, Multicluster) {
  constexpr const char* kType = "multicluster-prefix-cache-scorer";
  auto scorer = epp::test::Make(kType, {{"matchLengthWeight", 0.5}});
  EXPECT_EQ(scorer.type().stability, EPP_STABILITY_ALPHA);
  epp::test::Pool pool(1);
  pool.Set("PrefixCacheMatchInfoDataKey.matchBlocks/approx-prefix-cache-producer", {64});
  epp::test::Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 128).Set(epp::attr::kPrefixBlockSize, 64);
  EXPECT_THAT(scorer.Score(pool, request), ElementsAre(0.5 * 0.25 + 0.5 * 0.5));
  EXPECT_FALSE(epp::test::Make(kType, {{"matchLengthWeight", 1.1}}).ok());
}

TEST(PrefixCacheScorerTest, PreciseReadsThePreciseProducer) {
  constexpr const char* kType = "precise-prefix-cache-scorer";
  epp::test::Pool pool(2);
  pool.Set("PrefixCacheMatchInfoDataKey.matchBlocks/approx-prefix-cache-producer", {0, 9});
  pool.Set("PrefixCacheMatchInfoDataKey.matchBlocks/precise-prefix-cache-producer", {5, 0});
  pool.Set("PrefixCacheMatchInfoDataKey.matchBlocks/mine", {0, 5});
  epp::test::Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 10).Set(epp::attr::kPrefixBlockSize, 64);
  // What configured the producer that it once had is accepted.
  auto scorer = epp::test::Make(kType, {{"indexerConfig", "{}"}, {"anything", 1}});
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  EXPECT_NE(scorer.type().deprecated, nullptr);
  EXPECT_THAT(scorer.Score(pool, request), ElementsAre(0.5, 0));
  auto named = epp::test::Make(kType, {{"prefixMatchInfoProducerName", "mine"}});
  EXPECT_THAT(named.Score(pool, request), ElementsAre(0, 0.5));
}

}  // namespace
