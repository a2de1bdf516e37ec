#include "host/async/operations.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

namespace epp::async {
namespace {

struct Count final : Waker {
  void Wake() override { ++woken; }
  std::atomic<int> woken{0};
};

struct Timers {
  Operations::RunAt Take() {
    return [this](uint64_t at, std::function<void()> fn) { set.emplace_back(at, std::move(fn)); };
  }
  std::vector<std::pair<uint64_t, std::function<void()>>> set;
};

void Complete(const epp_completion& c) { c.complete(c.ctx, c.token); }

TEST(Operations, CompletionWakesOnce) {
  Timers timers;
  Operations operations(2, timers.Take());
  const auto waker = std::make_shared<Count>();
  const epp_completion c = operations.Begin(1, waker);
  ASSERT_NE(c.token, 0u);
  EXPECT_EQ(operations.open(), 1u);
  EXPECT_FALSE(operations.Done(c.token));
  Complete(c);
  Complete(c);
  EXPECT_TRUE(operations.Done(c.token));
  EXPECT_EQ(waker->woken, 1);
  operations.End(c.token);
  EXPECT_EQ(operations.open(), 0u);
  EXPECT_EQ(waker.use_count(), 1);
}

TEST(Operations, LateCompletionReachesNobody) {
  Timers timers;
  Operations operations(1, timers.Take());
  const epp_completion first = operations.Begin(0, nullptr);
  operations.End(first.token);
  const auto waker = std::make_shared<Count>();
  const epp_completion second = operations.Begin(0, waker);  // in the same slot
  EXPECT_NE(first.token, second.token);
  Complete(first);
  operations.End(first.token);
  EXPECT_EQ(waker->woken, 0);
  EXPECT_FALSE(operations.Done(second.token));
  Complete(second);
  EXPECT_EQ(waker->woken, 1);
  operations.End(second.token);
}

TEST(Operations, TheTimeWakesWithoutCompleting) {
  Timers timers;
  Operations operations(1, timers.Take());
  const auto waker = std::make_shared<Count>();
  const epp_completion c = operations.Begin(0, waker);
  operations.WakeAt(c.token, 77);
  ASSERT_EQ(timers.set.size(), 1u);
  EXPECT_EQ(timers.set[0].first, 77u);
  timers.set[0].second();
  EXPECT_EQ(waker->woken, 1);
  EXPECT_FALSE(operations.Done(c.token));
  operations.End(c.token);
  timers.set[0].second();
  EXPECT_EQ(waker->woken, 1);
}

TEST(Operations, TokensThatAreNoneDoNothing) {
  Operations operations(1, {});
  for (const uint64_t token : {uint64_t{0}, uint64_t{5}, uint64_t{1} << 20, ~uint64_t{0}}) {
    operations.Complete(token);
    operations.End(token);
    EXPECT_FALSE(operations.Done(token));
  }
}

TEST(Operations, CompletionsOfAllThreadsAtOnce) {
  constexpr int kEach = 2000;
  Operations operations(2, {});
  const auto waker = std::make_shared<Count>();
  std::vector<std::thread> workers;
  for (uint32_t w = 0; w < 2; ++w) {
    workers.emplace_back([&, w] {
      std::vector<epp_completion> open;
      for (int i = 0; i < kEach; ++i) open.push_back(operations.Begin(w, waker));
      std::thread other([&] {
        for (const epp_completion& c : open) Complete(c);
      });
      // Half of them end while the others complete.
      for (size_t i = 0; i < open.size(); i += 2) operations.End(open[i].token);
      other.join();
      for (size_t i = 1; i < open.size(); i += 2) {
        EXPECT_TRUE(operations.Done(open[i].token));
        operations.End(open[i].token);
      }
    });
  }
  for (std::thread& w : workers) w.join();
  EXPECT_EQ(operations.open(), 0u);
  EXPECT_GE(waker->woken, kEach);
}

}  // namespace
}  // namespace epp::async
