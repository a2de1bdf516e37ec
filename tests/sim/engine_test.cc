#include "tests/sim/engine.h"

#include <map>
#include <numeric>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::sim {
namespace {

using std::chrono::milliseconds;
using Kind = EngineEvent::Kind;
using testing::ElementsAre;
using testing::HasSubstr;

// 1 ms per prompt token and 10 ms per output token, whatever the batch: times are easy to read.
EngineConfig Plain() {
  EngineConfig config;
  config.kv_blocks = 100;
  config.block_tokens = 16;
  config.prefill_tokens_per_s = 1000;
  config.decode_per_token = milliseconds(10);
  config.decode_slope = 0;
  config.max_batched_tokens = 100'000;
  return config;
}

// `prefix` names the content: requests with the same one share as many blocks as both have.
EngineRequest Request(uint64_t id, uint32_t prompt, uint32_t output, uint64_t prefix) {
  EngineRequest request;
  request.id = id;
  request.prompt_tokens = prompt;
  request.output_tokens = output;
  request.block_hashes.resize(prompt / 16);
  std::iota(request.block_hashes.begin(), request.block_hashes.end(), prefix << 32);
  return request;
}

struct Times {
  SimTime scheduled = kNever;
  SimTime first_token = kNever;
  SimTime finished = kNever;
  uint32_t cached_tokens = 0;
  uint32_t tokens = 0;
  int preemptions = 0;
};

std::map<uint64_t, Times> Collect(const std::vector<EngineEvent>& events) {
  std::map<uint64_t, Times> all;
  for (const EngineEvent& event : events) {
    Times& times = all[event.request];
    times.cached_tokens = event.cached_tokens;
    times.tokens = event.tokens;
    switch (event.kind) {
      case Kind::kScheduled:
        times.scheduled = std::min(times.scheduled, event.at);
        break;
      case Kind::kFirstToken:
        times.first_token = event.at;
        break;
      case Kind::kToken:
        break;
      case Kind::kFinished:
        times.finished = event.at;
        break;
      case Kind::kPreempted:
        ++times.preemptions;
        break;
    }
  }
  return all;
}

std::map<uint64_t, Times> RunToEnd(Engine* engine) {
  std::vector<EngineEvent> events;
  while (engine->NextEventTime() != kNever) engine->Advance(engine->NextEventTime(), &events);
  return Collect(events);
}

TEST(EngineTest, AloneTheTimeToFirstTokenIsPrefill) {
  Engine engine(Plain());
  ASSERT_TRUE(engine.Submit(Request(1, 320, 3, 1), milliseconds(5)).ok());
  EXPECT_EQ(engine.NextEventTime(), milliseconds(5));
  const Times times = RunToEnd(&engine)[1];
  EXPECT_EQ(times.scheduled, milliseconds(5));
  EXPECT_EQ(times.first_token, milliseconds(5 + 320));
  EXPECT_EQ(times.finished, milliseconds(5 + 320 + 2 * 10));
  EXPECT_EQ(times.tokens, 3u);
  EXPECT_EQ(engine.stats().blocks_used, 0u);
}

TEST(EngineTest, EventsComeInOrderAndOncePerToken) {
  Engine engine(Plain());
  ASSERT_TRUE(engine.Submit(Request(7, 16, 3, 1), SimTime(0)).ok());
  std::vector<EngineEvent> events;
  engine.Advance(milliseconds(1000), &events);
  std::vector<std::pair<Kind, uint32_t>> seen;
  for (const EngineEvent& event : events) seen.emplace_back(event.kind, event.tokens);
  EXPECT_THAT(seen, ElementsAre(std::pair(Kind::kScheduled, 0u), std::pair(Kind::kFirstToken, 1u),
                                std::pair(Kind::kToken, 2u), std::pair(Kind::kToken, 3u),
                                std::pair(Kind::kFinished, 3u)));
}

TEST(EngineTest, WithoutTokenEventsOnlyTheMilestonesAreReported) {
  EngineConfig config = Plain();
  config.token_events = false;
  Engine engine(config);
  ASSERT_TRUE(engine.Submit(Request(7, 16, 50, 1), SimTime(0)).ok());
  std::vector<EngineEvent> events;
  engine.Advance(milliseconds(10'000), &events);
  EXPECT_EQ(events.size(), 3u);
  EXPECT_EQ(events.back().tokens, 50u);
}

TEST(EngineTest, ReuseDecidesTheTimeToFirstToken) {
  struct Case {
    const char* name;
    uint64_t prefix;
    uint32_t prompt;
    uint32_t expected_cached;
  };
  // After a request with prefix 1 and 320 tokens (20 blocks):
  for (const Case& c : {
           Case{"other content", 2, 320, 0},
           Case{"longer prompt", 1, 480, 320},
           Case{"shorter prompt keeps its last block to compute", 1, 160, 144},
           Case{"partial last block", 1, 170, 160},
           Case{"same prompt keeps its last block to compute", 1, 320, 304},
       }) {
    SCOPED_TRACE(c.name);
    Engine engine(Plain());
    ASSERT_TRUE(engine.Submit(Request(1, 320, 1, 1), SimTime(0)).ok());
    RunToEnd(&engine);
    const SimTime start = milliseconds(10'000);
    ASSERT_TRUE(engine.Submit(Request(2, c.prompt, 1, c.prefix), start).ok());
    const Times times = RunToEnd(&engine)[2];
    EXPECT_EQ(times.cached_tokens, c.expected_cached);
    EXPECT_EQ(times.first_token - start, milliseconds(c.prompt - c.expected_cached));
    EXPECT_EQ(engine.stats().cached_tokens, c.expected_cached);
  }
}

TEST(EngineTest, GeneratedBlocksAreReusableWhenTheirHashIsKnown) {
  Engine engine(Plain());
  EngineRequest first = Request(1, 160, 33, 1);
  first.block_hashes = Request(0, 192, 0, 1).block_hashes;  // 10 blocks of prompt, 2 of output
  ASSERT_TRUE(engine.Submit(first, SimTime(0)).ok());
  RunToEnd(&engine);
  ASSERT_TRUE(engine.Submit(Request(2, 320, 1, 1), milliseconds(10'000)).ok());
  EXPECT_EQ(RunToEnd(&engine)[2].cached_tokens, 192u);
}

TEST(EngineTest, LeastRecentlyUsedPrefixIsEvicted) {
  EngineConfig config = Plain();
  config.kv_blocks = 25;
  Engine engine(config);
  uint64_t id = 0;
  const auto cached = [&](uint64_t prefix) {
    ++id;
    EXPECT_TRUE(engine.Submit(Request(id, 160, 1, prefix), milliseconds(1000 * id)).ok());
    return RunToEnd(&engine)[id].cached_tokens;
  };
  EXPECT_EQ(cached(1), 0u);
  EXPECT_EQ(cached(2), 0u);
  EXPECT_EQ(cached(1), 144u);  // 1 is now the more recent
  EXPECT_EQ(cached(3), 0u);    // evicts the end of 2
  EXPECT_EQ(cached(1), 144u);
  EXPECT_LT(cached(2), 144u);
  EXPECT_GT(engine.stats().evictions, 0u);
}

TEST(EngineTest, QueueingAddsToTheTimeToFirstToken) {
  EngineConfig config = Plain();
  config.max_running = 1;
  Engine engine(config);
  ASSERT_TRUE(engine.Submit(Request(1, 100, 11, 1), SimTime(0)).ok());
  ASSERT_TRUE(engine.Submit(Request(2, 100, 1, 2), milliseconds(50)).ok());
  engine.Advance(milliseconds(60), nullptr);
  EXPECT_EQ(engine.stats().running, 1u);
  EXPECT_EQ(engine.stats().waiting, 1u);
  const auto times = RunToEnd(&engine);
  EXPECT_EQ(times.at(1).finished, milliseconds(200));
  EXPECT_EQ(times.at(2).scheduled, milliseconds(200));
  EXPECT_EQ(times.at(2).first_token, milliseconds(300));
}

TEST(EngineTest, FullCacheQueuesInOrderOfArrival) {
  EngineConfig config = Plain();
  config.kv_blocks = 10;
  Engine engine(config);
  ASSERT_TRUE(engine.Submit(Request(1, 128, 2, 1), SimTime(0)).ok());
  ASSERT_TRUE(engine.Submit(Request(2, 128, 2, 2), SimTime(0)).ok());
  ASSERT_TRUE(engine.Submit(Request(3, 16, 2, 3), SimTime(0)).ok());  // would fit, but is behind 2
  engine.Advance(SimTime(0), nullptr);
  EXPECT_EQ(engine.stats().running, 1u);
  EXPECT_DOUBLE_EQ(engine.stats().KvUsage(), 0.8);
  const auto times = RunToEnd(&engine);
  EXPECT_EQ(times.at(2).scheduled, times.at(1).finished);
  EXPECT_EQ(times.at(3).scheduled, times.at(1).finished);
}

TEST(EngineTest, LongPromptsAreChunkedAndShareStepsWithDecoding) {
  EngineConfig config = Plain();
  config.max_running = 4;
  config.max_batched_tokens = 101;
  Engine engine(config);
  ASSERT_TRUE(engine.Submit(Request(1, 16, 5, 1), SimTime(0)).ok());
  ASSERT_TRUE(engine.Submit(Request(2, 200, 1, 2), milliseconds(16)).ok());
  const auto times = RunToEnd(&engine);
  EXPECT_EQ(times.at(1).first_token, milliseconds(16));
  // Two steps of 10 ms decode and 100 prompt tokens, then two of decode alone.
  EXPECT_EQ(times.at(2).first_token, milliseconds(16 + 2 * 110));
  EXPECT_EQ(times.at(1).finished, milliseconds(16 + 2 * 110 + 2 * 10));
}

TEST(EngineTest, LargerBatchesDecodeMoreSlowlyPerToken) {
  EngineConfig config = Plain();
  config.decode_slope = 0.5;
  Engine engine(config);
  for (uint64_t id = 1; id <= 3; ++id) {
    ASSERT_TRUE(engine.Submit(Request(id, 16, 11, id), SimTime(0)).ok());
  }
  const auto times = RunToEnd(&engine);
  EXPECT_EQ(times.at(3).first_token, milliseconds(48));
  EXPECT_EQ(times.at(3).finished, milliseconds(48 + 10 * 20));
}

TEST(EngineTest, PreemptsTheYoungestWhenDecodingRunsOutOfBlocks) {
  EngineConfig config = Plain();
  config.kv_blocks = 10;
  Engine engine(config);
  ASSERT_TRUE(engine.Submit(Request(1, 80, 80, 1), SimTime(0)).ok());
  ASSERT_TRUE(engine.Submit(Request(2, 64, 80, 2), SimTime(0)).ok());
  const auto times = RunToEnd(&engine);
  EXPECT_EQ(times.at(1).preemptions, 0);
  EXPECT_GE(times.at(2).preemptions, 1);
  EXPECT_EQ(times.at(1).tokens, 80u);
  EXPECT_EQ(times.at(2).tokens, 80u);
  EXPECT_LT(times.at(1).finished, times.at(2).finished);
  EXPECT_EQ(engine.stats().generated_tokens, 160u);
}

TEST(EngineTest, TransferredTokensCostNoPrefill) {
  Engine engine(Plain());
  EngineRequest request = Request(1, 320, 1, 1);
  request.transferred_tokens = 320;
  ASSERT_TRUE(engine.Submit(request, SimTime(0)).ok());
  const Times times = RunToEnd(&engine)[1];
  EXPECT_EQ(times.first_token, milliseconds(1));
  EXPECT_EQ(times.cached_tokens, 0u);
}

TEST(EngineTest, PrefillOnlyRequestsFinishWithoutAToken) {
  Engine engine(Plain());
  ASSERT_TRUE(engine.Submit(Request(1, 32, 0, 1), SimTime(0)).ok());
  const Times times = RunToEnd(&engine)[1];
  EXPECT_EQ(times.finished, milliseconds(32));
  EXPECT_EQ(times.first_token, kNever);
  EXPECT_EQ(engine.stats().generated_tokens, 0u);
}

TEST(EngineTest, CancelledRequestsFreeTheirPlace) {
  EngineConfig config = Plain();
  config.max_running = 1;
  Engine engine(config);
  for (uint64_t id = 1; id <= 3; ++id) {
    ASSERT_TRUE(engine.Submit(Request(id, 32, 1000, id), SimTime(0)).ok());
  }
  engine.Advance(milliseconds(100), nullptr);
  EXPECT_TRUE(engine.Cancel(1));
  EXPECT_TRUE(engine.Cancel(2));
  EXPECT_FALSE(engine.Cancel(99));
  EXPECT_EQ(engine.stats().blocks_used, 0u);
  EXPECT_EQ(engine.stats().waiting, 1u);
  std::vector<EngineEvent> events;
  engine.Advance(milliseconds(200), &events);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.front().request, 3u);
  EXPECT_TRUE(engine.Cancel(3));
  engine.Advance(milliseconds(300), nullptr);
  EXPECT_EQ(engine.NextEventTime(), kNever);
}

TEST(EngineTest, RefusesWhatCanNeverRun) {
  EngineConfig config = Plain();
  config.kv_blocks = 4;
  Engine engine(config);
  EXPECT_EQ(engine.Submit(Request(1, 0, 1, 1), SimTime(0)).code(),
            absl::StatusCode::kInvalidArgument);
  const absl::Status status = engine.Submit(Request(1, 60, 5, 1), SimTime(0));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("65 tokens, want at most 64"));
  EXPECT_TRUE(engine.Submit(Request(1, 60, 4, 1), SimTime(0)).ok());
  EXPECT_EQ(RunToEnd(&engine)[1].tokens, 4u);
}

TEST(EngineTest, ZeroConfigStillMakesProgress) {
  EngineConfig config{.kv_blocks = 10,
                      .block_tokens = 0,
                      .max_running = 0,
                      .max_batched_tokens = 0,
                      .prefill_tokens_per_s = 0,
                      .decode_per_token = SimTime(0),
                      .decode_slope = -1};
  Engine engine(config);
  ASSERT_TRUE(engine.Submit(Request(1, 5, 5, 1), SimTime(0)).ok());
  EXPECT_EQ(RunToEnd(&engine)[1].tokens, 5u);
}

// Random traffic against what must hold at any time, twice: the model is deterministic.
TEST(EngineTest, NeverExceedsItsLimitsAndServesEverything) {
  const auto run = [] {
    EngineConfig config = Plain();
    config.kv_blocks = 64;
    config.max_running = 8;
    config.max_batched_tokens = 256;
    Engine engine(config);
    std::mt19937 random(42);
    std::vector<EngineEvent> events;
    SimTime now{};
    for (uint64_t id = 1; id <= 2000; ++id) {
      now += milliseconds(random() % 300);
      engine.Advance(now, &events);
      EXPECT_TRUE(
          engine.Submit(Request(id, 1 + random() % 400, 1 + random() % 200, random() % 12), now)
              .ok());
      const EngineStats stats = engine.stats();
      EXPECT_LE(stats.running, 8u);
      EXPECT_LE(stats.blocks_used + stats.blocks_idle, 64u);
      if (id % 50 == 0) engine.Cancel(id);
    }
    while (engine.NextEventTime() != kNever) {
      engine.Advance(engine.NextEventTime(), &events);
      EXPECT_LE(engine.stats().running, 8u);
      EXPECT_LE(engine.stats().KvUsage(), 1.0);
    }
    EXPECT_EQ(engine.stats().finished, 2000u - 40u);
    EXPECT_EQ(engine.stats().waiting, 0u);
    EXPECT_EQ(engine.stats().blocks_used, 0u);
    EXPECT_GT(engine.stats().preemptions, 0u);
    EXPECT_TRUE(std::is_sorted(events.begin(), events.end(),
                               [](const auto& a, const auto& b) { return a.at < b.at; }));
    return std::pair(events.back().at, events.size());
  };
  EXPECT_EQ(run(), run());
}

}  // namespace
}  // namespace epp::sim
