// Lasting problems: said once when they have held for a while, reminded of, and said once when
// over. The same objects feed the log, `epp status`, the gauge epp_degraded and readiness.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "host/admin/status_view.h"
#include "host/base/clock.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::serve {

struct ConditionSpec {
  std::string_view code;
  uint64_t hold_ns = 0;  // how long it must last before it is said
};

// Threads: any.
class Conditions {
 public:
  Conditions(const Clock* clock, telemetry::EppMetrics* metrics, uint64_t repeat_ns);

  // The problem is there now, with this text; or it is not. Called again and again.
  void Set(const ConditionSpec& spec, bool present, std::string text = {});

  // Those that were said and are not over, oldest first.
  std::vector<admin::Warning> raised() const;

 private:
  struct State {
    std::string text;
    uint64_t since_ns = 0;  // monotonic; 0: absent
    uint64_t since_unix_ns = 0;
    uint64_t said_ns = 0;  // 0: not said yet
  };
  const Clock* clock_;
  telemetry::EppMetrics* metrics_;
  const uint64_t repeat_ns_;
  mutable std::mutex mutex_;
  std::map<std::string, State, std::less<>> states_;
};

}  // namespace epp::serve
