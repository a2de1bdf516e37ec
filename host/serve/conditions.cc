#include "host/serve/conditions.h"

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "host/base/quantity.h"
#include "host/telemetry/log.h"

namespace epp::serve {

Conditions::Conditions(const Clock* clock, telemetry::EppMetrics* metrics, uint64_t repeat_ns)
    : clock_(clock), metrics_(metrics), repeat_ns_(repeat_ns) {}

void Conditions::Set(const ConditionSpec& spec, bool present, std::string text) {
  const uint64_t now = clock_->mono_ns();
  std::lock_guard lock(mutex_);
  State& state = states_[std::string(spec.code)];
  if (!present) {
    if (state.said_ns != 0) {
      metrics_->degraded.With({spec.code}).Set(0);
      EPP_LOG_EXEMPT(kInfo, "main", "problem is over",
                     {{"code", spec.code},
                      {"lasted", FormatGoDuration(absl::Nanoseconds(now - state.since_ns))}});
    }
    state = {};
    return;
  }
  if (state.since_ns == 0) {
    state.since_ns = now;
    state.since_unix_ns = clock_->unix_ns();
  }
  state.text = std::move(text);
  if (state.said_ns == 0 ? now - state.since_ns < spec.hold_ns : now - state.said_ns < repeat_ns_) {
    return;
  }
  const bool reminder = state.said_ns != 0;
  state.said_ns = now;
  metrics_->degraded.With({spec.code}).Set(1);
  EPP_LOG_EXEMPT(kWarn, "main", reminder ? "problem goes on" : "problem",
                 {{"code", spec.code}, {"text", state.text}});
}

std::vector<admin::Warning> Conditions::raised() const {
  std::vector<admin::Warning> out;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [code, state] : states_) {
      if (state.said_ns != 0) out.push_back({code, state.text, state.since_unix_ns});
    }
  }
  std::sort(out.begin(), out.end(), [](const admin::Warning& a, const admin::Warning& b) {
    return a.since_unix_ns < b.since_unix_ns;
  });
  return out;
}

}  // namespace epp::serve
