#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Cell;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Request;
using epp::test::Selection;

constexpr const char* kType = "prefix-based-pd-decider";

struct Case {
  const char* name;
  int64_t non_cached_tokens;
  int64_t prompt_tokens;
  std::optional<size_t> input;  // tokens; nothing: not tokenized
  int64_t block_size;
  std::optional<int64_t> cached_blocks;  // nothing: no match information
  bool expected;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class PrefixBasedPdDeciderTest : public testing::TestWithParam<Case> {};

TEST_P(PrefixBasedPdDeciderTest, Decides) {
  const Case& c = GetParam();
  auto decider = epp::test::Make(
      kType, {{"nonCachedTokens", c.non_cached_tokens}, {"promptTokens", c.prompt_tokens}});
  ASSERT_TRUE(decider.ok()) << decider.error();
  Pool pool(2);
  pool.Set(epp::attr::kPrefixMatchBlocks,
           {Cell(int64_t{1} << 40), c.cached_blocks ? Cell(*c.cached_blocks) : Cell()});
  Request request;
  request.Set(epp::attr::kPrefixBlockSize, c.block_size);
  if (c.input) request.Tokens(std::vector<uint32_t>(*c.input, 7));
  EXPECT_EQ(decider.Decide(Selection(pool, {1}), request), c.expected);
  EXPECT_EQ(decider.status(), EPP_OK);
  EXPECT_FALSE(decider.Decide(Selection(pool, {}), request));  // case 88: no endpoint
}

INSTANTIATE_TEST_SUITE_P(
    Table, PrefixBasedPdDeciderTest,
    testing::Values(
        Case{"Case087Cached8", 5, 0, 10, 1, 8, false}, Case{"Case087Cached5", 5, 0, 10, 1, 5, true},
        Case{"Case087Cached0", 5, 0, 10, 1, 0, true}, Case{"Case088Never", 0, 0, 10, 1, 0, false},
        Case{"Case088ShorterThanNonCached", 20, 0, 10, 1, 0, false},
        Case{"Case088ShorterThanPrompt", 5, 20, 10, 1, 0, false},
        Case{"Case089PromptLongEnough", 5, 10, 10, 1, 5, true},
        Case{"Case090Cached240Blocks", 512, 0, 4096, 16, 240, false},
        Case{"Case090Cached192Blocks", 512, 0, 4096, 16, 192, true},
        Case{"NoMatchInformation", 5, 0, 10, 1, {}, false},
        Case{"NotTokenized", 5, 0, {}, 1, 0, false}, Case{"EqualIsEnough", 10, 10, 10, 1, 0, true},
        Case{"MoreCachedThanAsked", 5, 0, 10, 16, 1, false},
        Case{"AbsurdCount", 5, 0, 10, INT64_MAX, INT64_MAX, false}),
    [](const auto& info) { return info.param.name; });

TEST(PrefixBasedPdDecider, RefusesNegativeCounts) {
  for (const char* name : {"nonCachedTokens", "promptTokens"}) {
    EXPECT_FALSE(epp::test::Make(kType, {{name, -1}}).ok()) << name;
  }
  EXPECT_TRUE(epp::test::Make(kType).ok());
}

}  // namespace
