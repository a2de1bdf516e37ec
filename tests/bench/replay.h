// Replays a request trace in simulated time: real scheduling (libraries, pool, exchanges) in front
// of modelled servers. See README.md.
//
// Scheduling sees the servers as it would in production: through metrics that are up to one scrape
// interval old, and through what it counts itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "host/config/diagnostics.h"
#include "tests/sim/engine.h"
#include "tests/sim/trace.h"

namespace epp::bench {

// What differs from one reload to the next, back and forth.
enum class ReloadChange : uint8_t {
  kNothing,  // the same text: every instance is taken over
  kUnused,   // a scorer that no profile uses comes and goes
  kState,    // prefix producers get a parameter that changes nothing, so that new instances take
             // over what the old ones have learned
};

struct ReplayOptions {
  uint32_t servers = 8;
  uint32_t small_servers = 0;  // of these, with half the cache and half the speed
  double time_scale = 1;       // 2: arrivals twice as fast
  uint64_t scrape_ms = 50;     // age that metrics may have
  std::string plugins_dir;     // empty: lib/epp/plugins beside the executable's bin
  uint64_t seed = 0;           // of everything random; 0: the system's
  size_t reload_every = 0;     // requests; 0: never
  ReloadChange reload_change = ReloadChange::kNothing;
  sim::EngineConfig engine;  // of the servers that are not small

  ReplayOptions();
};

struct ReplayResult {
  size_t requests = 0;  // that got a first token
  size_t rejected = 0;  // that no server could ever hold
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of those, found in the server's cache
  double ttft_mean_ms = 0;
  double ttft_p50_ms = 0;
  double ttft_p90_ms = 0;
  double ttft_p99_ms = 0;
  double skew_requests = 0;  // busiest server over the mean
  double skew_tokens = 0;
  uint64_t preemptions = 0;
  double simulated_s = 0;
  size_t reloads = 0;

  double hit_rate() const {
    return prompt_tokens ? static_cast<double>(cached_tokens) / static_cast<double>(prompt_tokens)
                         : 0;
  }
};

// Errors: what the config is refused for, or the first request that could not be placed.
absl::StatusOr<ReplayResult> RunReplay(std::shared_ptr<const config::SourceText> config,
                                       const std::vector<sim::TraceRequest>& trace,
                                       const ReplayOptions& options);

}  // namespace epp::bench
