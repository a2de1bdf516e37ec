// A deterministic model of one LLM server in simulated time: continuous batching in steps, as vLLM
// does it, on a paged KV cache with prefix reuse. No I/O, no clock, no randomness: the same calls
// give the same events.
//
// In each step every running request in its decode phase yields one token, and what is left of the
// step's token budget goes to prompts (chunked prefill), oldest first. A step takes
//
//   prompt tokens computed / prefill_tokens_per_s
//     + decode_per_token * (1 + decode_slope * (decoding requests - 1))   when anyone decodes
//
// Only prompt tokens that no cached block covers are computed, so a request's time to first token
// is its queueing plus its uncached prefill (plus the decode steps of its neighbours). A request is
// admitted, first come first served, when there is a slot in the batch and room for its whole
// prompt. When decoding runs out of blocks the youngest running request is preempted: it gives up
// its blocks, returns to the head of the queue and recomputes what is no longer cached.
//
// Two ways to drive it, both from one thread:
//
//   Real time          Submit(request, now) as requests arrive; sleep until NextEventTime();
//                      Advance(now, &events); deliver the events.
//   Discrete events    t = min(next arrival, NextEventTime() of all engines); on a tie Submit
//                      before Advance, so that simultaneous arrivals share a step.
//
// Cost: one step is O(running requests); no allocation per token.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "tests/sim/kv_cache.h"

namespace epp::sim {

// Simulated time since the engine's start.
using SimTime = std::chrono::nanoseconds;
inline constexpr SimTime kNever = SimTime::max();

struct EngineConfig {
  uint32_t kv_blocks = 1000;
  uint32_t block_tokens = 16;
  uint32_t max_running = 256;          // vLLM's max_num_seqs
  uint32_t max_batched_tokens = 2048;  // per step; at least max_running is used
  double prefill_tokens_per_s = 5000;  // of one step, whoever's tokens they are
  SimTime decode_per_token = std::chrono::milliseconds(10);  // one request alone
  double decode_slope = 0.01;  // a step's growth per further decoding request
  bool token_events = true;    // false: no kToken events, for long replays
};

struct EngineRequest {
  uint64_t id = 0;             // the caller's; unique among those in flight
  uint32_t prompt_tokens = 0;  // at least 1
  uint32_t output_tokens = 0;  // exactly this many are generated; 0 is prefill only (embeddings)
  // Chained hash of each full block of prompt followed by output; may end early. Blocks beyond its
  // end cannot be reused by others. See BlockHashes() and ExpandTraceBlocks() in prompt.h.
  std::vector<uint64_t> block_hashes;
  // Leading prompt tokens whose KV arrives from another server, so that they cost no prefill.
  uint32_t transferred_tokens = 0;
};

struct EngineEvent {
  enum class Kind : uint8_t {
    kScheduled,   // admitted to the batch (again, after a preemption); cached_tokens is known
    kFirstToken,  // tokens == 1
    kToken,       // every later token, also the last one
    kFinished,    // after the last token, at the same time; the request is forgotten
    kPreempted,   // back in the queue
  };
  Kind kind = Kind::kScheduled;
  SimTime at{};
  uint64_t request = 0;
  uint32_t tokens = 0;         // generated so far
  uint32_t cached_tokens = 0;  // prompt tokens found in the cache when it was first admitted
};

struct EngineStats {
  uint32_t waiting = 0;
  uint32_t running = 0;
  uint32_t blocks_used = 0;  // held by running requests
  uint32_t blocks_idle = 0;  // reusable content that nobody holds
  uint32_t blocks = 0;
  // Totals since construction.
  uint64_t finished = 0;
  uint64_t preemptions = 0;
  uint64_t prompt_tokens = 0;       // of requests admitted, counted once each
  uint64_t cached_tokens = 0;       // of those, the ones not computed because the cache had them
  uint64_t transferred_tokens = 0;  // nor those beyond the cache that other servers computed
  uint64_t generated_tokens = 0;
  uint64_t evictions = 0;  // blocks

  // 0..1, as vLLM reports it: idle blocks count as free.
  [[nodiscard]] double KvUsage() const { return blocks == 0 ? 0.0 : 1.0 * blocks_used / blocks; }
};

class Engine {
 public:
  // Zeros in `config` that would stop time (sizes, speeds) are raised to the least legal value.
  explicit Engine(const EngineConfig& config);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Queues a request that arrives at `now`. Arrivals are in order: a time before the last Advance
  // or before an earlier arrival counts as that time.
  // Errors: InvalidArgument when the prompt is empty, or when prompt plus output cannot fit the
  // whole cache. The request is then not queued.
  [[nodiscard]] absl::Status Submit(EngineRequest request, SimTime now);

  // Drops a request wherever it is, without an event; a step in progress keeps its length. False
  // when it is unknown (finished already, say).
  bool Cancel(uint64_t id);

  // When Advance will next do something; kNever when there is no work.
  [[nodiscard]] SimTime NextEventTime() const;

  // Lives through everything up to and including `to`, and appends events in order of time.
  // `events` may be null. A time before the last Advance does nothing.
  void Advance(SimTime to, std::vector<EngineEvent>* events);

  [[nodiscard]] EngineStats stats() const;
  // How many of the leading blocks its cache holds.
  [[nodiscard]] uint32_t CachedBlocks(std::span<const uint64_t> hashes) const {
    return cache_.MatchPrefix(hashes);
  }
  // Tokens of the longest prompt plus output that can be served.
  [[nodiscard]] uint64_t MaxRequestTokens() const;
  [[nodiscard]] const EngineConfig& config() const { return config_; }

 private:
  struct Sequence;

  void StartStep(std::vector<EngineEvent>* events);
  void EndStep(std::vector<EngineEvent>* events);
  void Admit(uint64_t* budget, uint64_t* prefill_tokens, std::vector<EngineEvent>* events);
  // Grows `sequence` to hold `tokens`; preempts from the back of the batch as needed. False when
  // the sequence itself had to go.
  bool Grow(Sequence* sequence, uint64_t tokens, std::vector<EngineEvent>* events);
  void PreemptYoungest(std::vector<EngineEvent>* events);
  void Emit(EngineEvent::Kind kind, const Sequence& sequence, std::vector<EngineEvent>* events);
  [[nodiscard]] uint32_t BlocksFor(uint64_t tokens) const;

  EngineConfig config_;
  KvCache cache_;
  SimTime now_{};
  SimTime step_end_ = kNever;                       // kNever: no step in progress
  std::deque<std::unique_ptr<Sequence>> waiting_;   // arrival order, preempted ones in front
  std::vector<std::unique_ptr<Sequence>> running_;  // admission order
  EngineStats totals_;
};

}  // namespace epp::sim
