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
  families_.push_back(made);
  return reinterpret_cast<uint64_t>(&families_.back());
}

uint64_t PluginMetrics::Series(uint64_t metric,
                               std::span<const std::string_view> label_values) noexcept {
  std::string key = StrCat(metric);
  for (const std::string_view value : label_values) StrAppend(&key, "\x1f", value);
  {
    std::lock_guard lock(mutex_);
    const auto it = known_.find(key);
    if (it != known_.end()) return it->second;
  }
  const telemetry::LabelValues values(label_values.begin(), label_values.end());
  const auto& family = *reinterpret_cast<const Family*>(metric);
  const Handle handle = std::visit([&](const auto& f) { return Handle(f.With(values)); }, family);
  std::lock_guard lock(mutex_);
  handles_.push_back(handle);
  const uint64_t id = reinterpret_cast<uint64_t>(&handles_.back());
  return known_.try_emplace(std::move(key), id).first->second;
}

void PluginMetrics::Add(uint64_t series, double value) noexcept {
  const auto& handle = *reinterpret_cast<const Handle*>(series);
  if (const auto* counter = std::get_if<telemetry::Counter>(&handle)) {
    if (value > 0) counter->Add(static_cast<uint64_t>(value));
  } else if (const auto* gauge = std::get_if<telemetry::Gauge>(&handle)) {
    gauge->Set(value);
  } else {
    std::get<telemetry::Histogram>(handle).Observe(value);
  }
}

}  // namespace epp::serve
