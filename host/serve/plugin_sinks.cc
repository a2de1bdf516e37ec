#include "host/serve/plugin_sinks.h"

#include <algorithm>

#include "host/base/str_cat.h"

namespace epp::serve {
namespace {

log::Level LevelOf(int32_t level) {
  switch (level) {
    case EPP_LOG_TRACE:
      return log::Level::kTrace;
    case EPP_LOG_DEBUG:
      return log::Level::kDebug;
    case EPP_LOG_WARN:
      return log::Level::kWarn;
    case EPP_LOG_ERROR:
      return log::Level::kError;
    default:
      return log::Level::kInfo;
  }
}

}  // namespace

bool PluginLog::Enabled(int32_t level) noexcept { return log::Enabled(LevelOf(level), "plugin"); }

void PluginLog::Log(std::string_view type, std::string_view name, int32_t level,
                    std::string_view message) noexcept {
  const std::string component = StrCat("plugin.", name);
  if (!log::Enabled(LevelOf(level), component)) return;
  log::Site* site = nullptr;
  {
    std::lock_guard lock(mutex_);
    site = &sites_[component];
  }
  log::Write(LevelOf(level), *site, false, component, message, {{"type", type}}, "plugin", 0);
}

absl::StatusOr<uint64_t> PluginMetrics::Register(const loader::MetricSpec& spec) noexcept {
  const telemetry::FamilySpec family{
      .name = spec.name, .help = spec.help, .labels = spec.label_names, .buckets = spec.bounds};
  Family made;
  if (spec.kind == EPP_METRIC_COUNTER) {
    const auto counters = registry_->Counters(family);
    if (!counters.ok()) return counters.status();
    made = *counters;
  } else if (spec.kind == EPP_METRIC_GAUGE) {
    const auto gauges = registry_->Gauges(family);
    if (!gauges.ok()) return gauges.status();
    made = *gauges;
  } else {
    const auto histograms = registry_->Histograms(family);
    if (!histograms.ok()) return histograms.status();
    made = *histograms;
  }
  std::lock_guard lock(mutex_);
  const uint64_t number = families_.Append(made);
  if (number == 0) return absl::ResourceExhaustedError("too many metrics");
  return number;
}

uint64_t PluginMetrics::Series(uint64_t metric,
                               std::span<const std::string_view> label_values) noexcept {
  const Family* const family = families_.Find(metric);
  if (family == nullptr) return 0;
  std::string key = StrCat(metric);
  for (const std::string_view value : label_values) StrAppend(&key, "\x1f", value);
  {
    std::lock_guard lock(mutex_);
    const auto it = known_.find(key);
    if (it != known_.end()) return it->second;
  }
  const telemetry::LabelValues values(label_values.begin(), label_values.end());
  const Handle handle = std::visit([&](const auto& f) { return Handle(f.With(values)); }, *family);
  std::lock_guard lock(mutex_);
  const auto [it, fresh] = known_.try_emplace(std::move(key), 0);
  if (fresh) it->second = handles_.Append(handle);
  return it->second;
}

void PluginMetrics::Add(uint64_t series, double value) noexcept {
  const Handle* const handle = handles_.Find(series);
  if (handle == nullptr) return;
  if (const auto* counter = std::get_if<telemetry::Counter>(handle)) {
    // No counter lives to see more, and a double that is larger has no such integer.
    constexpr double kMost = 1e18;
    if (value > 0) counter->Add(static_cast<uint64_t>(std::min(value, kMost)));
  } else if (const auto* gauge = std::get_if<telemetry::Gauge>(handle)) {
    gauge->Set(value);
  } else {
    std::get<telemetry::Histogram>(*handle).Observe(value);
  }
}

}  // namespace epp::serve
