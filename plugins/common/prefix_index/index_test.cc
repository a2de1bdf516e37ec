#include "plugins/common/prefix_index/index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace epp::prefix_index {
namespace {

using testing::ElementsAre;

constexpr uint64_t kSecret = 42;
constexpr uint64_t kPlenty = uint64_t{64} << 20;
constexpr uint32_t kUnbounded = 1u << 30;

using Hashes = std::vector<uint64_t>;

// A limit that leaves room for about so many blocks.
uint64_t LimitFor(uint32_t blocks) {
  for (uint64_t bytes = 1 << 10;; bytes += kBytesPerBlock) {
    if (Index(bytes, kSecret).limit_blocks() >= blocks) return bytes;
  }
}

std::vector<uint32_t> Depths(const Index& index, const Hashes& blocks) {
  LookupScratch scratch;
  index.Begin(&scratch);
  index.Lookup(blocks, &scratch);
  return scratch.depth;
}

Hashes Chain(uint64_t seed, size_t n) {
  std::mt19937_64 random(seed);
  Hashes out(n);
  for (uint64_t& h : out) h = random();
  return out;
}

TEST(IndexTest, MatchIsContiguousFromTheFirstBlock) {
  Index index(kPlenty, kSecret);
  for (uint32_t s = 0; s < 3; ++s) index.Register(s, 100 + s, "e");
  index.Insert(0, 100, Hashes{1, 2, 3}, kUnbounded);
  index.Insert(1, 101, Hashes{2, 3}, kUnbounded);
  index.Insert(2, 102, Hashes{1}, kUnbounded);
  EXPECT_THAT(Depths(index, {1, 2, 3, 4}), ElementsAre(3, 0, 1));
  EXPECT_THAT(Depths(index, {2, 3}), ElementsAre(2, 2, 0));
  EXPECT_THAT(Depths(index, {9, 1}), ElementsAre(0, 0, 0));
  EXPECT_THAT(Depths(index, {}), ElementsAre(0, 0, 0));
  EXPECT_EQ(index.blocks(), 6u);
}

TEST(IndexTest, DepthsOfSeveralPromptsAddUp) {
  Index index(kPlenty, kSecret);
  index.Register(0, 1, "e");
  index.Insert(0, 1, Hashes{1, 2}, kUnbounded);
  index.Insert(0, 1, Hashes{5}, kUnbounded);
  LookupScratch scratch;
  index.Begin(&scratch);
  index.Lookup(Hashes{1, 2, 3}, &scratch);
  index.Lookup(Hashes{5, 6}, &scratch);
  EXPECT_THAT(scratch.depth, ElementsAre(3));
}

TEST(IndexTest, LeastRecentlyUsedGoesFirst) {
  Index index(kPlenty, kSecret);
  index.Register(0, 1, "e");
  EXPECT_EQ(index.Insert(0, 1, Hashes{1}, 2), 0u);
  EXPECT_EQ(index.Insert(0, 1, Hashes{2}, 2), 0u);
  index.Insert(0, 1, Hashes{1}, 2);
  EXPECT_EQ(index.Insert(0, 1, Hashes{3}, 2), 1u);
  EXPECT_THAT(Depths(index, {1}), ElementsAre(1));
  EXPECT_THAT(Depths(index, {2}), ElementsAre(0));
  EXPECT_THAT(Depths(index, {3}), ElementsAre(1));
}

TEST(IndexTest, TheEndOfAPromptGoesBeforeItsBeginning) {
  Index index(kPlenty, kSecret);
  index.Register(0, 1, "e");
  index.Insert(0, 1, Hashes{1, 2, 3, 4}, 5);
  index.Insert(0, 1, Hashes{7, 8, 9}, 5);
  EXPECT_THAT(Depths(index, {1, 2, 3, 4}), ElementsAre(2));
  EXPECT_THAT(Depths(index, {7, 8, 9}), ElementsAre(3));
}

TEST(IndexTest, OfALongPromptTheBeginningIsKept) {
  Index index(kPlenty, kSecret);
  index.Register(0, 1, "e");
  index.Insert(0, 1, Hashes{1, 2, 3, 4, 5}, 3);
  EXPECT_THAT(Depths(index, {1, 2, 3, 4, 5}), ElementsAre(3));
  EXPECT_EQ(index.blocks(), 3u);
}

TEST(IndexTest, CapacityIsFixedByTheFirstInsertion) {
  Index index(kPlenty, kSecret);
  index.Register(0, 1, "e");
  index.Insert(0, 1, Hashes{1}, 2);
  index.Insert(0, 1, Hashes{2, 3, 4, 5}, 100);
  EXPECT_EQ(index.blocks(), 2u);
  index.Unregister(0, 1);
  index.Register(0, 2, "f");
  index.Insert(0, 2, Hashes{2, 3, 4, 5}, 100);
  EXPECT_EQ(index.blocks(), 4u);
}

TEST(IndexTest, SlotIsReused) {
  Index index(kPlenty, kSecret);
  index.Register(0, 1, "old");
  index.Insert(0, 1, Hashes{1, 2}, kUnbounded);
  index.Unregister(0, 1);
  EXPECT_FALSE(index.Knows(0, 1));
  EXPECT_EQ(index.blocks(), 0u);
  EXPECT_THAT(Depths(index, {1, 2}), ElementsAre(0));

  index.Register(0, 2, "new");
  index.Insert(0, 1, Hashes{1, 2}, kUnbounded);  // of the one that left
  EXPECT_EQ(index.blocks(), 0u);
  index.Insert(0, 2, Hashes{1}, kUnbounded);
  index.Unregister(0, 1);  // late
  EXPECT_THAT(Depths(index, {1, 2}), ElementsAre(1));
  index.Register(0, 2, "new");  // an update
  EXPECT_THAT(Depths(index, {1, 2}), ElementsAre(1));
  index.Register(0, 3, "newer");  // the removal was never told
  EXPECT_THAT(Depths(index, {1, 2}), ElementsAre(0));
}

TEST(IndexTest, UnknownAndOutOfRangeSlots) {
  Index index(kPlenty, kSecret);
  EXPECT_FALSE(index.Register(kMaxSlots, 1, "e"));
  EXPECT_FALSE(index.Knows(kMaxSlots, 1));
  index.Insert(kMaxSlots, 1, Hashes{1}, 10);
  index.Insert(5, 1, Hashes{1}, 10);
  index.Unregister(5, 1);
  EXPECT_EQ(index.blocks(), 0u);
  EXPECT_TRUE(index.Register(kMaxSlots - 1, 1, "e"));
  index.Insert(kMaxSlots - 1, 1, Hashes{1}, 10);
  EXPECT_EQ(Depths(index, {1}).back(), 1u);
}

// The endpoint with most blocks pays, with its oldest.
TEST(IndexTest, ByteLimitTakesFromTheLargest) {
  Index index(LimitFor(600), kSecret);
  index.Register(0, 1, "large");
  index.Register(1, 2, "small");
  for (uint64_t i = 0; i < 10; ++i) index.Insert(0, 1, Chain(i, 60), kUnbounded);
  EXPECT_LE(index.blocks(), index.limit_blocks());
  EXPECT_GT(index.Insert(1, 2, Chain(99, 50), kUnbounded), 0u);
  EXPECT_LE(index.blocks(), index.limit_blocks());
  EXPECT_EQ(Depths(index, Chain(99, 50))[1], 50u);
  EXPECT_LT(Depths(index, Chain(0, 60))[0], 60u) << "the oldest is still there";
  EXPECT_EQ(Depths(index, Chain(9, 60))[0], 60u) << "the newest is gone";
}

TEST(IndexTest, PromptBeyondTheByteLimitDoesNoHarm) {
  Index index(LimitFor(100), kSecret);
  index.Register(0, 1, "e");
  index.Insert(0, 1, Chain(1, 1000), kUnbounded);
  EXPECT_LE(index.blocks(), index.limit_blocks());
  index.Insert(0, 1, Chain(2, 20), kUnbounded);
  EXPECT_EQ(Depths(index, Chain(2, 20))[0], 20u);
}

// Whatever the mix of holders, the promise of kBytesPerBlock holds.
TEST(IndexTest, BytesStayWithinTheLimit) {
  for (const uint32_t endpoints : {1u, 2u, 5u, 40u}) {
    const uint64_t limit = uint64_t{4} << 20;
    Index index(limit, kSecret);
    for (uint32_t s = 0; s < endpoints; ++s) index.Register(s, 1 + s, "e");
    const uint64_t distinct = 2 * index.limit_blocks() / endpoints / 100;
    for (uint64_t i = 0; i < distinct; ++i) {
      for (uint32_t s = 0; s < endpoints; ++s) index.Insert(s, 1 + s, Chain(i, 100), kUnbounded);
    }
    EXPECT_GT(index.blocks(), index.limit_blocks() / 2);
    EXPECT_LE(index.Bytes(), limit) << endpoints << " endpoints";
    const uint64_t full = index.Bytes();
    for (uint32_t s = 0; s < endpoints; ++s) index.Unregister(s, 1 + s);
    EXPECT_EQ(index.blocks(), 0u);
    EXPECT_LT(index.Bytes(), full);
  }
}

TEST(IndexTest, EndpointsForTheDump) {
  Index index(kPlenty, kSecret);
  index.Register(0, 1, "a");
  index.Register(2, 2, "c");
  index.Register(1, 3, "b");
  index.Unregister(1, 3);
  index.Insert(2, 2, Hashes{1, 2}, 10);
  const auto endpoints = index.Endpoints();
  ASSERT_EQ(endpoints.size(), 2u);
  EXPECT_EQ(endpoints[0].name, "a");
  EXPECT_EQ(endpoints[1].name, "c");
  EXPECT_EQ(endpoints[1].blocks, 2u);
}

// ---- against a naive model ----

class Model {
 public:
  void Insert(uint32_t slot, const Hashes& blocks, uint32_t capacity) {
    Endpoint& e = endpoints_[slot];
    if (e.capacity == 0) e.capacity = capacity;
    const size_t n = std::min<size_t>(blocks.size(), e.capacity);
    for (size_t i = n; i-- > 0;) {
      e.lru.remove(blocks[i]);
      e.lru.push_front(blocks[i]);
      if (e.lru.size() > e.capacity) e.lru.pop_back();
    }
  }
  void Forget(uint32_t slot) { endpoints_.erase(slot); }
  uint32_t Depth(uint32_t slot, const Hashes& blocks) const {
    const auto it = endpoints_.find(slot);
    if (it == endpoints_.end()) return 0;
    uint32_t depth = 0;
    for (const uint64_t h : blocks) {
      const auto& lru = it->second.lru;
      if (std::find(lru.begin(), lru.end(), h) == lru.end()) break;
      ++depth;
    }
    return depth;
  }
  uint64_t blocks() const {
    return std::accumulate(endpoints_.begin(), endpoints_.end(), uint64_t{0},
                           [](uint64_t n, const auto& e) { return n + e.second.lru.size(); });
  }

 private:
  struct Endpoint {
    uint32_t capacity = 0;
    std::list<uint64_t> lru;
  };
  std::map<uint32_t, Endpoint> endpoints_;
};

// Prompts branch off each other, as conversations do: a block's hash stands for its whole prefix.
Hashes RandomPrompt(std::mt19937& random) {
  Hashes out;
  uint64_t prefix = random() % 3;
  for (size_t n = random() % 12; out.size() < n;) {
    prefix = prefix * 31 + 7 + random() % 2;
    out.push_back(prefix * 0x9e3779b97f4a7c15u);
  }
  return out;
}

class IndexModelTest : public testing::TestWithParam<uint32_t> {};

TEST_P(IndexModelTest, AgreesWithTheModel) {
  const uint32_t slots = GetParam();
  std::mt19937 random(slots);
  Index index(kPlenty, kSecret);
  Model model;
  std::vector<uint64_t> ids(slots);
  uint64_t next_id = 1;
  for (uint32_t s = 0; s < slots; ++s) {
    ids[s] = next_id++;
    index.Register(s, ids[s], "e");
  }
  for (int step = 0; step < 4000; ++step) {
    const uint32_t slot = random() % slots;
    const Hashes prompt = RandomPrompt(random);
    switch (random() % 16) {
      case 0:
        index.Unregister(slot, ids[slot]);
        model.Forget(slot);
        index.Register(slot, ids[slot] = next_id++, "e");
        break;
      default:
        index.Insert(slot, ids[slot], prompt, 1 + slot % 40);
        model.Insert(slot, prompt, 1 + slot % 40);
    }
    const Hashes query = RandomPrompt(random);
    const std::vector<uint32_t> depths = Depths(index, query);
    ASSERT_EQ(depths.size(), slots);
    for (uint32_t s = 0; s < slots; ++s) {
      ASSERT_EQ(depths[s], model.Depth(s, query)) << "step " << step << ", slot " << s;
    }
    ASSERT_EQ(index.blocks(), model.blocks()) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Slots, IndexModelTest, testing::Values(1u, 3u, 20u, 64u, 130u),
                         [](const auto& info) { return std::to_string(info.param); });

// ---- concurrency ----

// Workers look up and insert, endpoints come and go, memory is short. The sanitizers watch; at the
// end the books must balance and a fresh prompt must be found.
TEST(IndexConcurrencyTest, WorkersAndPoolEvents) {
  constexpr uint32_t kSlots = 24;
  constexpr uint32_t kWorkers = 4;
  Index index(LimitFor(3000), kSecret);
  std::vector<std::atomic<uint64_t>> ids(kSlots);
  for (uint32_t s = 0; s < kSlots; ++s) index.Register(s, ids[s] = s + 1, "e");

  std::atomic<bool> stop{false};
  std::thread pool([&] {
    std::mt19937 random(1);
    uint64_t next = 1000;
    while (!stop.load()) {
      const uint32_t slot = random() % kSlots;
      index.Unregister(slot, ids[slot]);
      index.Register(slot, ++next, "e");
      ids[slot] = next;
      EXPECT_LE(index.Endpoints().size(), kSlots);
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> workers;
  for (uint32_t w = 0; w < kWorkers; ++w) {
    workers.emplace_back([&, w] {
      std::mt19937 random(w);
      LookupScratch scratch;
      for (int i = 0; i < 1500; ++i) {
        const Hashes prompt = Chain(random() % 60, 10 + random() % 40);
        index.Begin(&scratch);
        index.Lookup(prompt, &scratch);
        for (const uint32_t depth : scratch.depth) EXPECT_LE(depth, prompt.size());
        const uint32_t slot = random() % kSlots;
        index.Insert(slot, ids[slot], prompt, 200);
      }
    });
  }
  for (std::thread& t : workers) t.join();
  stop = true;
  pool.join();

  EXPECT_LE(index.blocks(), index.limit_blocks());
  uint64_t sum = 0;
  for (const auto& e : index.Endpoints()) sum += e.blocks;
  EXPECT_EQ(sum, index.blocks());
  index.Insert(3, ids[3], Chain(777, 30), 200);
  EXPECT_EQ(Depths(index, Chain(777, 30))[3], 30u);
  for (uint32_t s = 0; s < kSlots; ++s) index.Unregister(s, ids[s]);
  EXPECT_EQ(index.blocks(), 0u);
}

}  // namespace
}  // namespace epp::prefix_index
