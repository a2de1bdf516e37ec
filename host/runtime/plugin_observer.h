// What happened in plugins, as metrics and logs. One per generation.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "host/scheduling/cycle.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::runtime {

class PluginObserver final : public scheduling::Observer {
 public:
  // `call_budget_ns`: calls that take longer are strikes, three in a minute switch the instance
  // off; 0: never.
  PluginObserver(const scheduling::Wiring& wiring, telemetry::EppMetrics* metrics,
                 uint64_t call_budget_ns);

  void Called(uint32_t worker, const scheduling::BoundPlugin& plugin, scheduling::Point point,
              uint64_t ns) override;
  void Failed(uint32_t worker, const scheduling::BoundPlugin& plugin, scheduling::Point point,
              epp_status status, std::string_view message) override;
  void BadScores(uint32_t worker, const scheduling::BoundPlugin& plugin, uint64_t count) override;

 private:
  static constexpr size_t kPoints = static_cast<size_t>(scheduling::Point::kResponseBody) + 1;
  struct Handles {
    std::array<telemetry::Aliased<telemetry::Histogram>, kPoints> seconds;
    std::array<telemetry::Counter, kPoints> errors;
    telemetry::Counter bad_scores;
    telemetry::Counter strikes;
    bool may_switch_off = false;
  };
  void Slow(const scheduling::BoundPlugin& plugin, scheduling::Point point, uint64_t ns);

  const uint64_t call_budget_ns_;
  std::vector<Handles> by_plugin_;  // by BoundPlugin::index
};

}  // namespace epp::runtime
