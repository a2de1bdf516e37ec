#include "host/base/clock.h"

#include <gtest/gtest.h>

namespace epp {
namespace {

TEST(ClockTest, RealTimeMovesForward) {
  const Clock& clock = Clock::Real();
  const uint64_t first = clock.mono_ns();
  EXPECT_GE(clock.mono_ns(), first);
  EXPECT_GT(clock.unix_ns(), 1'600'000'000'000'000'000u);
}

TEST(ClockTest, FakeTimeMovesWhenTold) {
  FakeClock clock(10, 1000);
  clock.Advance(5);
  EXPECT_EQ(clock.mono_ns(), 15u);
  EXPECT_EQ(clock.unix_ns(), 1005u);
  clock.SetUnix(1);
  EXPECT_EQ(clock.mono_ns(), 15u);
  EXPECT_EQ(clock.unix_ns(), 1u);
}

}  // namespace
}  // namespace epp
