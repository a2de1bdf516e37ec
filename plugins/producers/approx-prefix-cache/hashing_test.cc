#include "hashing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

namespace epp::approx {
namespace {

using testing::ElementsAre;

std::vector<uint32_t> OneTo(uint32_t n) {
  std::vector<uint32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), 1u);
  return tokens;
}

std::vector<uint64_t> Hash(std::string_view model, std::string_view salt,
                           const std::vector<uint32_t>& tokens, size_t block_tokens) {
  std::vector<uint64_t> out(BlockCount(tokens.size(), block_tokens));
  HashBlocks(HashRoot(model, salt), tokens, block_tokens, out);
  return out;
}

// XXH64 with seed 0.
TEST(HashingTest, RootVectors) {
  EXPECT_EQ(HashRoot("", ""), 0xef46db3751d8e999u);
  EXPECT_EQ(HashRoot("abc", ""), 0x44bc2cf5ad770999u);
  EXPECT_EQ(HashRoot("Nobody inspects", " the spammish repetition"), 0xfbcea83c8a378bf1u);
  EXPECT_EQ(HashRoot("m", ""), 0xba2e567083a2b2e8u);
}

TEST(HashingTest, ChainVectors) {
  EXPECT_THAT(Hash("m", "", OneTo(8), 4), ElementsAre(0xff375b446cd15b25u, 0xd0e13dbe79e3cd40u));
  EXPECT_THAT(Hash("m", "salt", OneTo(8), 4),
              ElementsAre(0x71966444900f601du, 0x2df7485150fcee96u));
  EXPECT_THAT(Hash("test-model", "", OneTo(10), 4),
              ElementsAre(0xbbaff9ab40b2fc24u, 0xaccb2a8863c7324cu, 0x2ca6840aac255efbu));
}

TEST(HashingTest, Case118PartialBlockCounts) {
  EXPECT_EQ(BlockCount(10, 4), 3u);
  EXPECT_EQ(BlockCount(8, 4), 2u);
  EXPECT_EQ(BlockCount(0, 4), 0u);
  EXPECT_EQ(BlockCount(SIZE_MAX, 1), SIZE_MAX);
}

TEST(HashingTest, Case119PromptsAreIndependent) {
  const auto first = Hash("m", "", {1, 2}, 2);
  const auto second = Hash("m", "", {3, 4}, 2);
  const auto joined = Hash("m", "", {1, 2, 3, 4}, 2);
  EXPECT_EQ(first[0], joined[0]);
  EXPECT_NE(second[0], joined[1]);
}

TEST(HashingTest, Case120SaltChangesEveryHash) {
  const auto plain = Hash("m", "", OneTo(12), 4);
  const auto salted = Hash("m", "salt", OneTo(12), 4);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NE(plain[i], salted[i]);
}

TEST(HashingTest, FewerBlocksAreAPrefix) {
  const auto all = Hash("m", "", OneTo(12), 4);
  std::vector<uint64_t> two(2);
  HashBlocks(HashRoot("m", ""), OneTo(12), 4, two);
  EXPECT_THAT(two, ElementsAre(all[0], all[1]));
}

}  // namespace
}  // namespace epp::approx
