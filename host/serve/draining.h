// Which generations still exist, and which of them take too long to go.
//
// Threads: the config thread.
#pragma once

#include <cstdint>
#include <vector>

#include "host/runtime/generation.h"
#include "host/serve/conditions.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::serve {

class Draining {
 public:
  static constexpr uint64_t kStuckAfterNs = 60'000'000'000;

  // All borrowed; they outlive this.
  Draining(Conditions* conditions, telemetry::EppMetrics* metrics,
           uint64_t stuck_after_ns = kStuckAfterNs)
      : conditions_(conditions), metrics_(metrics), stuck_after_ns_(stuck_after_ns) {}

  // Every generation comes, the newest serves; then it goes when no request uses it any more.
  void Came(const runtime::Generation* generation, uint64_t now_ns);
  void Gone(const runtime::Generation* generation);

  // May a request run on this instance?
  bool Uses(const runtime::HeldInstance& held) const;

  // Updates the gauge and the condition "generation-stuck".
  void Look(uint64_t now_ns);

 private:
  struct Entry {
    const runtime::Generation* generation;
    uint64_t superseded_ns = 0;  // 0: the newest
  };

  Conditions* const conditions_;
  telemetry::EppMetrics* const metrics_;
  const uint64_t stuck_after_ns_;
  std::vector<Entry> entries_;  // oldest first
};

}  // namespace epp::serve
