#include "host/serve/traffic_meter.h"

#include <algorithm>
#include <vector>

namespace epp::serve {

bool IsOwnError(const telemetry::DecisionRecord& record) {
  switch (record.outcome) {
    case telemetry::Outcome::kRejected:
      return record.http_status == 503;
    case telemetry::Outcome::kError:
      return record.http_status >= 500;
    default:
      return false;
  }
}

void TrafficMeter::Sample(uint64_t now_ns) {
  std::lock_guard lock(mutex_);
  at_ns_[count_ % kSamples] = now_ns;
  total_[count_ % kSamples] = rings_->total();
  ++count_;
}

double TrafficMeter::requests_per_s() const {
  std::lock_guard lock(mutex_);
  if (count_ < 2) return 0;
  const size_t last = (count_ - 1) % kSamples;
  const size_t first = count_ <= kSamples ? 0 : count_ % kSamples;
  if (at_ns_[last] <= at_ns_[first]) return 0;
  return static_cast<double>(total_[last] - total_[first]) * 1e9 /
         static_cast<double>(at_ns_[last] - at_ns_[first]);
}

TrafficMeter::Recent TrafficMeter::recent() const {
  std::vector<uint32_t> times;
  size_t errors = 0;
  Recent out;
  rings_->Visit([&](const telemetry::DecisionRecord& record) {
    times.push_back(record.total_ns);
    errors += IsOwnError(record);
    out.running += record.outcome == telemetry::Outcome::kPending;
    return true;
  });
  if (times.empty()) return out;
  std::sort(times.begin(), times.end());
  const auto at = [&](double q) {
    return static_cast<double>(
               times[static_cast<size_t>(q * static_cast<double>(times.size() - 1))]) *
           1e-3;
  };
  out.p50_us = at(0.5);
  out.p99_us = at(0.99);
  out.own_error_ratio = static_cast<double>(errors) / static_cast<double>(times.size());
  return out;
}

}  // namespace epp::serve
