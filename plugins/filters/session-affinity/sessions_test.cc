#include "sessions.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace epp::session {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kStart = 1000 * kSecond;
constexpr Bound kA{1, 11};
constexpr Bound kB{2, 12};

uint64_t At(uint64_t seconds) { return kStart + seconds * kSecond; }

// TTL 300 s, a sweep every 10 s.
class SessionsTest : public testing::Test {
 protected:
  uint64_t Holder(const char* session, uint64_t seconds) const {
    const auto bound = sessions_.Find(sessions_.KeyOf(session), At(seconds));
    return bound ? bound->id : 0;
  }
  void Use(const char* session, const Bound& target, uint64_t seconds,
           const Bound* absent = nullptr) {
    sessions_.Use(sessions_.KeyOf(session), target, absent, At(seconds));
  }

  Sessions sessions_{7, kStart, 300 * kSecond, 10 * kSecond};
};

TEST_F(SessionsTest, BindsOnce) {
  EXPECT_EQ(Holder("s", 0), 0u);
  Use("s", kA, 0);
  Use("s", kB, 1);
  EXPECT_EQ(Holder("s", 2), kA.id);
  EXPECT_EQ(Holder("t", 2), 0u);
}

TEST_F(SessionsTest, MovesFromWhatIsAbsentOnly) {
  Use("s", kA, 0);
  Use("s", kB, 1, &kB);
  EXPECT_EQ(Holder("s", 2), kA.id) << "someone else bound it since the request looked";
  Use("s", kB, 2, &kA);
  EXPECT_EQ(Holder("s", 3), kB.id);
}

TEST_F(SessionsTest, EndpointThatCameBackIsTheSame) {
  Use("s", kA, 0);
  Use("s", {5, kA.name}, 1);
  EXPECT_EQ(Holder("s", 2), 5u);
}

TEST_F(SessionsTest, GoneAtTheFirstSweepAfterTheTtl) {
  Use("s", kA, 5);  // idle for 300 s at 305 s; the next sweep is at 310 s
  EXPECT_EQ(Holder("s", 309), kA.id);
  EXPECT_EQ(Holder("s", 310), 0u);
  Use("s", kB, 311);
  EXPECT_EQ(Holder("s", 312), kB.id);
}

TEST_F(SessionsTest, UseRefreshes) {
  Use("s", kA, 0);
  Use("s", kA, 200);
  EXPECT_EQ(Holder("s", 450), kA.id);
  Use("s", kB, 460);  // goes elsewhere: does not count as a use
  EXPECT_EQ(Holder("s", 511), 0u);
}

TEST_F(SessionsTest, FreesWhatIsGone) {
  for (int i = 0; i < 1000; ++i) Use(std::to_string(i).c_str(), kA, 0);
  EXPECT_EQ(sessions_.size(), 1000u);
  for (int i = 0; i < 1000; ++i) Use(("n" + std::to_string(i)).c_str(), kA, 400);
  EXPECT_LE(sessions_.size(), 1100u);
}

TEST(Sessions, FullDropsTheOneIdleLongest) {
  Sessions sessions(7, kStart, 300 * kSecond, 10 * kSecond, 8);
  for (int i = 0; i < 10000; ++i) {
    sessions.Use(sessions.KeyOf(std::to_string(i)), kA, nullptr, At(1));
  }
  EXPECT_EQ(sessions.size(), 8 * Sessions::kShards);
  EXPECT_TRUE(sessions.Find(sessions.KeyOf("9999"), At(1)));
  EXPECT_FALSE(sessions.Find(sessions.KeyOf("0"), At(1)));
}

TEST(Sessions, KeysDifferBetweenProcesses) {
  const Sessions a(1, 0, 1, 1), b(2, 0, 1, 1);
  EXPECT_FALSE(a.KeyOf("s") == b.KeyOf("s"));
}

TEST_F(SessionsTest, SavedAndRestored) {
  Use("s", kA, 0);
  Use("t", kB, 100);
  Sessions next(8, At(0), 300 * kSecond, 10 * kSecond);
  ASSERT_TRUE(next.Restore(sessions_.Save()));
  EXPECT_EQ(next.size(), 2u);
  EXPECT_EQ(next.Find(next.KeyOf("s"), At(5))->id, kA.id);
  EXPECT_FALSE(next.Find(next.KeyOf("s"), At(350)));
  EXPECT_EQ(next.Find(next.KeyOf("t"), At(350))->id, kB.id);
}

TEST_F(SessionsTest, CutOffBytesChangeNothing) {
  Use("s", kA, 0);
  const std::string bytes = sessions_.Save();
  for (size_t size = 0; size < bytes.size(); ++size) {
    Sessions next(8, At(0), 300 * kSecond, 10 * kSecond);
    if (size == 8) continue;  // the seed alone: no sessions
    EXPECT_FALSE(next.Restore(std::string_view(bytes).substr(0, size))) << size;
    EXPECT_EQ(next.size(), 0u);
  }
}

TEST(Sessions, ManyThreads) {
  Sessions sessions(7, kStart, 300 * kSecond, 10 * kSecond, 16);
  std::atomic<int> foreign{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 3000; ++i) {
        const SessionKey key = sessions.KeyOf(std::to_string(i % 500));
        const Bound mine{100 + t, static_cast<uint32_t>(200 + t)};
        const auto bound = sessions.Find(key, At(1));
        sessions.Use(key, mine, i % 7 == 0 && bound ? &*bound : nullptr, At(1));
        if (bound && (bound->id < 100 || bound->id != bound->name - 100u)) ++foreign;
        if (i % 500 == 0) static_cast<void>(sessions.Save());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(foreign, 0);
  EXPECT_LE(sessions.size(), 16 * Sessions::kShards);
}

}  // namespace
}  // namespace epp::session
