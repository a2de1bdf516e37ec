#include "host/base/arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace epp {
namespace {

TEST(ArenaTest, AlignsAndSeparatesEveryPiece) {
  BlockCache cache(1024);
  Arena arena(&cache);
  std::vector<std::pair<char*, size_t>> pieces;
  for (size_t i = 1; i < 200; ++i) {
    const size_t align = size_t{1} << (i % 8);
    const size_t size = (i * 37) % 900;
    auto* p = static_cast<char*>(arena.Alloc(size, align));
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % align, 0u);
    std::memset(p, static_cast<int>(i), size);
    pieces.emplace_back(p, size);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    for (size_t k = 0; k < pieces[i].second; ++k) {
      ASSERT_EQ(pieces[i].first[k], static_cast<char>(i + 1));
    }
  }
}

TEST(ArenaTest, BigAlignmentGetsItsOwnPiece) {
  BlockCache cache(1024);
  Arena arena(&cache);
  void* p = arena.Alloc(8, 4096);
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 4096, 0u);
  EXPECT_EQ(arena.Alloc(8, 3), nullptr);
  EXPECT_EQ(arena.Alloc(8, 8192), nullptr);
}

TEST(ArenaTest, CapGivesNullAndLeavesTheArenaUsable) {
  BlockCache cache(1024);
  Arena arena(&cache, 4096);
  EXPECT_EQ(arena.Alloc(5000), nullptr);
  EXPECT_EQ(arena.Alloc(SIZE_MAX - 8), nullptr);
  size_t got = 0;
  while (arena.Alloc(100) != nullptr) ++got;
  EXPECT_GE(got, 36u);
  EXPECT_LE(arena.reserved_bytes(), 4096u);
  EXPECT_TRUE(arena.AllocArray<uint64_t>(SIZE_MAX / 4).empty());
  arena.Reset();
  EXPECT_NE(arena.Alloc(100), nullptr);
}

TEST(ArenaTest, ResetKeepsOneBlockAndReturnsTheRest) {
  BlockCache cache(1024);
  {
    Arena arena(&cache);
    for (int i = 0; i < 50; ++i) ASSERT_NE(arena.Alloc(100), nullptr);
    ASSERT_NE(arena.Alloc(100'000), nullptr);
    arena.Reset();
    EXPECT_EQ(arena.used_bytes(), 0u);
    EXPECT_EQ(arena.reserved_bytes(), 1024u);
    const size_t spare = cache.spare_blocks();
    EXPECT_GE(spare, 4u);
    for (int i = 0; i < 50; ++i) ASSERT_NE(arena.Alloc(100), nullptr);
    EXPECT_EQ(cache.spare_blocks(), 0u) << "blocks are reused, not allocated again";
    arena.Release();
    EXPECT_EQ(arena.reserved_bytes(), 0u);
    EXPECT_EQ(cache.spare_blocks(), spare + 1);
  }
  EXPECT_GE(cache.spare_blocks(), 1u);
}

TEST(ArenaTest, CacheKeepsABoundedNumberOfBlocks) {
  BlockCache cache(1024, 2);
  Arena arena(&cache);
  for (int i = 0; i < 100; ++i) ASSERT_NE(arena.Alloc(100), nullptr);
  arena.Release();
  EXPECT_EQ(cache.spare_blocks(), 2u);
}

TEST(ArenaTest, TypedHelpers) {
  struct Point {
    int x = 3;
    int y = 4;
  };
  BlockCache cache;
  Arena arena(&cache);
  EXPECT_EQ(arena.Copy("prompt"), "prompt");
  EXPECT_EQ(arena.Copy(""), "");
  const auto points = arena.AllocArray<Point>(10);
  ASSERT_EQ(points.size(), 10u);
  EXPECT_EQ(points[9].y, 4);
  EXPECT_EQ(arena.New<Point>(1, 2)->y, 2);
}

#ifdef EPP_ARENA_ASAN
TEST(ArenaDeathTest, UseAfterResetIsSeen) {
  BlockCache cache;
  Arena arena(&cache);
  auto* p = static_cast<volatile char*>(arena.Alloc(32));
  p[0] = 1;
  arena.Reset();
  EXPECT_DEATH({ p[0] = 2; }, "use-after-poison");
}
#endif

}  // namespace
}  // namespace epp
