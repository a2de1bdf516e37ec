#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Cell;
using testing::HasSubstr;

constexpr const char* kType = "probabilistic-admitter";

// How many of a thousand requests are denied.
int DeniedOf1000(int32_t priority, const std::vector<Cell>& queue, const std::vector<Cell>& kv,
                 const epp::test::Params& params = {}) {
  epp::test::Pool pool(queue.size());
  pool.Set(epp::attr::kWaitingQueueSize, queue).Set(epp::attr::kKvCacheUsage, kv);
  auto admitter = epp::test::Make(kType, params);
  EXPECT_TRUE(admitter.ok()) << admitter.error();
  int denied = 0;
  for (int i = 0; i < 1000; ++i) {
    epp::test::Request request;
    const epp::Status status = admitter.Admit(pool, request.Priority(priority));
    if (status.ok()) continue;
    ++denied;
    EXPECT_EQ(status.code(), EPP_RESOURCE_EXHAUSTED);
  }
  return denied;
}

TEST(ProbabilisticAdmitter, Case099BusyAndIdle) {
  EXPECT_EQ(DeniedOf1000(-1, {100}, {0.0}), 1000);
  EXPECT_EQ(DeniedOf1000(-1, {0}, {0.0}), 0);
}

TEST(ProbabilisticAdmitter, Case100TheMeanCounts) {
  EXPECT_EQ(DeniedOf1000(-1, {10, 0}, {0.0, 0.0}), 1000);
  EXPECT_EQ(DeniedOf1000(-1, {std::nullopt}, {std::nullopt}), 1000);
  EXPECT_EQ(DeniedOf1000(-1, {0}, {0.272}), 1000);
}

TEST(ProbabilisticAdmitter, Case101SomeAreDenied) {
  // (0.16 / 0.8) ^ 5 * 300 = 0.096
  const int denied = DeniedOf1000(-1, {0}, {0.16});
  EXPECT_GT(denied, 50);
  EXPECT_LT(denied, 150);
}

TEST(ProbabilisticAdmitter, Case102OnlySheddableRequests) {
  EXPECT_EQ(DeniedOf1000(0, {100}, {1.0}), 0);
  EXPECT_EQ(DeniedOf1000(100, {100}, {1.0}), 0);
}

TEST(ProbabilisticAdmitter, EdgesAdmit) {
  EXPECT_EQ(DeniedOf1000(-1, {}, {}), 0);
  EXPECT_EQ(DeniedOf1000(-1, {0}, {std::numeric_limits<double>::quiet_NaN()}), 0);
}

TEST(ProbabilisticAdmitter, Parameters) {
  EXPECT_EQ(DeniedOf1000(-1, {10}, {0.0}, {{"queueDepthThreshold", 1000}, {"k", 1}}), 0);
  for (const char* name : {"queueDepthThreshold", "kvCacheUtilThreshold", "power", "k"}) {
    auto admitter = epp::test::Make(kType, {{name, 0}});
    EXPECT_FALSE(admitter.ok());
    EXPECT_THAT(admitter.error(), HasSubstr(name));
  }
}

TEST(ProbabilisticAdmitter, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
