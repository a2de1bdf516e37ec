#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

struct Case {
  const char* name;
  std::vector<int64_t> waiting;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class QueueScorerTest : public testing::TestWithParam<Case> {};

TEST_P(QueueScorerTest, Scores) {
  auto scorer = epp::test::Make("queue-scorer");
  epp::test::Pool pool(GetParam().waiting.size());
  pool.Set(epp::attr::kWaitingQueueSize, GetParam().waiting);
  EXPECT_THAT(scorer.Score(pool),
              testing::Pointwise(testing::DoubleNear(1e-9), GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(Table, QueueScorerTest,
                         testing::Values(

                             Case{"Case001", {10, 5, 0}, {0, 0.5, 1}},
                             Case{"Case002", {5, 5}, {1, 1}}, Case{"Case003", {0, 0}, {1, 1}},
                             Case{"OneCandidateIsBest", {7}, {1}}, Case{"NoCandidates", {}, {}},
                             Case{"ExtremesDoNotOverflow", {INT64_MAX, INT64_MIN, 0}, {0, 1, 0.5}}),
                         [](const auto& info) { return info.param.name; });

TEST(QueueScorerTest, MissingValueCountsAsZero) {
  auto scorer = epp::test::Make("queue-scorer");
  epp::test::Pool pool(3);
  pool.Set(epp::attr::kWaitingQueueSize, {10, std::nullopt, 5});
  EXPECT_THAT(scorer.Score(pool), testing::ElementsAre(0, 1, 0.5));
}

TEST(QueueScorerTest, IgnoresParameters) {
  EXPECT_TRUE(epp::test::Make("queue-scorer", {{"anything", 1}}).ok());
}

}  // namespace
