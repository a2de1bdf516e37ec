#include "host/base/bitmap.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace epp::bitmap {
namespace {

TEST(BitmapTest, SizesAndTrim) {
  EXPECT_EQ(WordsFor(0), 0u);
  EXPECT_EQ(WordsFor(1), 1u);
  EXPECT_EQ(WordsFor(64), 1u);
  EXPECT_EQ(WordsFor(65), 2u);
  for (const size_t bits : {0, 1, 63, 64, 65, 127, 128, 191, 192}) {
    std::vector<uint64_t> words(3);
    SetAll(words, bits);
    EXPECT_EQ(Count(words), bits);
    EXPECT_EQ(None(words), bits == 0);
  }
}

TEST(BitmapTest, AgreesWithASet) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<uint64_t> a(4), b(4);
    std::set<size_t> sa, sb;
    for (int i = 0; i < 60; ++i) {
      const size_t x = random() % 256, y = random() % 256, z = random() % 256;
      Set(a, x), sa.insert(x);
      Set(b, y), sb.insert(y);
      Unset(a, z), sa.erase(z);
    }
    std::vector<size_t> seen;
    ForEach(a, [&](size_t i) { seen.push_back(i); });
    EXPECT_EQ(seen, std::vector<size_t>(sa.begin(), sa.end()));
    for (size_t i = 0; i < 256; ++i) {
      EXPECT_EQ(bitmap::Test(a, i), sa.count(i) == 1);
      const auto next = sa.lower_bound(i);
      EXPECT_EQ(Next(a, i), next == sa.end() ? SIZE_MAX : *next);
    }
    std::vector<uint64_t> both = a, either = a;
    And(both, b);
    Or(either, b);
    for (size_t i = 0; i < 256; ++i) {
      EXPECT_EQ(bitmap::Test(both, i), sa.count(i) && sb.count(i));
      EXPECT_EQ(bitmap::Test(either, i), sa.count(i) || sb.count(i));
    }
    And(both, std::span<const uint64_t>(b).first(1));
    EXPECT_EQ(Next(both, 64), SIZE_MAX);
    Clear(either);
    EXPECT_TRUE(None(either));
  }
}

}  // namespace
}  // namespace epp::bitmap
