#include "host/serve/guard.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "host/serve/traffic_meter.h"

namespace epp::serve {

namespace {

// Answered by us. Also a rejection: a filter that drops every endpoint makes 429s.
bool Failed(const telemetry::DecisionRecord& record) {
  return record.outcome == telemetry::Outcome::kRejected || IsOwnError(record);
}

}  // namespace

void Tally::Add(const Tally& other) {
  requests += other.requests;
  errors += other.errors;
  sampled += other.sampled;
  for (const auto& [endpoint, count] : other.picked) picked[endpoint] += count;
}

double Tally::error_ratio() const {
  if (requests == 0 || errors < Guard::kMinErrors) return 0;
  return std::min(1.0, static_cast<double>(errors) / static_cast<double>(requests));
}

double Tally::skew(size_t endpoints) const {
  if (sampled < Guard::kMinSampled || endpoints < 2) return 0;
  uint64_t busiest = 0;
  for (const auto& [endpoint, count] : picked) busiest = std::max(busiest, count);
  // Endpoints may have left since.
  const size_t all = std::max(endpoints, picked.size());
  return static_cast<double>(busiest) * static_cast<double>(all) / static_cast<double>(sampled);
}

Tally Tallier::Next() {
  Tally tally;
  if (rings_->total() == seen_) return tally;
  uint64_t newest = seen_;
  rings_->Visit([&](const telemetry::DecisionRecord& record) {
    if (record.number <= seen_) return false;
    newest = std::max(newest, record.number);
    if (Failed(record)) ++tally.errors;
    const bool picked =
        record.primary < record.profile_count && record.profiles[record.primary].pick_count > 0;
    if (picked) {
      ++tally.sampled;
      ++tally.picked[record.profiles[record.primary].picks[0]];
    }
    return true;
  });
  tally.requests = newest - seen_;
  seen_ = newest;
  return tally;
}

void Guard::Arm(uint64_t generation, uint64_t now_ns) {
  if (!options_.enabled) return;
  // While one is watched, what was before it stays the measure.
  if (generation_ == 0) {
    Tally former = before_[0];
    former.Add(before_[1]);
    former_errors_ = former.error_ratio();
    former_skew_ = former.skew(endpoints_);
  }
  before_[0] = before_[1] = {};
  calls_ = 0;
  generation_ = generation;
  until_ns_ = now_ns + options_.window_ns;
  now_ = {};
}

std::optional<std::string> Guard::Observe(const Tally& tally, size_t endpoints, uint64_t now_ns) {
  if (!options_.enabled) return std::nullopt;
  endpoints_ = endpoints;
  if (generation_ == 0) {
    if (++calls_ > kBaseline) {
      before_[1] = std::move(before_[0]);
      before_[0] = {};
      calls_ = 1;
    }
    before_[0].Add(tally);
    return std::nullopt;
  }
  now_.Add(tally);
  std::string why;
  const double errors = now_.error_ratio();
  const double skew = now_.skew(endpoints);
  if (errors > options_.max_errors && former_errors_ <= options_.max_errors) {
    why = absl::StrFormat("%d of %d requests (%.3g %%) failed inside epp, limit %.3g %%",
                          now_.errors, now_.requests, errors * 100, options_.max_errors * 100);
  } else if (skew > options_.max_skew && former_skew_ <= options_.max_skew) {
    why = absl::StrFormat(
        "the busiest of %d endpoints got %.2f times the mean of %d requests, limit %.2f", endpoints,
        skew, now_.sampled, options_.max_skew);
  }
  if (why.empty() && now_ns < until_ns_) return std::nullopt;
  generation_ = 0;
  if (why.empty()) {
    // It stood the test, and is the measure of the next.
    before_[1] = std::move(now_);
    return std::nullopt;
  }
  return why;
}

}  // namespace epp::serve
