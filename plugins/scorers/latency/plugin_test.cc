#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <ostream>
#include <utility>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

using epp::test::Params;
using testing::DoubleNear;
using testing::Each;
using testing::ElementsAre;
using testing::Gt;
using testing::HasSubstr;
using testing::Pointwise;

constexpr const char* kType = "latency-scorer";
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// Headrooms of TTFT and TPOT in ms, and requests dispatched.
struct Prediction {
  std::optional<double> ttft;
  std::optional<double> tpot;
  std::optional<int64_t> dispatched;
};

epp::test::Pool PoolOf(const std::vector<Prediction>& predictions) {
  epp::test::Pool pool(predictions.size());
  std::vector<std::optional<double>> ttft, tpot;
  std::vector<std::optional<int64_t>> dispatched;
  for (const Prediction& p : predictions) {
    ttft.push_back(p.ttft);
    tpot.push_back(p.tpot);
    dispatched.push_back(p.dispatched);
  }
  pool.Set(epp::common::kLatencyTtftHeadroom, ttft).Set(epp::common::kLatencyTpotHeadroom, tpot);
  pool.Set(epp::common::kLatencyDispatched, dispatched);
  return pool;
}

struct Case {
  const char* name;
  Params params;
  std::vector<Prediction> predictions;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class LatencyScorerTest : public testing::TestWithParam<Case> {};

TEST_P(LatencyScorerTest, Scores) {
  auto scorer = epp::test::Make(kType, GetParam().params);
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  EXPECT_THAT(scorer.Score(PoolOf(GetParam().predictions)),
              Pointwise(DoubleNear(1e-9), GetParam().expected));
}

const Params kMost{{"headroomSelectionStrategy", "most"}};

INSTANTIATE_TEST_SUITE_P(
    Table, LatencyScorerTest,
    testing::Values(
        Case{"Case046", {}, {{10, 2, {}}, {50, 10, {}}}, {1, 0.01}},
        Case{"Case046Most", kMost, {{10, 2, {}}, {50, 10, {}}}, {0.01, 1}},
        Case{"Case047", {}, {{-10, -5, {}}, {-100, -30, {}}}, {1, 0.01}},
        Case{"Case048", {}, {{-20, -5, 5}, {-20, -5, 0}}, {0, 0.51}},
        Case{"Case050Idle", {}, {{-50, -10, 0}, {-30, 5, 0}, {10, -8, 0}}, {0.01, 0.61, 0.89}},
        Case{"Case050Busy", {}, {{-50, -10, 1}, {-30, 5, 1}, {10, -8, 1}}, {0, 0, 0.51}},
        Case{"NegativeIsAlwaysLeast", kMost, {{-10, -5, 1}, {-100, -30, 1}}, {1, 0.01}},
        Case{"TtftMissedBeforeBoth", {}, {{-50, -10, 1}, {-30, 5, 1}}, {0, 0.51}},
        Case{"PositiveAlone", {}, {{-1, 1, 0}, {3, 4, 9}, {1, -1, 0}}, {0, 0.51, 0}},
        Case{"UnpredictedIsPositive", {}, {{-1, -1, 0}, {{}, {}, {}}}, {0, 0.51}},
        Case{"UnpredictedIsAtItsLimit", {}, {{10, 10, 0}, {{}, {}, {}}}, {0.01, 1}},
        // TTFT alone differs, so it alone counts.
        Case{"OneDimensionIsFlat", {}, {{10, 5, {}}, {20, 5, {}}, {30, 5, {}}}, {1, 0.51, 0.01}},
        Case{"OtherDimensionIsFlat", {}, {{5, 10, {}}, {5, 20, {}}, {5, 30, {}}}, {1, 0.51, 0.01}},
        Case{"Weights",
             {{"ttftWeight", 1}, {"tpotWeight", 1}},
             {{0, 40, {}}, {40, 0, {}}, {40, 40, {}}},
             {0.51, 0.51, 0.01}},
        Case{"WeightsWithoutSum",
             {{"ttftWeight", 0}, {"tpotWeight", 0}},
             {{0, 40, {}}, {40, 0, {}}},
             {1, 0.01}},
        Case{"OneCandidate", {}, {{10, 2, {}}}, {0.51}}, Case{"NoCandidates", {}, {}, {}},
        Case{"NanIsNoPrediction", {}, {{-5, -5, 0}, {kNan, 1, 0}}, {0, 0.51}},
        Case{"InfiniteHeadroom", {}, {{kInf, 1, {}}, {10, 1, {}}}, {0.01, 1}}),
    [](const auto& info) { return info.param.name; });

// What a request costs when nobody predicts: KV use, waiting queue, matched blocks of 10.
std::vector<double> Composite(const Params& params, const std::vector<double>& kv,
                              const std::vector<int64_t>& queue,
                              const std::vector<int64_t>& match = {}) {
  auto scorer = epp::test::Make(kType, params);
  EXPECT_TRUE(scorer.ok()) << scorer.error();
  epp::test::Pool pool(kv.size());
  pool.Set(epp::attr::kKvCacheUsage, kv).Set(epp::attr::kWaitingQueueSize, queue);
  epp::test::Request request;
  if (!match.empty()) {
    pool.Set(epp::attr::kPrefixMatchBlocks, match);
    request.Set(epp::attr::kPrefixTotalBlocks, 10);
  }
  return scorer.Score(pool, request);
}

TEST(LatencyScorerTest, Case049Composite) {
  EXPECT_THAT(Composite({}, {0.2, 0.8}, {0, 5}), Pointwise(DoubleNear(1e-9), {0.60, 0.07}));
}

TEST(LatencyScorerTest, CompositeWeights) {
  const Params prefix{
      {"compositeKVWeight", 0}, {"compositeQueueWeight", 0}, {"compositePrefixWeight", 2}};
  EXPECT_THAT(Composite(prefix, {0, 0, 0}, {0, 0, 0}, {5, 0, 20}), ElementsAre(0.5, 0, 1));
  const Params none{
      {"compositeKVWeight", 0}, {"compositeQueueWeight", 0}, {"compositePrefixWeight", 0}};
  EXPECT_THAT(Composite(none, {0.25, 1}, {9, 0}, {0, 9}), ElementsAre(0.75, 0));
  EXPECT_THAT(Composite({}, {0, 0}, {0, 0}), Each(DoubleNear(0.67, 1e-9))) << "no queue is room";
  EXPECT_THAT(Composite({}, {kNan, 0}, {0, 0}), ElementsAre(0, DoubleNear(0.67, 1e-9)));
}

TEST(LatencyScorerTest, NoInformationAtAll) {
  auto scorer = epp::test::Make(kType);
  EXPECT_THAT(scorer.Score(epp::test::Pool(2)), Each(Gt(0.0)));
}

TEST(LatencyScorerTest, UnknownStrategyIsLeastAndSaysSo) {
  epp::test::Host host;
  auto scorer = epp::test::Make(kType, {{"headroomSelectionStrategy", "fewest"}}, &host);
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  ASSERT_EQ(host.logs().size(), 1u);
  EXPECT_THAT(host.logs()[0].text, HasSubstr("fewest"));
  EXPECT_THAT(scorer.Score(PoolOf({{10, 2, {}}, {50, 10, {}}})), ElementsAre(1, 0.01));
}

TEST(LatencyScorerTest, ReadsTheProducersThatTheConfigNames) {
  auto scorer = epp::test::Make(kType, {{"latencyPredictionInfoProducerName", "mine"}});
  epp::test::Pool pool(2);
  pool.Set("LatencyPredictionInfoDataKey.ttftHeadroom/mine", {50, 10});
  pool.Set("LatencyPredictionInfoDataKey.tpotHeadroom/mine", {10, 2});
  pool.Set("LatencyPredictionInfoDataKey.ttftHeadroom/predicted-latency-producer", {-1, 10});
  EXPECT_THAT(scorer.Score(pool), ElementsAre(0.01, 1));
}

}  // namespace
