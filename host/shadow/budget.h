// The share of a worker's time that a shadow may take.
#pragma once

#include <cstdint>

#include "host/base/clock.h"

namespace epp::shadow {

// An account that fills with `share` of the time that passes, up to what a second gives, and may be
// overdrawn by one piece of work. Threads: one, the worker's.
class Budget {
 public:
  // `share` of one thread, in [0, 1].
  explicit Budget(double share);

  // Whether there is anything left at `now_ns` (monotonic).
  bool Admit(uint64_t now_ns);
  void Charge(uint64_t ns);

 private:
  const double share_;
  const double most_ns_;
  double left_ns_;
  uint64_t last_ns_ = 0;  // 0: before the first call
};

// Measures one piece of work on the calling thread.
class Meter {
 public:
  explicit Meter(const Clock* clock);

  struct Took {
    uint64_t cpu_ns = 0;
    // What to charge: the CPU time, or the time that the thread was held up when it was much more,
    // for work that sleeps delays requests as well.
    uint64_t charge_ns = 0;
  };
  Took Stop() const;

 private:
  const Clock* const clock_;
  const uint64_t cpu_ns_;
  const uint64_t mono_ns_;
};

}  // namespace epp::shadow
