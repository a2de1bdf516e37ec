// Strikes, calls that do not return, and what a dead process leaves behind.
#include "host/loader/guard.h"

#include <time.h>

#include <atomic>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/clock.h"
#include "host/preflight/watchdog.h"

namespace epp::loader {
namespace {

using ::testing::HasSubstr;
using Slow = Guard::Slow;

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1'000 * kMs;

// Kept for ever, as the memory is: a sanitizer must not take it for lost.
Guard& Keep(Guard& guard) {
  static auto& made = *new std::vector<Guard*>;
  made.push_back(&guard);
  return guard;
}

Guard& Make(std::string_view instance) {
  return Keep(
      Guard::Acquire({"library", std::string(64, 'a'), "type", instance, "type=epp.scorer/1"}));
}

void Sleep(uint64_t ns) {
  const timespec time{0, static_cast<long>(ns)};
  nanosleep(&time, nullptr);
}

// A call at `at` that took 5 ms by the clock, asleep or not.
Slow Call(Guard& guard, uint64_t at, bool asleep, bool may_switch_off = true) {
  {
    const InFlight inside(guard, Entry::kScorer, at);
    if (asleep) Sleep(kMs);
  }
  return guard.JudgeSlow(5 * kMs, kMs, at + 5 * kMs, may_switch_off);
}

TEST(GuardTest, TheThirdSlowCallWithinAMinuteSwitchesOff) {
  Guard& guard = Make("a");
  EXPECT_EQ(Call(guard, kSecond, true), Slow::kSuspect);
  EXPECT_EQ(Call(guard, 2 * kSecond, true), Slow::kStrike);
  EXPECT_FALSE(guard.off());
  EXPECT_EQ(Call(guard, 3 * kSecond, true), Slow::kOff);
  EXPECT_TRUE(guard.off());
  EXPECT_FALSE(guard.stuck());
  guard.Forgive();
  EXPECT_FALSE(guard.off());
  EXPECT_EQ(Call(guard, 4 * kSecond, true), Slow::kSuspect);
}

TEST(GuardTest, SlowCallsFarApartDoNot) {
  Guard& guard = Make("b");
  for (uint64_t i = 1; i < 20; ++i) {
    EXPECT_NE(Call(guard, i * 40 * kSecond, true), Slow::kOff) << i;
  }
}

TEST(GuardTest, AThreadThatDidNotGetTheProcessorBlamesNobody) {
  Guard& guard = Make("c");
  EXPECT_EQ(Call(guard, kSecond, false), Slow::kSuspect);
  for (uint64_t i = 2; i < 20; ++i) {
    // The clock says 5 ms, but the thread neither worked nor slept for so long.
    EXPECT_EQ(Call(guard, i * kSecond, false), Slow::kNothing) << i;
  }
  EXPECT_FALSE(guard.off());
}

TEST(GuardTest, WhatIsNeededIsCountedOnly) {
  Guard& guard = Make("d");
  for (uint64_t i = 1; i < 9; ++i) Call(guard, i * kSecond, true, false);
  EXPECT_FALSE(guard.off());
}

TEST(GuardTest, AllowanceIsOnTop) {
  Guard& guard = Make("e");
  ThisThread().allowance_ns = 10 * kMs;
  EXPECT_EQ(Call(guard, kSecond, true), Slow::kNothing);
  ThisThread().allowance_ns = 0;
  EXPECT_EQ(Call(guard, kSecond, true), Slow::kSuspect);
}

TEST(GuardTest, NestedCallsAreSeenInsideOut) {
  Guard& outer = Make("outer");
  Guard& inner = Make("inner");
  const InFlight first(outer, Entry::kProducer, kSecond);
  {
    const InFlight second(inner, Entry::kScorer, 2 * kSecond);
    EXPECT_EQ(CellOfThisThread()->guard.load(), &inner);
  }
  EXPECT_EQ(CellOfThisThread()->guard.load(), &outer);
  EXPECT_EQ(CellOfThisThread()->entry.load(), Entry::kProducer);
  EXPECT_EQ(CellOfThisThread()->since_ns.load(), kSecond);
}

TEST(GuardTest, NamesCannotBreakALine) {
  const Guard& guard = Keep(Guard::Acquire({"l", "d", "t", "a\"b\\c\nd\xc3\xa9", ""}));
  EXPECT_STREQ(guard.identity().instance.data(), "a?b?c?d??");
  const Guard& longer = Keep(Guard::Acquire({std::string(500, 'x'), "", "", "", ""}));
  EXPECT_EQ(std::string_view(longer.identity().library.data()).size(), 63u);
}

TEST(WatchdogTest, ACallIsStuckWhenItIsSeenTwice) {
  Guard& guard = Make("stuck");
  std::atomic<bool> inside{false};
  std::atomic<bool> leave{false};
  std::thread worker([&] {
    {
      const InFlight call(guard, Entry::kPicker, kSecond);
      inside = true;
      while (!leave) std::this_thread::yield();
    }
    inside = false;
    // An idle thread is in no call, however long ago its last one began.
    leave = false;
    while (!leave) std::this_thread::yield();
  });
  while (!inside) std::this_thread::yield();
  preflight::Watchdog watchdog(2 * kSecond);
  EXPECT_TRUE(watchdog.Look(2 * kSecond).empty());
  EXPECT_TRUE(watchdog.Look(4 * kSecond).empty());
  const auto stuck = watchdog.Look(5 * kSecond);
  ASSERT_EQ(stuck.size(), 1u);
  EXPECT_TRUE(stuck[0].first);
  EXPECT_EQ(stuck[0].for_ns, 4 * kSecond);
  EXPECT_THAT(preflight::Describe(stuck[0].call), HasSubstr("plugin \"stuck\" (type)"));
  EXPECT_TRUE(guard.stuck());
  EXPECT_FALSE(watchdog.Look(6 * kSecond)[0].first);
  leave = true;
  while (inside) std::this_thread::yield();
  EXPECT_TRUE(watchdog.Look(7 * kSecond).empty());
  EXPECT_FALSE(guard.stuck());
  EXPECT_TRUE(guard.off());  // once is enough for what can be left out
  EXPECT_TRUE(watchdog.Look(100 * kSecond).empty());
  leave = true;
  worker.join();
}

TEST(WatchdogTest, ManyThreadsComeAndGo) {
  Guard& guard = Make("busy");
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        std::thread([&] {
          for (int k = 0; k < 100; ++k) {
            const InFlight call(guard, Entry::kScorer, Clock::Real().mono_ns());
          }
        }).join();
      }
    });
  }
  preflight::Watchdog watchdog(60 * kSecond);
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(watchdog.Look(Clock::Real().mono_ns()).empty());
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(SharedMemoryTest, BytesOfADeadProcessAreNotTrusted) {
  alignas(64) static std::array<char, 8192> memory{};
  Identity who;
  Entry entry = Entry::kNone;
  EXPECT_FALSE(ReadSharedMemory(memory.data(), 16, &who, &entry));
  EXPECT_FALSE(ReadSharedMemory(memory.data(), memory.size(), &who, &entry));
  auto* table = reinterpret_cast<SharedTable*>(memory.data());
  table->base = 0x10000;
  table->cell_count = UINT32_MAX;
  for (uint64_t& cell : table->cells) cell = 0x10000 + 8192 - 64;
  EXPECT_FALSE(ReadSharedMemory(memory.data(), memory.size(), &who, &entry));
  for (const uint64_t address : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{0x10001}}) {
    for (uint64_t& cell : table->cells) cell = address;
    EXPECT_FALSE(ReadSharedMemory(memory.data(), memory.size(), &who, &entry));
  }
}

}  // namespace
}  // namespace epp::loader
