#include "estimate.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

namespace epp::inflight {
namespace {

TEST(EstimateTest, Case109OutputByRatio) {
  const OutputRule rule{1.5};
  EXPECT_EQ(1 + OutputTokens(1, -1, rule), 3);
  EXPECT_EQ(10 + OutputTokens(10, -1, rule), 25);
  EXPECT_EQ(10 + OutputTokens(10, 3, rule), 13);
}

TEST(EstimateTest, Case110OutputLimits) {
  const auto output = [](int64_t client, int64_t operator_max) {
    return OutputTokens(100, client, {1.5, operator_max});
  };
  EXPECT_EQ(output(50, -1), 50);
  EXPECT_EQ(output(0, -1), 0);
  EXPECT_EQ(output(-10, -1), 150);
  EXPECT_EQ(output(-1, 40), 40);
  EXPECT_EQ(output(80, 30), 30);
  EXPECT_EQ(output(30, 80), 30);
  EXPECT_EQ(output(-1, 0), 0);
}

TEST(EstimateTest, NoInputNoOutput) {
  EXPECT_EQ(OutputTokens(0, 50, {1.5}), 0);
  EXPECT_EQ(OutputTokens(-4, 50, {1.5}), 0);
}

TEST(EstimateTest, Uncached) {
  EXPECT_EQ(UncachedTokens(8, std::nullopt), 8);
  EXPECT_EQ(UncachedTokens(8, PrefixMatch{1, 2, 4}), 4);
  EXPECT_EQ(UncachedTokens(5, PrefixMatch{1, 2, 4}), 4) << "the last block counts in full";
  EXPECT_EQ(UncachedTokens(10, PrefixMatch{2, 2, 4}), 2) << "what the blocks do not cover";
  EXPECT_EQ(UncachedTokens(8, PrefixMatch{3, 2, 4}), 0);
  EXPECT_EQ(UncachedTokens(-8, std::nullopt), 0);
}

TEST(EstimateTest, Saturates) {
  EXPECT_EQ(UncachedTokens(INT64_MAX, std::nullopt), kMaxTokens);
  EXPECT_EQ(UncachedTokens(1, PrefixMatch{0, INT64_MAX, INT64_MAX}), kMaxTokens);
  EXPECT_EQ(UncachedTokens(1, PrefixMatch{INT64_MIN, 1, INT64_MIN}), 1);
  EXPECT_EQ(OutputTokens(INT64_MAX, -1, {1e9}), kMaxTokens);
}

}  // namespace
}  // namespace epp::inflight
