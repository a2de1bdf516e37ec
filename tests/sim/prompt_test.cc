#include "tests/sim/prompt.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(PromptTest, FourBytesAreAToken) {
  EXPECT_EQ(CountTokens(""), 0u);
  EXPECT_EQ(CountTokens("a"), 1u);
  EXPECT_EQ(CountTokens("abcd"), 1u);
  EXPECT_EQ(CountTokens("abcde"), 2u);
  const std::string bytes = BytesOfTokens(std::vector<uint32_t>{1, 0x01020304});
  EXPECT_EQ(bytes, std::string("\1\0\0\0\4\3\2\1", 8));
}

TEST(PromptTest, BlockHashesNameContentAndEverythingBefore) {
  const std::string a(16, 'a'), b(16, 'b');
  const auto ab = BlockHashes(a + b, 4, 0);
  EXPECT_EQ(ab.size(), 2u);
  EXPECT_EQ(BlockHashes(a + b + "partial", 4, 0), ab);
  EXPECT_THAT(BlockHashes(a, 4, 0), ElementsAre(ab[0]));
  EXPECT_NE(BlockHashes(b + b, 4, 0)[1], ab[1]);  // same block after another one
  EXPECT_NE(BlockHashes(a, 4, 1)[0], ab[0]);      // another salt
  EXPECT_THAT(BlockHashes("short", 4, 0), IsEmpty());
}

TEST(PromptTest, TraceBlocksShareExactlyTheirCommonPrefix) {
  const std::vector<uint64_t> ids_a = {1, 2, 3}, ids_b = {1, 2, 9};
  for (const uint32_t engine_block : {16u, 128u, 512u, 100u}) {
    SCOPED_TRACE(engine_block);
    const auto a = ExpandTraceBlocks(ids_a, 512, engine_block, 1400);
    const auto b = ExpandTraceBlocks(ids_b, 512, engine_block, 1400);
    ASSERT_EQ(a.size(), 1400 / engine_block);
    ASSERT_EQ(b.size(), a.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i] == b[i], (i + 1) * engine_block <= 1024) << i;
      for (size_t j = 0; j < i; ++j) EXPECT_NE(a[i], a[j]);
    }
  }
}

TEST(PromptTest, TraceBlocksEndWithTheIdsOrThePrompt) {
  const std::vector<uint64_t> ids = {1, 2};
  EXPECT_EQ(ExpandTraceBlocks(ids, 512, 512, 5000).size(), 2u);
  EXPECT_EQ(ExpandTraceBlocks(ids, 512, 512, 1023).size(), 1u);
  EXPECT_THAT(ExpandTraceBlocks({}, 512, 16, 1023), IsEmpty());
}

TEST(PromptTest, OutputTextIsAnEndlessRepeatableStream) {
  const std::string text = OutputText(5, 0, 100);
  EXPECT_EQ(text.size(), 400u);
  EXPECT_EQ(OutputText(5, 10, 3), text.substr(40, 12));
  EXPECT_NE(OutputText(6, 0, 100), text);
}

}  // namespace
}  // namespace epp::sim
