#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/scorer_attributes.hpp"

namespace {

constexpr const char* kQueue = "multicluster-queue-scorer";
constexpr const char* kKv = "multicluster-kv-cache-utilization-scorer";
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kHuge = std::numeric_limits<double>::max();

struct Case {
  const char* name;
  const char* type;
  std::vector<std::optional<double>> values;
  std::vector<double> expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class MulticlusterScorersTest : public testing::TestWithParam<Case> {};

TEST_P(MulticlusterScorersTest, Scores) {
  auto scorer = epp::test::Make(GetParam().type);
  ASSERT_TRUE(scorer.ok()) << scorer.error();
  EXPECT_EQ(scorer.type().stability, EPP_STABILITY_ALPHA);
  epp::test::Pool pool(GetParam().values.size());
  pool.Set(GetParam().type == kQueue ? epp::common::kMulticlusterQueueSize
                                     : epp::common::kMulticlusterKvCacheUsage,
           GetParam().values);
  EXPECT_THAT(scorer.Score(pool),
              testing::Pointwise(testing::DoubleNear(1e-9), GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    Table, MulticlusterScorersTest,
    testing::Values(Case{"QueueCase001", kQueue, {10, 5, 0}, {0, 0.5, 1}},
                    Case{"QueueCase002", kQueue, {5, 5}, {1, 1}},
                    Case{"QueueCase003", kQueue, {0, 0}, {1, 1}},
                    Case{"QueueMissingIsLeftOut", kQueue, {10, {}, 5}, {0, 0, 1}},
                    Case{"QueueNotANumberIsMissing", kQueue, {10, kNan, 5}, {0, 0, 1}},
                    Case{"QueueNobodyHasAValue", kQueue, {{}, {}}, {0, 0}},
                    Case{"QueueExtremes", kQueue, {kHuge, -kHuge}, {0, 1}},
                    Case{"QueueNoCandidates", kQueue, {}, {}},
                    Case{"KvCase005", kKv, {0.8, 0.5, 0}, {0.2, 0.5, 1}},
                    Case{"KvCase006", kKv, {0.6, 0.6, 1.0, 0.5}, {0.4, 0.4, 0, 0.5}},
                    Case{"KvMissingIsLeftOut", kKv, {0.25, {}, kNan}, {0.75, 0, 0}},
                    Case{"KvStaysInRange", kKv, {1.5, -0.5}, {0, 1}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
