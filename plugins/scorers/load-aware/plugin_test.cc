#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

struct Case {
  const char* name;
  epp::test::Params params;
  std::vector<int64_t> waiting;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class LoadAwareScorerTest : public testing::TestWithParam<Case> {};

TEST_P(LoadAwareScorerTest, Scores) {
  auto scorer = epp::test::Make("load-aware-scorer", GetParam().params);
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  epp::test::Pool pool(GetParam().waiting.size());
  pool.Set(epp::attr::kWaitingQueueSize, GetParam().waiting);
  EXPECT_THAT(scorer.Score(pool),
              testing::Pointwise(testing::DoubleNear(1e-9), GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    Table, LoadAwareScorerTest,
    testing::Values(Case{"Case011", {{"threshold", 10}}, {2, 0, 15}, {0.4, 0.5, 0}},
                    Case{"DefaultIs128", {}, {64, 128}, {0.25, 0}},
                    Case{"ZeroMeansDefault", {{"threshold", 0}}, {64}, {0.25}},
                    Case{"NegativeMeansDefault", {{"threshold", -3}}, {64}, {0.25}},
                    Case{"NegativeQueueIsEmpty", {}, {-1}, {0.5}}),
    [](const auto& info) { return info.param.name; });

TEST(LoadAwareScorerTest, RefusesUnknownParameters) {
  EXPECT_FALSE(epp::test::Make("load-aware-scorer", {{"treshold", 10}}).ok());
}

}  // namespace
