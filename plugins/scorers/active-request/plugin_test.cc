#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;

constexpr const char* kType = "active-request-scorer";

struct Case {
  const char* name;
  Params params;
  std::vector<std::optional<int64_t>> requests;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class ActiveRequestScorerTest : public testing::TestWithParam<Case> {};

TEST_P(ActiveRequestScorerTest, Scores) {
  auto scorer = epp::test::Make(kType, GetParam().params);
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  epp::test::Pool pool(GetParam().requests.size());
  pool.Set(epp::attr::kInflightRequests, GetParam().requests);
  EXPECT_THAT(scorer.Score(pool),
              testing::Pointwise(testing::DoubleNear(1e-4), GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    Table, ActiveRequestScorerTest,
    testing::Values(
        Case{"Case012", {}, {{}, {}, {}}, {1, 1, 1}}, Case{"Case013", {}, {3, 0, 6}, {0.5, 1, 0}},
        Case{"Case014", {}, {4, {}, 1}, {0, 1, 0.75}},
        Case{"Case015", {{"maxBusyScore", 0}}, {1, 0}, {0, 1}},
        Case{"Case016", {{"idleThreshold", 1}, {"maxBusyScore", 0.5}}, {1, 2, 0}, {1, 0, 1}},
        Case{"Case017", {}, {3, 11}, {0.7273, 0}},
        Case{"BusyScoreBounds", {{"maxBusyScore", 0.5}}, {1, 2, 4}, {0.375, 0.25, 0}},
        Case{"BusyScoreTooLarge", {{"maxBusyScore", 1.5}}, {1, 2}, {0.5, 0}},
        Case{"BusyScoreTooSmall", {{"maxBusyScore", -0.5}}, {1, 2}, {0.5, 0}},
        Case{"NegativeThresholdIsZero", {{"idleThreshold", -5}}, {0, 2}, {1, 0}},
        Case{"OneBusyCandidate", {}, {7}, {0}}, Case{"NegativeCountIsIdle", {}, {-3, 2}, {1, 0}},
        Case{"NoCandidates", {}, {}, {}},
        Case{"ExtremesStayInRange", {}, {INT64_MAX, INT64_MIN}, {0, 1}}),
    [](const auto& info) { return info.param.name; });

TEST(ActiveRequestScorerTest, Case018OldTimeoutIsAccepted) {
  EXPECT_TRUE(epp::test::Make(kType, {{"requestTimeout", "invalid"}}).ok());
  EXPECT_FALSE(epp::test::Make(kType, {{"idleTreshold", 1}}).ok());
}

TEST(ActiveRequestScorerTest, ReadsTheProducerThatTheConfigNames) {
  auto scorer = epp::test::Make(kType, {{"inFlightLoadProducerName", "mine"}});
  epp::test::Pool pool(2);
  pool.Set("InFlightLoadDataKey.requests/inflight-load-producer", {5, 0});
  pool.Set("InFlightLoadDataKey.requests/mine", {0, 5});
  EXPECT_THAT(scorer.Score(pool), testing::ElementsAre(1, 0));
}

}  // namespace
