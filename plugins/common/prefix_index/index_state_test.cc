#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "plugins/common/prefix_index/index.h"

namespace epp::prefix_index {
namespace {

using testing::ElementsAre;

using Hashes = std::vector<uint64_t>;

constexpr uint64_t kPlenty = uint64_t{64} << 20;
constexpr uint32_t kCapacity = 100000;

uint32_t Same(uint32_t capacity) { return capacity; }

Hashes Chain(uint64_t seed, size_t n) {
  std::mt19937_64 random(seed);
  Hashes out(n);
  for (uint64_t& h : out) h = random();
  return out;
}

uint32_t Depth(const Index& index, const Hashes& blocks, uint32_t slot) {
  LookupScratch scratch;
  index.Begin(&scratch);
  index.Lookup(blocks, &scratch);
  return slot < scratch.depth.size() ? scratch.depth[slot] : 0;
}

std::string Saved(const Index& index) {
  std::string out;
  index.Save(&out);
  return out;
}

struct IndexStateTest : testing::Test {
  IndexStateTest() {
    for (Index* index : {&old, &next}) {
      for (uint32_t s = 0; s < 3; ++s) index->Register(s, 100 + s, "e");
    }
  }
  Index old{kPlenty, 1};
  Index next{kPlenty, 2};
};

TEST_F(IndexStateTest, EveryEndpointKeepsItsBlocks) {
  const Hashes a = Chain(1, 5000);
  const Hashes b = Chain(2, 10);
  old.Insert(0, 100, a, kCapacity);
  old.Insert(2, 102, a, kCapacity);
  old.Insert(2, 102, b, kCapacity);
  ASSERT_TRUE(next.Load(Saved(old), Same));
  EXPECT_EQ(next.blocks(), 10010u);
  EXPECT_EQ(Depth(next, a, 0), 5000u);
  EXPECT_EQ(Depth(next, a, 1), 0u);
  EXPECT_EQ(Depth(next, a, 2), 5000u);
  EXPECT_EQ(Depth(next, b, 2), 10u);
}

TEST_F(IndexStateTest, TheOrderOfForgettingIsKept) {
  for (uint64_t h = 1; h <= 6; ++h) old.Insert(0, 100, Hashes{h}, 6);
  old.Insert(0, 100, Hashes{1}, 6);  // 2 is the oldest now
  ASSERT_TRUE(next.Load(Saved(old), Same));
  next.Insert(0, 100, Hashes{7}, 6);
  EXPECT_EQ(Depth(next, {2}, 0), 0u);
  for (const uint64_t h : {1, 3, 4, 5, 6, 7}) EXPECT_EQ(Depth(next, {h}, 0), 1u) << h;
}

TEST_F(IndexStateTest, ASmallerLimitKeepsTheNewest) {
  for (uint64_t h = 1; h <= 6; ++h) old.Insert(0, 100, Hashes{h}, 6);
  ASSERT_TRUE(next.Load(Saved(old), [](uint32_t) { return 2u; }));
  EXPECT_EQ(next.blocks(), 2u);
  EXPECT_EQ(Depth(next, {6}, 0), 1u);
  EXPECT_EQ(Depth(next, {5}, 0), 1u);
  next.Insert(0, 100, Hashes{7}, 2);
  EXPECT_EQ(Depth(next, {5}, 0), 0u);
}

TEST_F(IndexStateTest, EndpointsThatLeftOrChangedAreSkipped) {
  old.Insert(0, 100, Chain(1, 3), kCapacity);
  old.Insert(1, 101, Chain(2, 3), kCapacity);
  next.Unregister(0, 100);
  next.Register(1, 999, "another");
  ASSERT_TRUE(next.Load(Saved(old), Same));
  EXPECT_EQ(next.blocks(), 0u);
}

TEST_F(IndexStateTest, LessMemoryIsNoError) {
  Index small(uint64_t{1} << 16, 3);
  small.Register(0, 100, "e");
  old.Insert(0, 100, Chain(1, 10000), kCapacity);
  ASSERT_TRUE(small.Load(Saved(old), Same));
  EXPECT_LE(small.blocks(), small.limit_blocks());
}

TEST_F(IndexStateTest, BytesThatAreCutOffOrWrongChangeNothing) {
  old.Insert(0, 100, Chain(1, 5), kCapacity);
  old.Insert(1, 101, Chain(2, 5), kCapacity);
  const std::string good = Saved(old);
  const size_t half = good.size() / 2;  // the first endpoint alone is whole
  for (size_t n = 1; n < good.size(); ++n) {
    if (n == half) continue;
    EXPECT_FALSE(next.Load(std::string_view(good).substr(0, n), Same)) << n;
  }
  EXPECT_EQ(next.blocks(), 0u);
  std::string bad = good;
  bad[0] = bad[1] = bad[2] = bad[3] = '\xff';  // slot
  EXPECT_FALSE(next.Load(bad, Same));
  bad = good;
  std::fill(bad.begin() + 16, bad.begin() + 20, '\xff');  // count
  EXPECT_FALSE(next.Load(bad, Same));
  EXPECT_EQ(next.blocks(), 0u);
  std::mt19937_64 random(5);
  for (int round = 0; round < 2000; ++round) {
    bad = good;
    for (int k = 0; k < 3; ++k) bad[random() % bad.size()] = static_cast<char>(random());
    next.Load(bad, Same);
  }
  EXPECT_LE(next.blocks(), next.limit_blocks());
}

TEST_F(IndexStateTest, SavingWhileWorkersInsertLosesNothingThatStays) {
  const Hashes fixed = Chain(1, 30000);
  old.Insert(0, 100, fixed, kCapacity);
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;
  for (uint64_t w = 0; w < 2; ++w) {
    workers.emplace_back([&, w] {
      std::mt19937_64 random(w);
      while (!stop) {
        // Touches known ones, which turns the order around while it is saved, and adds new ones.
        const size_t at = random() % (fixed.size() - 64);
        old.Insert(0, 100, {fixed.data() + at, 64}, kCapacity);
        old.Insert(1, 101, Chain(random(), 32), 2000);
      }
    });
  }
  for (int round = 0; round < 20; ++round) {
    Index copy(kPlenty, 2);
    for (uint32_t s = 0; s < 3; ++s) copy.Register(s, 100 + s, "e");
    ASSERT_TRUE(copy.Load(Saved(old), Same));
    EXPECT_EQ(Depth(copy, fixed, 0), fixed.size());
    EXPECT_LE(copy.blocks(), fixed.size() + 2000);
  }
  stop = true;
  for (std::thread& worker : workers) worker.join();
}

}  // namespace
}  // namespace epp::prefix_index
