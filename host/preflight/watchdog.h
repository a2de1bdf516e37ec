// Looks for calls of plugins that do not return.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/loader/guard.h"

namespace epp::preflight {

struct StuckCall {
  loader::Sighting call;
  uint64_t for_ns = 0;
  bool first = false;  // not seen before
};

// Threads: one.
class Watchdog {
 public:
  // A call counts as stuck after `stuck_ns`, seen twice.
  explicit Watchdog(uint64_t stuck_ns) : stuck_ns_(stuck_ns) {}

  // The calls that are stuck now. Their instances are marked, so that nobody else goes in; those
  // of calls that returned after all serve again where requests cannot do without them.
  std::vector<StuckCall> Look(uint64_t now_ns);

 private:
  struct Known {
    loader::Sighting call;
    bool told = false;
  };
  const uint64_t stuck_ns_;
  std::vector<Known> known_;
};

// "plugin "x" (type), library l (sha256 ...), epp.scorer/1".
std::string Describe(const loader::Sighting& call);

}  // namespace epp::preflight
