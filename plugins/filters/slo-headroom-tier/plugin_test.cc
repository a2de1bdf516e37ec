#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <utility>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

using epp::test::Pool;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "slo-headroom-tier-filter";

// Headroom of TTFT and of TPOT in ms, or no prediction.
using Prediction = std::optional<std::pair<double, double>>;

Pool Endpoints(const std::vector<Prediction>& predictions) {
  std::vector<std::optional<double>> ttft, tpot;
  for (const Prediction& p : predictions) {
    ttft.push_back(p ? std::optional(p->first) : std::nullopt);
    tpot.push_back(p ? std::optional(p->second) : std::nullopt);
  }
  Pool pool(predictions.size());
  pool.Set(epp::common::kLatencyTtftHeadroom, ttft);
  pool.Set(epp::common::kLatencyTpotHeadroom, tpot);
  return pool;
}

constexpr std::pair<double, double> kGood{10, 5};
constexpr std::pair<double, double> kBad{-10, -5};
constexpr std::nullopt_t kNone = std::nullopt;

struct Case {
  const char* name;
  double epsilon;
  std::vector<Prediction> predictions;
  std::vector<size_t> kept;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class SloHeadroomTierTest : public testing::TestWithParam<Case> {};

TEST_P(SloHeadroomTierTest, Keeps) {
  auto filter = epp::test::Make(kType, {{"epsilonExploreNeg", GetParam().epsilon}});
  ASSERT_TRUE(filter.ok()) << filter.error();
  EXPECT_EQ(filter.Filter(Endpoints(GetParam().predictions)), GetParam().kept);
}

INSTANTIATE_TEST_SUITE_P(
    Table, SloHeadroomTierTest,
    testing::Values(Case{"Case070PositiveStay", 0, {kGood, kBad, kGood}, {0, 2}},
                    Case{"Case070NegativeExplored", 1, {kGood, kBad}, {1}},
                    Case{"Case070UnpredictedIsNegative", 1, {kGood, kNone}, {1}},
                    Case{"Case071NobodyPredicted", 1, {kNone, kNone}, {0, 1}},
                    Case{"UnpredictedJoinsNegative", 1, {kBad, kGood, kNone}, {0, 2}},
                    Case{"OnlyNegative", 0, {kBad, kNone}, {0, 1}},
                    Case{"OnlyPositive", 1, {kGood, kGood}, {0, 1}},
                    Case{"ZeroHeadroomIsPositive", 0, {{{0, 0}}, kBad}, {0}},
                    Case{"OneHeadroomBelowZeroIsNegative", 0, {{{10, -1}}, {{-1, 10}}, kGood}, {2}},
                    Case{"NotANumberIsNegative", 0, {{{__builtin_nan(""), 1}}, kGood}, {1}},
                    Case{"OneCandidate", 0, {kBad}, {0}}, Case{"NoCandidates", 0, {}, {}}),
    [](const auto& info) { return info.param.name; });

TEST(SloHeadroomTierTest, ExploresOneOfAHundredByDefault) {
  auto filter = epp::test::Make(kType);
  const Pool pool = Endpoints({kGood, kBad});
  int explored = 0;
  for (int i = 0; i < 20000; ++i) explored += filter.Filter(pool) == std::vector<size_t>{1};
  EXPECT_NEAR(explored, 200, 60);
}

TEST(SloHeadroomTierTest, Case071EpsilonAboveOne) {
  EXPECT_THAT(epp::test::Make(kType, {{"epsilonExploreNeg", 1.5}}).error(),
              HasSubstr("epsilonExploreNeg"));
}

TEST(SloHeadroomTierTest, ProducerByName) {
  auto filter = epp::test::Make(
      kType, {{"epsilonExploreNeg", 0}, {"latencyPredictionInfoProducerName", "mine"}});
  Pool pool = Endpoints({kGood, kBad});
  pool.Set("LatencyPredictionInfoDataKey.ttftHeadroom/mine", {-1, 1});
  pool.Set("LatencyPredictionInfoDataKey.tpotHeadroom/mine", {-1, 1});
  EXPECT_THAT(filter.Filter(pool), ElementsAre(1));
}

TEST(SloHeadroomTierTest, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), testing::IsEmpty());
}

}  // namespace
