#include "host/serve/guard.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/clock.h"

namespace epp::serve {
namespace {

using testing::HasSubstr;

constexpr uint64_t kSecond = 1'000'000'000;

Tally Even(uint64_t requests, uint64_t endpoints, uint64_t errors = 0) {
  Tally tally;
  tally.requests = requests;
  tally.errors = errors;
  tally.sampled = requests - errors;
  for (uint64_t e = 1; e <= endpoints; ++e) tally.picked[e] = tally.sampled / endpoints;
  return tally;
}

Tally AllToOne(uint64_t requests) {
  Tally tally;
  tally.requests = tally.sampled = requests;
  tally.picked[1] = requests;
  return tally;
}

class GuardTest : public testing::Test {
 protected:
  std::string Observe(const Tally& tally, size_t endpoints = 4) {
    clock_.Advance(kSecond);
    return guard_.Observe(tally, endpoints, clock_.mono_ns()).value_or("");
  }
  void Arm(uint64_t generation = 7) { guard_.Arm(generation, clock_.mono_ns()); }

  FakeClock clock_;
  Guard guard_{{.enabled = true, .window_ns = 10 * kSecond, .max_errors = 0.01, .max_skew = 3}};
};

TEST_F(GuardTest, AGoodConfigurationStandsTheTest) {
  Arm();
  for (int s = 0; s < 9; ++s) EXPECT_EQ(Observe(Even(1000, 4, 5)), "");
  EXPECT_EQ(guard_.watched(), 7u);
  EXPECT_EQ(Observe(Even(1000, 4)), "");
  EXPECT_EQ(guard_.watched(), 0u);
  // What comes after the window is no longer its business.
  EXPECT_EQ(Observe(Even(1000, 4, 1000)), "");
}

TEST_F(GuardTest, ErrorsSayTheirNumbers) {
  EXPECT_EQ(Observe(Even(1000, 4)), "");
  Arm();
  EXPECT_EQ(Observe(Even(100, 4, 1)), "");  // one is chance
  EXPECT_EQ(Observe(Even(100, 4, 7)), "8 of 200 requests (4 %) failed inside epp, limit 1 %");
  EXPECT_EQ(guard_.watched(), 0u);
  EXPECT_EQ(Observe(Even(100, 4, 100)), "");
}

TEST_F(GuardTest, SkewNeedsEnoughRequestsAndEndpoints) {
  Arm();
  EXPECT_EQ(Observe(AllToOne(199)), "");
  EXPECT_EQ(Observe(Tally(), 1), "");
  EXPECT_EQ(Observe(AllToOne(1), 1), "");
  EXPECT_THAT(Observe(AllToOne(1)),
              HasSubstr("the busiest of 4 endpoints got 4.00 times the mean of 201 requests"));
}

TEST_F(GuardTest, WhatWasBadBeforeIsNotItsFault) {
  for (int s = 0; s < 100; ++s) EXPECT_EQ(Observe(Even(100, 4, 50)), "");
  for (int s = 0; s < 20; ++s) EXPECT_EQ(Observe(AllToOne(10000)), "");
  Arm();
  EXPECT_EQ(Observe(AllToOne(1000)), "");  // skew was as bad, errors are fewer
  Tally bad = AllToOne(1000);
  bad.errors = 900;
  EXPECT_EQ(Observe(bad), "") << "errors were beyond the limit before";
}

TEST_F(GuardTest, OldTroubleIsForgotten) {
  for (int s = 0; s < 60; ++s) EXPECT_EQ(Observe(Even(100, 4, 50)), "");
  for (int s = 0; s < 121; ++s) EXPECT_EQ(Observe(Even(100, 4)), "");
  Arm();
  EXPECT_NE(Observe(Even(100, 4, 50)), "");
}

TEST_F(GuardTest, DisarmedOrDisabledSaysNothing) {
  Arm();
  guard_.Disarm();
  EXPECT_EQ(Observe(Even(100, 4, 100)), "");
  Guard off({.enabled = false});
  off.Arm(7, 0);
  EXPECT_EQ(off.watched(), 0u);
  EXPECT_FALSE(off.Observe(Even(100, 4, 100), 4, 1).has_value());
}

void Record(telemetry::DecisionRings& rings, uint64_t endpoint, uint16_t status) {
  auto record = std::make_unique<telemetry::DecisionRecord>();
  record->http_status = status;
  record->outcome = status ? telemetry::Outcome::kRejected : telemetry::Outcome::kPending;
  if (endpoint) {
    record->profile_count = 1;
    record->primary = 0;
    record->profiles[0].pick_count = 1;
    record->profiles[0].picks[0] = endpoint;
  }
  rings.Add(0, *record);
}

TEST(TallierTest, CountsWhatIsNew) {
  telemetry::DecisionRings rings(1, {.records = 8, .failures = 8});
  Tallier tallier(&rings);
  EXPECT_EQ(tallier.Next().requests, 0u);
  for (int i = 0; i < 3; ++i) Record(rings, 5, 0);
  Record(rings, 6, 0);
  Record(rings, 0, 503);
  Record(rings, 0, 429);
  Tally tally = tallier.Next();
  EXPECT_EQ(tally.requests, 6u);
  EXPECT_EQ(tally.errors, 2u);
  EXPECT_EQ(tally.sampled, 4u);
  EXPECT_EQ(tally.picked[5], 3u);
  EXPECT_EQ(tallier.Next().requests, 0u);
  // Overwritten records count all the same.
  for (int i = 0; i < 100; ++i) Record(rings, 5, 0);
  tally = tallier.Next();
  EXPECT_EQ(tally.requests, 100u);
  EXPECT_LE(tally.sampled, 8u);
}

}  // namespace
}  // namespace epp::serve
