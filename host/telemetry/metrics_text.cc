#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include "host/telemetry/metrics_internal.h"

namespace epp::telemetry::internal {
namespace {

// The serializer prints help as it is.
std::string EscapeHelp(const std::string& help) {
  std::string out;
  for (char c : help) {
    if (c == '\n') {
      out.append("\\n");
    } else if (c == '\\') {
      out.append("\\\\");
    } else {
      out.push_back(c);
    }
  }
  return out;
}

prometheus::MetricType TypeOf(Type type) {
  switch (type) {
    case Type::kCounter:
    case Type::kCounterCallback:
      return prometheus::MetricType::Counter;
    case Type::kHistogram:
      return prometheus::MetricType::Histogram;
    default:
      return prometheus::MetricType::Gauge;
  }
}

prometheus::ClientMetric ToMetric(const Snapshot& family, Snapshot::Row& row) {
  prometheus::ClientMetric metric;
  for (size_t i = 0; i < family.labels.size(); ++i) {
    metric.label.push_back({family.labels[i], std::move(row.values[i])});
  }
  switch (TypeOf(family.type)) {
    case prometheus::MetricType::Counter:
      metric.counter.value = row.value;
      break;
    case prometheus::MetricType::Histogram: {
      uint64_t total = 0;
      for (size_t i = 0; i < row.buckets.size(); ++i) {
        total += row.buckets[i];
        if (i < family.bounds.size()) metric.histogram.bucket.push_back({total, family.bounds[i]});
      }
      metric.histogram.sample_count = total;
      metric.histogram.sample_sum = row.sum;
      break;
    }
    default:
      metric.gauge.value = row.value;
  }
  return metric;
}

}  // namespace

std::string ToText(std::vector<Snapshot> families) {
  std::vector<prometheus::MetricFamily> out;
  out.reserve(families.size());
  for (Snapshot& family : families) {
    if (family.rows.empty()) continue;
    prometheus::MetricFamily& f = out.emplace_back();
    f.name = family.name;
    f.help = EscapeHelp(family.help);
    f.type = TypeOf(family.type);
    f.metric.reserve(family.rows.size());
    for (Snapshot::Row& row : family.rows) f.metric.push_back(ToMetric(family, row));
  }
  return prometheus::TextSerializer().Serialize(out);
}

}  // namespace epp::telemetry::internal
