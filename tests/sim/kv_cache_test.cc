#include "tests/sim/kv_cache.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::sim {
namespace {

using testing::ElementsAre;
using Hashes = std::vector<uint64_t>;

// Acquires `hashes.size()` blocks, reusing what is there, and publishes them all.
std::vector<BlockId> Hold(KvCache* cache, const Hashes& hashes) {
  std::vector<BlockId> blocks;
  const uint32_t hits = cache->MatchPrefix(hashes);
  const auto fresh = static_cast<uint32_t>(hashes.size()) - hits;
  EXPECT_TRUE(cache->Acquire(std::span(hashes).first(hits), fresh, &blocks));
  for (size_t i = 0; i < blocks.size(); ++i) cache->Publish(blocks[i], hashes[i]);
  return blocks;
}

TEST(KvCacheTest, ReleasedBlocksStayUntilTheRoomIsNeeded) {
  KvCache cache(4);
  cache.Release(Hold(&cache, {1, 2, 3}));
  EXPECT_EQ(cache.used(), 0u);
  EXPECT_EQ(cache.idle(), 3u);
  EXPECT_EQ(cache.MatchPrefix(Hashes{1, 2, 3, 4}), 3u);
  EXPECT_EQ(cache.MatchPrefix(Hashes{2, 3}), 2u);
  EXPECT_EQ(cache.MatchPrefix(Hashes{9, 1}), 0u);
}

TEST(KvCacheTest, EvictsLeastRecentlyUsedAndTheEndOfAPrefixFirst) {
  KvCache cache(4);
  cache.Release(Hold(&cache, {1, 2}));
  cache.Release(Hold(&cache, {11, 12}));
  cache.Release(Hold(&cache, {1, 2}));  // now 11, 12 are the older ones
  cache.Release(Hold(&cache, {21}));
  EXPECT_EQ(cache.MatchPrefix(Hashes{11, 12}), 1u);
  EXPECT_EQ(cache.MatchPrefix(Hashes{1, 2}), 2u);
  EXPECT_EQ(cache.evictions(), 1u);
}

TEST(KvCacheTest, SharedBlocksAreHeldUntilTheLastUserLetsGo) {
  KvCache cache(3);
  const auto first = Hold(&cache, {1, 2});
  const auto second = Hold(&cache, {1, 2});
  EXPECT_EQ(first, second);
  EXPECT_EQ(cache.used(), 2u);
  cache.Release(first);
  EXPECT_EQ(cache.used(), 2u);
  std::vector<BlockId> none;
  EXPECT_FALSE(cache.Acquire({}, 2, &none));
  cache.Release(second);
  EXPECT_TRUE(cache.Acquire({}, 2, &none));
}

TEST(KvCacheTest, FailedAcquireChangesNothing) {
  KvCache cache(3);
  cache.Release(Hold(&cache, {1, 2}));
  std::vector<BlockId> out;
  // Two idle blocks to reuse leave one empty; two fresh ones would have to evict what is reused.
  EXPECT_FALSE(cache.Acquire(Hashes{1, 2}, 2, &out));
  EXPECT_FALSE(cache.Acquire(Hashes{7}, 0, &out));
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(cache.used(), 0u);
  EXPECT_EQ(cache.MatchPrefix(Hashes{1, 2}), 2u);
}

TEST(KvCacheTest, SecondBlockWithAKnownHashStaysAnonymous) {
  KvCache cache(2);
  std::vector<BlockId> blocks;
  ASSERT_TRUE(cache.Acquire({}, 2, &blocks));
  EXPECT_THAT(blocks, ElementsAre(0, 1));
  cache.Publish(blocks[0], 5);
  cache.Publish(blocks[1], 5);
  cache.Release(blocks);
  EXPECT_EQ(cache.idle(), 1u);
  EXPECT_EQ(cache.MatchPrefix(Hashes{5}), 1u);
}

TEST(KvCacheTest, EmptyCacheHoldsNothing) {
  KvCache cache(0);
  std::vector<BlockId> out;
  EXPECT_TRUE(cache.Acquire({}, 0, &out));
  EXPECT_FALSE(cache.Acquire({}, 1, &out));
}

TEST(KvCacheTest, CountsStayConsistentUnderRandomUse) {
  std::mt19937 random(20230815);
  KvCache cache(32);
  std::vector<std::vector<BlockId>> held;
  for (int i = 0; i < 20'000; ++i) {
    if (!held.empty() && random() % 2 == 0) {
      std::swap(held[random() % held.size()], held.back());
      cache.Release(held.back());
      held.pop_back();
    } else {
      // Ten prefixes of up to eight blocks; some blocks are never given a hash.
      Hashes hashes;
      const uint64_t prefix = random() % 10;
      for (uint64_t n = 1 + random() % 8, j = 0; j < n; ++j) hashes.push_back(prefix * 100 + j);
      const uint32_t hits = cache.MatchPrefix(hashes);
      std::vector<BlockId> blocks;
      if (cache.Acquire(std::span(hashes).first(hits), static_cast<uint32_t>(hashes.size()) - hits,
                        &blocks)) {
        ASSERT_EQ(blocks.size(), hashes.size());
        for (size_t j = hits; j < blocks.size(); ++j) {
          if (random() % 4 != 0) cache.Publish(blocks[j], hashes[j]);
        }
        held.push_back(blocks);
      }
    }
    std::vector<bool> in_use(cache.capacity());
    for (const auto& blocks : held) {
      for (const BlockId id : blocks) in_use[id] = true;
    }
    ASSERT_EQ(cache.used(), std::count(in_use.begin(), in_use.end(), true)) << "step " << i;
    ASSERT_LE(cache.used() + cache.idle(), cache.capacity());
  }
  for (const auto& blocks : held) cache.Release(blocks);
  EXPECT_EQ(cache.used(), 0u);
}

}  // namespace
}  // namespace epp::sim
