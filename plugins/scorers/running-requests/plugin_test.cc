#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

struct Case {
  const char* name;
  std::vector<int64_t> running;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class RunningRequestsScorerTest : public testing::TestWithParam<Case> {};

TEST_P(RunningRequestsScorerTest, Scores) {
  auto scorer = epp::test::Make("running-requests-size-scorer");
  epp::test::Pool pool(GetParam().running.size());
  pool.Set(epp::attr::kRunningRequestsSize, GetParam().running);
  EXPECT_THAT(scorer.Score(pool),
              testing::Pointwise(testing::DoubleNear(1e-9), GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(Table, RunningRequestsScorerTest,
                         testing::Values(

                             Case{"Case004", {10, 5, 0}, {0, 0.5, 1}},
                             Case{"Case004Equal", {5, 5}, {1, 1}},
                             Case{"OneCandidateIsBest", {7}, {1}}, Case{"NoCandidates", {}, {}},
                             Case{"ExtremesDoNotOverflow", {INT64_MAX, INT64_MIN, 0}, {0, 1, 0.5}}),
                         [](const auto& info) { return info.param.name; });

TEST(RunningRequestsScorerTest, MissingValueCountsAsZero) {
  auto scorer = epp::test::Make("running-requests-size-scorer");
  epp::test::Pool pool(3);
  pool.Set(epp::attr::kRunningRequestsSize, {10, std::nullopt, 5});
  EXPECT_THAT(scorer.Score(pool), testing::ElementsAre(0, 1, 0.5));
}

TEST(RunningRequestsScorerTest, IgnoresParameters) {
  EXPECT_TRUE(epp::test::Make("running-requests-size-scorer", {{"anything", 1}}).ok());
}

}  // namespace
