#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "endpoint-attribute-scorer";
constexpr const char* kLower = "linear_lower_is_better";
constexpr const char* kHigher = "linear_higher_is_better";

Params With(const char* algorithm, const Params& more = {}) {
  Params params{{"attributeKey", "Temperature"}, {"algorithm.type", algorithm}};
  for (const auto& [name, value] : more.settings()) params.Set(name, value);
  return params;
}

const Params kTen{{"algorithm.normalization.fixedRange.min", 0},
                  {"algorithm.normalization.fixedRange.max", 10}};

struct Case {
  const char* name;
  const char* algorithm;
  Params more;
  std::vector<std::optional<double>> values;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class EndpointAttributeScorerTest : public testing::TestWithParam<Case> {};

TEST_P(EndpointAttributeScorerTest, Scores) {
  auto scorer = epp::test::Make(kType, With(GetParam().algorithm, GetParam().more));
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  epp::test::Pool pool(GetParam().values.size());
  pool.Set("Temperature/core-metrics-extractor", GetParam().values);
  EXPECT_THAT(scorer.Score(pool),
              testing::Pointwise(testing::DoubleNear(1e-9), GetParam().expected));
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kHuge = std::numeric_limits<double>::max();

INSTANTIATE_TEST_SUITE_P(
    Table, EndpointAttributeScorerTest,
    testing::Values(
        Case{"Case035Lower", kLower, {}, {10, 5, 0}, {0, 0.5, 1}},
        Case{"Case035Higher", kHigher, {}, {10, 5, 0}, {1, 0.5, 0}},
        Case{"Case036Equal", kLower, {}, {7, 7}, {1, 1}},
        Case{"Case036Missing", kLower, {}, {10, {}, 0}, {0, 0, 1}},
        Case{"Case037Inside", kLower, kTen, {7, 7}, {0.3, 0.3}},
        Case{"Case037Outside", kLower, kTen, {15, -5}, {0, 1}},
        Case{"FixedHigher", kHigher, kTen, {7, {}, 15}, {0.7, 0, 1}},
        Case{"AdaptiveByName",
             kLower,
             {{"algorithm.normalization.adaptiveRange", "{}"}},
             {10, 0},
             {0, 1}},
        Case{"OnlyMax", kHigher, {{"algorithm.normalization.fixedRange.max", 2}}, {1, 2}, {0.5, 1}},
        Case{"EqualHigher", kHigher, {}, {7, 7, {}}, {1, 1, 0}},
        Case{"NobodyHasAValue", kLower, {}, {{}, {}}, {0, 0}},
        Case{"NotFiniteIsMissing", kLower, {}, {kNan, 10, kInf, 0}, {0, 0, 0, 1}},
        Case{"ExtremesDoNotOverflow", kHigher, {}, {kHuge, -kHuge, 0}, {1, 0, 0.5}},
        Case{"NoCandidates", kLower, {}, {}, {}}),
    [](const auto& info) { return info.param.name; });

TEST(EndpointAttributeScorerTest, Case038KeyAndProducer) {
  const auto make = [](const Params& more) {
    Params params{{"algorithm.type", kLower}};
    for (const auto& [name, value] : more.settings()) params.Set(name, value);
    return epp::test::Make(kType, params).error();
  };
  EXPECT_THAT(make({{"attributeKey", "GPUUtilization/dcgm-extractor"}}),
              HasSubstr("producer: \"dcgm-extractor\""));
  EXPECT_EQ(make({{"attributeKey", "llm-d.ai/load"}, {"producer", ""}}), "");
  EXPECT_EQ(make({{"attributeKey", "GPUUtilization"}, {"producer", "dcgm-extractor"}}), "");
  EXPECT_THAT(make({{"attributeKey", ""}}), HasSubstr("attributeKey: got \"\""));
  EXPECT_THAT(make({{"attributeKey", "label/zone"}, {"producer", ""}}), HasSubstr("want a number"));
  EXPECT_THAT(make({}), HasSubstr("attributeKey"));
}

TEST(EndpointAttributeScorerTest, ReadsTheAttributeThatItIsTold) {
  epp::test::Pool pool(2);
  pool.Set("load/core-metrics-extractor", {0, 1}).Set("load/other", {1, 0});
  pool.Set("acme.example/load", {3, 9});
  const Params other{{"attributeKey", "load"}, {"producer", "other"}, {"algorithm.type", kHigher}};
  auto named = epp::test::Make(kType, other);
  EXPECT_THAT(named.Score(pool), ElementsAre(1, 0));
  const Params bare{
      {"attributeKey", "acme.example/load"}, {"producer", ""}, {"algorithm.type", kHigher}};
  auto agnostic = epp::test::Make(kType, bare);
  EXPECT_THAT(agnostic.Score(pool), ElementsAre(0, 1));
}

TEST(EndpointAttributeScorerTest, ReadsIntegersToo) {
  auto scorer = epp::test::Make(
      kType, {{"attributeKey", epp::attr::kWaitingQueueSize.key}, {"algorithm.type", kLower}});
  epp::test::Pool pool(4);
  pool.Set(epp::attr::kWaitingQueueSize, {8, 2, std::nullopt, 4});
  EXPECT_THAT(scorer.Score(pool), ElementsAre(0, 1, 0, testing::DoubleNear(2.0 / 3, 1e-9)));
}

TEST(EndpointAttributeScorerTest, Parameters) {
  const auto error = [](const Params& p) { return epp::test::Make(kType, p).error(); };
  constexpr const char* kMin = "algorithm.normalization.fixedRange.min";
  constexpr const char* kMax = "algorithm.normalization.fixedRange.max";
  constexpr const char* kAdaptive = "algorithm.normalization.adaptiveRange";
  EXPECT_THAT(error({{"attributeKey", "a"}}), HasSubstr("algorithm.type"));
  EXPECT_THAT(error(With("linear")), HasSubstr("not one of its choices"));
  EXPECT_THAT(error(With(kLower, {{kMin, 1}, {kMax, 1}})), HasSubstr("want min below max"));
  EXPECT_THAT(error(With(kLower, {{kMin, 1}})), HasSubstr("want min below max"));
  EXPECT_THAT(error(With(kLower, {{kMin, 0}, {kMax, 1}, {kAdaptive, "{}"}})),
              HasSubstr("want one of them"));
  EXPECT_THAT(error(With(kLower, {{kAdaptive, "{\"min\":1}"}})), HasSubstr("want {}"));
  EXPECT_EQ(epp::test::Make(kType, With(kLower)).type().stability, EPP_STABILITY_ALPHA);
}

}  // namespace
