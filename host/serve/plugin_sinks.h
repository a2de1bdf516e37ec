// Where the logs and metrics of plugins go.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "host/base/number_table.h"
#include "host/loader/host_services.h"
#include "host/telemetry/log.h"
#include "host/telemetry/metrics.h"

namespace epp::serve {

// Lines of a plugin appear under the component "plugin.NAME".
class PluginLog final : public loader::LogSink {
 public:
  bool Enabled(int32_t level) noexcept override;
  void Log(std::string_view type, std::string_view name, int32_t level,
           std::string_view message) noexcept override;

 private:
  std::mutex mutex_;
  std::map<std::string, log::Site, std::less<>> sites_;  // a limit of its own for each instance
};

// Numbers that it never gave out are ignored, whatever a plugin makes of them.
class PluginMetrics final : public loader::MetricSink {
 public:
  explicit PluginMetrics(telemetry::Registry* registry) : registry_(registry) {}

  absl::StatusOr<uint64_t> Register(const loader::MetricSpec& spec) noexcept override;
  uint64_t Series(uint64_t metric,
                  std::span<const std::string_view> label_values) noexcept override;
  void Add(uint64_t series, double value) noexcept override;

 private:
  using Family =
      std::variant<telemetry::CounterFamily, telemetry::GaugeFamily, telemetry::HistogramFamily>;
  using Handle = std::variant<telemetry::Counter, telemetry::Gauge, telemetry::Histogram>;
  telemetry::Registry* registry_;
  std::mutex mutex_;
  NumberTable<Family> families_;
  NumberTable<Handle> handles_;                         // adding to one takes no lock
  std::map<std::string, uint64_t, std::less<>> known_;  // by family and label values
};

}  // namespace epp::serve
