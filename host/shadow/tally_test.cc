#include "host/shadow/tally.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace epp::shadow {
namespace {

Picks PicksOf(const Summary& summary, uint64_t endpoint) {
  const auto it = std::find_if(summary.picks.begin(), summary.picks.end(),
                               [&](const Picks& p) { return p.endpoint == endpoint; });
  return it == summary.picks.end() ? Picks{} : *it;
}

TEST(TallyTest, CountsAgreementDifferencesFailuresAndWhatWasShed) {
  Tally tally(2);
  tally.Add(0, {.live = 1, .candidate = 1});
  tally.Add(1, {.live = 1, .candidate = 2});
  tally.Add(0, {.live = 2, .candidate = 0});
  tally.Add(0, {.live = 0, .candidate = 2});
  tally.Add(1, {.live = 0, .candidate = 0});
  tally.Add(1, {.live = 1, .failed = true});
  tally.Shed(0);
  tally.Shed(1);
  tally.Spent(0, 700);
  tally.Spent(1, 300);
  const Summary sum = tally.Sum();
  EXPECT_EQ(sum.agree, 2u);
  EXPECT_EQ(sum.differ, 3u);
  EXPECT_EQ(sum.failed, 1u);
  EXPECT_EQ(sum.decisions(), 6u);
  EXPECT_EQ(sum.shed, 2u);
  EXPECT_EQ(sum.cpu_ns, 1000u);
  EXPECT_EQ(sum.live_none, 2u);
  EXPECT_EQ(sum.candidate_none, 2u);
  EXPECT_EQ(PicksOf(sum, 1).live, 2u);  // not where the candidate failed
  EXPECT_EQ(PicksOf(sum, 1).candidate, 1u);
  EXPECT_EQ(PicksOf(sum, 2).live, 1u);
  EXPECT_EQ(PicksOf(sum, 2).candidate, 2u);
}

TEST(TallyTest, TheMedianMarginIsWithinItsBucket) {
  struct Case {
    std::vector<double> margins;
    double median;
  };
  for (const Case& c :
       {Case{{0}, 0}, Case{{0.22}, 0.22}, Case{{0.1, 0.3, 5}, 0.3}, Case{{0, 0, 0, 9}, 0},
        Case{{1e-9, 1e12, 1e12}, 1e12}, Case{{2, 2, 2, 2, 40}, 2}}) {
    Tally tally(1);
    for (const double margin : c.margins) {
      tally.Add(0, {.live = 1, .candidate = 2, .margin = margin, .close = margin < 0.25});
    }
    const Summary sum = tally.Sum();
    EXPECT_EQ(sum.margins, c.margins.size());
    if (c.median > 1e4) {
      EXPECT_GT(sum.median_margin, 1e3);  // beyond the scale
    } else {
      EXPECT_NEAR(sum.median_margin, c.median, 0.1 * c.median);
    }
  }
}

TEST(TallyTest, CachedTokensCountWhereTheyAreKnownAndNeverMoreThanThePrompt) {
  Tally tally(1);
  tally.Add(0, {.live = 1,
                .candidate = 1,
                .prompt_tokens = 100,
                .live_cached = 64,
                .candidate_cached = 128});
  tally.Add(0, {.live = 1, .candidate = 1, .prompt_tokens = 50, .candidate_cached = 0});
  tally.Add(0, {.live = 1, .candidate = 1, .live_cached = 64, .candidate_cached = 64});
  const Summary sum = tally.Sum();
  EXPECT_EQ(sum.live_prompt_tokens, 100u);
  EXPECT_EQ(sum.live_cached_tokens, 64u);
  EXPECT_EQ(sum.candidate_prompt_tokens, 150u);
  EXPECT_EQ(sum.candidate_cached_tokens, 100u);
}

TEST(TallyTest, EndpointsBeyondTheTableAreCountedTogether) {
  Tally tally(1);
  const uint64_t many = Tally::kEndpoints + 500;
  for (uint64_t e = 1; e <= many; ++e) tally.Add(0, {.live = e, .candidate = e});
  const Summary sum = tally.Sum();
  EXPECT_EQ(sum.picks.size(), Tally::kEndpoints + 1);
  EXPECT_EQ(PicksOf(sum, 0).live, 500u);
  EXPECT_EQ(PicksOf(sum, 7).live, 1u);
}

TEST(TallyTest, WorkersCountWhileOthersRead) {
  constexpr uint64_t kEach = 20'000;
  Tally tally(3);
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < 3; ++w) {
    threads.emplace_back([&tally, w] {
      for (uint64_t i = 0; i < kEach; ++i) {
        tally.Add(w, {.live = i % 50 + 1, .candidate = i % 49 + 1, .margin = 0.5});
      }
    });
  }
  uint64_t last = 0;
  while (last < 3 * kEach) {
    const uint64_t now = tally.Sum().decisions();
    EXPECT_GE(now, last);
    last = now;
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace epp::shadow
