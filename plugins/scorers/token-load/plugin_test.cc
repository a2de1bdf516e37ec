#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using Tokens = std::vector<std::optional<int64_t>>;

constexpr const char* kType = "token-load-scorer";

struct Case {
  const char* name;
  Params params;
  Tokens in_flight;
  Tokens added;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class TokenLoadScorerTest : public testing::TestWithParam<Case> {};

TEST_P(TokenLoadScorerTest, Scores) {
  auto scorer = epp::test::Make(kType, GetParam().params);
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  epp::test::Pool pool(GetParam().expected.size());
  pool.Set(epp::attr::kInflightTokens, GetParam().in_flight);
  pool.Set(epp::attr::kUncachedRequestTokens, GetParam().added);
  EXPECT_THAT(scorer.Score(pool),
              testing::Pointwise(testing::DoubleNear(1e-9), GetParam().expected));
}

const Params kThousand{{"queueThresholdTokens", 1000}};

INSTANTIATE_TEST_SUITE_P(
    Table, TokenLoadScorerTest,
    testing::Values(
        Case{"Case019", kThousand, {0, 500, 1000}, {}, {1, 0.5, 0}},
        Case{"Case020", kThousand, {0, 250, 750}, {250, 250, 250}, {0.75, 0.5, 0}},
        Case{"Case021", {}, {}, {}, {1, 1}},
        Case{"Default", {}, {2'097'152, 8'000'000}, {0, 0}, {0.5, 0}},
        Case{"ZeroMeansDefault", {{"queueThresholdTokens", 0}}, {2'097'152}, {0}, {0.5}},
        Case{"NegativeMeansDefault", {{"queueThresholdTokens", -1}}, {2'097'152}, {0}, {0.5}},
        Case{"NegativeLoadIsNone", kThousand, {-500, INT64_MIN}, {0, 0}, {1, 1}},
        Case{"SumsDoNotOverflow", kThousand, {INT64_MAX}, {INT64_MAX}, {0}}),
    [](const auto& info) { return info.param.name; });

TEST(TokenLoadScorerTest, ReadsTheProducerThatTheConfigNames) {
  Params params = kThousand;
  params.Set("inFlightLoadProducerName", "mine");
  auto scorer = epp::test::Make(kType, params);
  epp::test::Pool pool(1);
  pool.Set("InFlightLoadDataKey.tokens/inflight-load-producer", {1000});
  pool.Set("InFlightLoadDataKey.tokens/mine", {200});
  pool.Set("UncachedRequestTokensDataKey/mine", {50});
  EXPECT_THAT(scorer.Score(pool), testing::ElementsAre(0.75));
}

TEST(TokenLoadScorerTest, RefusesUnknownParameters) {
  EXPECT_FALSE(epp::test::Make(kType, {{"threshold", 10}}).ok());
}

}  // namespace
