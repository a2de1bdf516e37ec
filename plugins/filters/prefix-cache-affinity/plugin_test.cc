#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

using epp::test::Params;
using epp::test::Pool;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "prefix-cache-affinity-filter";

struct Server {
  std::optional<int64_t> match;  // of 100 blocks
  std::optional<double> ttft_ms;
  std::optional<int64_t> tokens;  // in flight
};

struct Case {
  const char* name;
  Params params;
  std::vector<Server> servers;
  std::vector<size_t> kept;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

Pool Endpoints(const std::vector<Server>& servers) {
  std::vector<std::optional<int64_t>> match, tokens;
  std::vector<std::optional<double>> ttft;
  for (const Server& s : servers) {
    match.push_back(s.match);
    tokens.push_back(s.tokens);
    ttft.push_back(s.ttft_ms);
  }
  Pool pool(servers.size());
  pool.Set(epp::attr::kPrefixMatchBlocks, match);
  pool.Set(epp::attr::kInflightTokens, tokens);
  pool.Set(epp::common::kLatencyTtft, ttft);
  return pool;
}

class PrefixCacheAffinityTest : public testing::TestWithParam<Case> {};

TEST_P(PrefixCacheAffinityTest, Keeps) {
  auto filter = epp::test::Make(kType, GetParam().params);
  ASSERT_TRUE(filter.ok()) << filter.error();
  Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 100);
  EXPECT_EQ(filter.Filter(Endpoints(GetParam().servers), request), GetParam().kept);
}

Params Predictor(double gate_ms) {
  return {{"ttftSource", "latencyPredictor"}, {"maxTTFTPenaltyMs", gate_ms}};
}
Params Throughput(double gate_ms) {
  return {{"peakPrefillThroughput", 1000}, {"maxTTFTPenaltyMs", gate_ms}};
}
constexpr std::nullopt_t kNone = std::nullopt;

INSTANTIATE_TEST_SUITE_P(
    Table, PrefixCacheAffinityTest,
    testing::Values(
        Case{"Case072NobodySticky",
             {},
             {{10, kNone, kNone}, {20, kNone, kNone}, {50, kNone, kNone}},
             {0, 1, 2}},
        Case{
            "Case073GateHolds", Predictor(5000), {{90, 100, 0}, {85, 120, 0}, {10, 50, 0}}, {0, 1}},
        Case{"Case074StickyTooLate", Predictor(100), {{90, 500, 0}, {10, 50, 0}}, {0, 1}},
        Case{"Case075ThroughputTooLate",
             Throughput(100),
             {{90, kNone, 500}, {10, kNone, 50}},
             {0, 1}},
        Case{"Case075ThroughputHolds", Throughput(1000), {{90, kNone, 500}, {10, kNone, 50}}, {0}},
        Case{"Case076NoGate", {{"maxTTFTPenaltyMs", 0}}, {{90, kNone, 5000}, {10, kNone, 50}}, {0}},
        Case{"DifferenceEqualToTheGateHolds",
             Throughput(450),
             {{90, kNone, 500}, {10, kNone, 50}},
             {0}},
        Case{"ThresholdIsInclusive", {}, {{80, kNone, 0}, {79, kNone, 0}}, {0}},
        Case{"ThresholdZeroIsOff",
             {{"affinityThreshold", 0}},
             {{90, kNone, 0}, {10, kNone, 0}},
             {0, 1}},
        Case{"ThresholdNegativeIsOff",
             {{"affinityThreshold", -1}},
             {{90, kNone, 0}, {10, kNone, 0}},
             {0, 1}},
        Case{"AlwaysExplores",
             {{"explorationProbability", 1}},
             {{90, kNone, 0}, {10, kNone, 0}},
             {0, 1}},
        Case{"NoMatchInformationIsNoMatch", {}, {{kNone, kNone, 0}, {90, kNone, 0}}, {1}},
        Case{
            "MissingLoadIsNoLoad", Throughput(100), {{90, kNone, 500}, {10, kNone, kNone}}, {0, 1}},
        Case{"MissingPredictionIsNever", Predictor(1e9), {{90, kNone, 0}, {10, 50, 0}}, {0, 1}},
        Case{"NoPredictionAtAll", Predictor(1), {{90, kNone, 0}, {10, kNone, 0}}, {0}},
        Case{"PredictionIsNotANumber",
             Predictor(100),
             {{90, __builtin_nan(""), 0}, {85, 50, 0}, {10, 50, 0}},
             {0, 1}},
        Case{"AllStickyNeedNoGate", Throughput(1), {{90, kNone, 5000}, {95, kNone, 0}}, {0, 1}},
        Case{"OneCandidate", {}, {{10, kNone, 0}}, {0}}, Case{"NoCandidates", {}, {}, {}}),
    [](const auto& info) { return info.param.name; });

TEST(PrefixCacheAffinityTest, DefaultGateIs18Seconds) {
  auto filter = epp::test::Make(kType);
  Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 100);
  const int64_t at_gate = 15928 * 18;  // tokens in 18 s at the default throughput
  EXPECT_THAT(filter.Filter(Endpoints({{90, kNone, at_gate}, {10, kNone, 0}}), request),
              ElementsAre(0));
  EXPECT_THAT(filter.Filter(Endpoints({{90, kNone, at_gate + 1}, {10, kNone, 0}}), request),
              ElementsAre(0, 1));
}

TEST(PrefixCacheAffinityTest, PromptWithoutBlocks) {
  auto filter = epp::test::Make(kType);
  Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 0);
  EXPECT_THAT(filter.Filter(Endpoints({{0, kNone, 0}, {0, kNone, 0}}), request), ElementsAre(0, 1));
  Request unknown;
  EXPECT_THAT(filter.Filter(Endpoints({{9, kNone, 0}, {0, kNone, 0}}), unknown), ElementsAre(0, 1));
}

TEST(PrefixCacheAffinityTest, ExploresAsOftenAsAsked) {
  auto filter = epp::test::Make(kType, {{"explorationProbability", 0.25}});
  Request request;
  request.Set(epp::attr::kPrefixTotalBlocks, 100);
  const Pool pool = Endpoints({{90, kNone, 0}, {10, kNone, 0}});
  int explored = 0;
  for (int i = 0; i < 4000; ++i) explored += filter.Filter(pool, request).size() == 2;
  EXPECT_NEAR(explored, 1000, 120);
}

TEST(PrefixCacheAffinityTest, ConsumesWhatTheGateNeeds) {
  const auto consumed = [](const Params& params) {
    auto filter = epp::test::Make(kType, params);
    uint32_t count = 0;
    const auto& table = filter.Table<epp_attributes>(EPP_ATTRIBUTES_ID);
    const epp_attr_spec* const* specs = table.consumes(filter.Self(), &count);
    std::vector<std::string> keys;
    for (uint32_t i = 0; i < count; ++i) keys.emplace_back(specs[i]->key);
    return keys;
  };
  const std::string match = epp::attr::kPrefixMatchBlocks.key;
  const std::string total = epp::attr::kPrefixTotalBlocks.key;
  EXPECT_THAT(consumed({}), ElementsAre(match, total, epp::attr::kInflightTokens.key));
  EXPECT_THAT(consumed(Predictor(1)), ElementsAre(match, total, epp::common::kLatencyTtft.key));
  EXPECT_THAT(consumed(Predictor(0)), ElementsAre(match, total));
}

TEST(PrefixCacheAffinityTest, ProducersByName) {
  auto filter = epp::test::Make(kType, {{"prefixMatchInfoProducerName", "p"},
                                        {"inFlightLoadProducerName", "l"},
                                        {"peakPrefillThroughput", 1000},
                                        {"maxTTFTPenaltyMs", 100}});
  Pool pool(2);
  pool.Set("PrefixCacheMatchInfoDataKey.matchBlocks/p", {10, 90});
  pool.Set("InFlightLoadDataKey.tokens/l", {0, 0});
  pool.Set("InFlightLoadDataKey.tokens", {0, 5000});
  Request request;
  request.Set("PrefixCacheMatchInfoDataKey.totalBlocks/p", 100);
  EXPECT_THAT(filter.Filter(pool, request), ElementsAre(1));
}

struct BadCase {
  const char* name;
  Params params;
  const char* error;
};

void PrintTo(const BadCase& c, std::ostream* os) { *os << c.name; }

class PrefixCacheAffinityErrorTest : public testing::TestWithParam<BadCase> {};

TEST_P(PrefixCacheAffinityErrorTest, Case077Refuses) {
  auto filter = epp::test::Make(kType, GetParam().params);
  EXPECT_FALSE(filter.ok());
  EXPECT_THAT(filter.error(), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Table, PrefixCacheAffinityErrorTest,
    testing::Values(
        BadCase{"Threshold", {{"affinityThreshold", 1.5}}, "affinityThreshold"},
        BadCase{"Exploration", {{"explorationProbability", -0.1}}, "explorationProbability"},
        BadCase{"PeakNegative", {{"peakPrefillThroughput", -1}}, "peakPrefillThroughput"},
        BadCase{"PeakZero", {{"peakPrefillThroughput", 0}}, "peakPrefillThroughput: got 0"},
        BadCase{"SourceEmpty", {{"ttftSource", ""}}, "ttftSource"},
        BadCase{"SourceUnknown", {{"ttftSource", "bogus"}}, "ttftSource"},
        BadCase{"Penalty", {{"maxTTFTPenaltyMs", -1}}, "maxTTFTPenaltyMs"}),
    [](const auto& info) { return info.param.name; });

TEST(PrefixCacheAffinityTest, Case078PeakZeroWhereItIsNotUsed) {
  EXPECT_TRUE(epp::test::Make(kType, {{"peakPrefillThroughput", 0}, {"maxTTFTPenaltyMs", 0}}).ok());
  EXPECT_TRUE(
      epp::test::Make(kType, {{"peakPrefillThroughput", 0}, {"ttftSource", "latencyPredictor"}})
          .ok());
}

TEST(PrefixCacheAffinityTest, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), testing::IsEmpty());
}

}  // namespace
