// The services of plugins ("epp.service/1"): started before their generation serves, drained when a
// later one does without them, stopped when nothing runs in them any more.
//
// Threads: the config thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "host/runtime/generation.h"

namespace epp::runtime {

class Services {
 public:
  Services() = default;
  // Stops what is left.
  ~Services() { StopAll(); }
  Services(const Services&) = delete;
  Services& operator=(const Services&) = delete;

  // Starts the services of `next` that do not run yet, beside those of the serving generation.
  // Error: the first that fails, by name; the others that were started are stopped again.
  absl::Status Start(const Generation& next);
  // `serving` has taken over: what it does not share drains.
  void Retire(const Generation& serving, uint64_t deadline_ns);
  // Everything drains; the process ends.
  void DrainAll(uint64_t deadline_ns);
  // Stops those that are idle or overdue.
  void Look(uint64_t now_ns);
  void StopAll();

  // What runs in all of them; a service that does not say counts as one.
  uint64_t running() const;
  bool empty() const { return entries_.empty(); }
  // Some are being waited for, so Look is wanted often.
  bool draining() const;

 private:
  struct Entry {
    std::shared_ptr<HeldInstance> held;
    uint64_t deadline_ns = 0;  // 0: it serves
  };

  static void Stop(const HeldInstance& held);
  static uint64_t Running(const HeldInstance& held);
  static void Drain(Entry& entry, uint64_t deadline_ns);

  std::vector<Entry> entries_;  // in the order of their start
};

// Whether any of its plugins is a service.
bool HasService(const Generation& generation);

}  // namespace epp::runtime
