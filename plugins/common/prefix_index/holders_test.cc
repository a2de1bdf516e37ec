#include "plugins/common/prefix_index/holders.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <vector>

namespace epp::prefix_index {
namespace {

void ExpectSame(const Holders& holders, const std::map<uint32_t, uint32_t>& model, uint32_t slots) {
  ASSERT_EQ(holders.empty(), model.empty());
  std::vector<uint64_t> words(slots / 64 + 1, ~uint64_t{0});
  const std::span<const uint64_t> bitmap = holders.Bitmap(words);
  for (uint32_t s = 0; s < slots; ++s) {
    const auto it = model.find(s);
    ASSERT_EQ(holders.Find(s), it == model.end() ? kNoNode : it->second) << "slot " << s;
    const bool set = s / 64 < bitmap.size() && (bitmap[s / 64] >> (s % 64) & 1) != 0;
    ASSERT_EQ(set, it != model.end()) << "slot " << s;
  }
  ASSERT_EQ(holders.OnlySlot(), model.size() == 1 ? model.begin()->first : kMaxSlots);
}

class HoldersTest : public testing::TestWithParam<uint32_t> {};

// Through all forms and back, against a map.
TEST_P(HoldersTest, AgreesWithAMap) {
  const uint32_t slots = GetParam();
  std::mt19937 random(slots);
  Holders holders;
  std::map<uint32_t, uint32_t> model;
  for (int round = 0; round < 40; ++round) {
    const bool grow = round % 2 == 0;
    for (uint32_t i = 0; i < slots; ++i) {
      const uint32_t slot = random() % slots;
      if (random() % 8 == 0 ? !grow : grow) {
        const uint32_t node = random() % 1000;
        const uint32_t want = model.emplace(slot, node).first->second;
        ASSERT_EQ(holders.FindOrAdd(slot, node), want);
      } else {
        ASSERT_EQ(holders.Remove(slot), model.erase(slot) == 1);
      }
      if (i % 16 == 0) ExpectSame(holders, model, slots);
    }
  }
  holders.Clear();
  EXPECT_TRUE(holders.empty());
}

INSTANTIATE_TEST_SUITE_P(Slots, HoldersTest, testing::Values(1u, 3u, 15u, 64u, 200u, 1000u),
                         [](const auto& info) { return std::to_string(info.param); });

TEST(HoldersTest, SlotsBeyondTheBufferAreLeftOut) {
  Holders holders;
  std::array<uint64_t, 1> words;
  holders.FindOrAdd(3, 0);
  holders.FindOrAdd(100, 1);
  EXPECT_EQ(holders.Bitmap(words)[0], uint64_t{1} << 3);
  for (uint32_t s = 0; s < 200; s += 4) holders.FindOrAdd(s, s);
  EXPECT_EQ(holders.Bitmap(words).size(), 1u);
  holders.Clear();
}

TEST(HoldersTest, StaysSmall) {
  Holders holders;
  for (uint32_t s = 0; s < 1000; ++s) {
    holders.FindOrAdd(s, s);
    EXPECT_LE(holders.HeapBytes(), s == 0 ? 0u : 24u * (s + 1) + 16u) << s + 1 << " holders";
  }
  for (uint32_t left = 999; left > 0; --left) {
    holders.Remove(left);
    EXPECT_LE(holders.HeapBytes(), left == 1 ? 0u : 24u * left + 16u) << left << " holders";
  }
  holders.Clear();
}

}  // namespace
}  // namespace epp::prefix_index
