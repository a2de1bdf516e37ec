// Watches a new configuration for a while after it began to serve, and says when it must go: when
// epp itself fails or rejects requests, or sends too many of them to one endpoint.
//
// Judges by the decision records. Limits that the former configuration was beyond already are not
// held against the new one: going back would not help.
//
// Threads: the config thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "host/telemetry/decisions.h"

namespace epp::serve {

struct GuardOptions {
  bool enabled = false;
  uint64_t window_ns = 120'000'000'000;
  double max_errors = 0.01;  // share of requests
  double max_skew = 3.0;     // busiest by mean endpoint
};

// Requests of a stretch of time.
struct Tally {
  uint64_t requests = 0;                // all of them
  uint64_t errors = 0;                  // that epp failed or rejected; a lower bound under floods
  uint64_t sampled = 0;                 // those whose endpoint is known
  std::map<uint64_t, uint64_t> picked;  // endpoint id -> requests, of the sampled ones

  void Add(const Tally& other);
  double error_ratio() const;
  // Of the busiest endpoint by the mean of `endpoints`; 0 while too few requests say anything.
  double skew(size_t endpoints) const;
};

// What the records tell of the requests since the last call. Records that were overwritten in
// between are missing from the sample, not from the count.
class Tallier {
 public:
  explicit Tallier(const telemetry::DecisionRings* rings) : rings_(rings) {}
  Tally Next();

 private:
  const telemetry::DecisionRings* rings_;
  uint64_t seen_ = 0;  // number of the last decision
};

class Guard {
 public:
  static constexpr uint64_t kMinErrors = 5;     // fewer are chance
  static constexpr uint64_t kMinSampled = 200;  // so are fewer picks

  explicit Guard(const GuardOptions& options) : options_(options) {}

  // Of the requests in a second or so, with the number of endpoints in the pool. When a limit is
  // crossed: the numbers, as text; watching ends then.
  std::optional<std::string> Observe(const Tally& tally, size_t endpoints, uint64_t now_ns);

  // A new configuration serves. Does nothing unless enabled.
  void Arm(uint64_t generation, uint64_t now_ns);
  void Disarm() { generation_ = 0; }

  // The generation that is watched; 0 for none.
  uint64_t watched() const { return generation_; }

 private:
  static constexpr size_t kBaseline = 60;  // calls

  const GuardOptions options_;
  uint64_t generation_ = 0;
  uint64_t until_ns_ = 0;
  Tally now_;         // since Arm
  Tally before_[2];   // the last kBaseline to 2 * kBaseline calls without a watch, in two parts
  size_t calls_ = 0;  // in before_[0]
  double former_errors_ = 0;
  double former_skew_ = 0;
  size_t endpoints_ = 0;
};

}  // namespace epp::serve
