// Rates and quantiles for people, from counters that only grow.
#pragma once

#include <cstdint>
#include <mutex>

#include "host/telemetry/decisions.h"

namespace epp::serve {

// Answered by us, for a fault of ours.
bool IsOwnError(const telemetry::DecisionRecord& record);

// Sampled once a second or so; answers about the last minute. Threads: any.
class TrafficMeter {
 public:
  explicit TrafficMeter(const telemetry::DecisionRings* rings) : rings_(rings) {}

  void Sample(uint64_t now_ns);
  double requests_per_s() const;

  struct Recent {
    double p50_us = 0;
    double p99_us = 0;
    double own_error_ratio = 0;  // answered by us for a fault of ours, of the kept records
    int64_t running = 0;         // forwarded, no end seen
  };
  Recent recent() const;

 private:
  static constexpr size_t kSamples = 16;
  const telemetry::DecisionRings* rings_;
  mutable std::mutex mutex_;
  uint64_t at_ns_[kSamples] = {};
  uint64_t total_[kSamples] = {};
  size_t count_ = 0;
};

}  // namespace epp::serve
