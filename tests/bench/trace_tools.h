// What replays need of a trace beside its requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/trace.h"

namespace epp::bench {

// {"model":"demo","prompt":[...]} with token ids that agree where the trace's blocks agree.
std::string TokenBody(const sim::TraceRequest& request);

// Recorders that round times to seconds make bursts that never were: requests of one moment are
// spread evenly up to the next. `trace` is in order of arrival.
void SpreadBursts(std::vector<sim::TraceRequest>& trace);

// The share of prompt tokens that one LRU cache of `capacity_blocks` trace blocks would serve, were
// every request done at once: a bound for any placement on caches of that total size.
double CacheBound(const std::vector<sim::TraceRequest>& trace, size_t capacity_blocks);

struct ChatTrace {
  size_t conversations = 48;
  size_t turns = 4;          // of each conversation
  size_t shared_blocks = 1;  // the system prompt, one of a few
  size_t turn_blocks = 3;    // that a question and its answer add
  uint32_t output_tokens = 60;
  uint64_t gap_ms = 60;  // between two requests, on average
  uint64_t seed = 1;
};

// Conversations whose every turn repeats the ones before it, interleaved at random. The same
// numbers give the same trace.
std::vector<sim::TraceRequest> MakeChatTrace(const ChatTrace& shape);

}  // namespace epp::bench
