// What instances have learned, carried to their successors (epp.state/1).
//
// A successor is an instance of the new generation with the name and the type of one of the former
// generation that it does not share. Nothing that goes wrong here stops a reload: the successor
// then starts empty and is named in the report.
//
// Following: where both sides ask for it, the pair stays known, and its state is carried again and
// again until no request can change it any more. Pairs are followed oldest first, so that in a
// chain of generations that still run what the first one forgets reaches the last in one go.
//
// Threads: the config thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "host/runtime/generation.h"

namespace epp::runtime {

// An instance that starts empty although its predecessor had learned something.
struct LostState {
  std::string plugin;
  std::string type;
  std::string why;
};

struct StateReport {
  size_t carried = 0;  // instances
  uint64_t bytes = 0;
  std::vector<LostState> lost;
  std::vector<std::string> plugins;  // the carried ones by name
};

class StateCarrier {
 public:
  static constexpr size_t kMaxBytes = size_t{1} << 30;  // of one instance

  explicit StateCarrier(telemetry::EppMetrics* metrics, size_t max_bytes = kMaxBytes)
      : metrics_(metrics), max_bytes_(max_bytes) {}

  // Call it when `next` knows the pool's endpoints, right before it serves.
  StateReport Carry(const Generation& former, const Generation& next);
  // As Carry, for a generation that looks on while `from` goes on: what has to be followed stays
  // behind, and an instance that begins empty is nobody's loss.
  StateReport Copy(const Generation& from, const Generation& looker_on) const;

  // Carries the state of all pairs that are followed. in_use: may requests still run on the
  // instance? A pair whose old side they left is carried once more and then forgotten.
  void Follow(absl::FunctionRef<bool(const HeldInstance&)> in_use);
  bool following() const { return !pairs_.empty(); }

  // Lets go of all instances.
  void Clear() { pairs_.clear(); }

 private:
  struct Pair {
    std::shared_ptr<HeldInstance> from;
    std::shared_ptr<HeldInstance> to;
  };

  void Lost(const HeldInstance& held, std::string why, StateReport& report) const;

  telemetry::EppMetrics* const metrics_;
  const size_t max_bytes_;
  std::vector<Pair> pairs_;  // oldest first
};

}  // namespace epp::runtime
