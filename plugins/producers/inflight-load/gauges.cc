#include "gauges.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace epp::inflight {
namespace {

constexpr std::string_view kOther = "other";
constexpr size_t kMaxFairnessBytes = 256;  // of a client's header, as a label

std::string KeyOf(std::string_view endpoint, std::string_view fairness_id, int32_t priority) {
  std::string key(endpoint);
  key.append(1, '\0').append(fairness_id).append(1, '\0').append(std::to_string(priority));
  return key;
}

}  // namespace

struct Gauges::Entry {
  Group* group = nullptr;
  epp::Series requests;
  epp::Series tokens;
  Load load;
  uint64_t holders = 0;
};

Gauges::Gauges(const epp::Context& ctx, size_t max_entries)
    : max_per_group_(std::max<size_t>(max_entries / kGroups, 2)), producer_(ctx.name()) {
  constexpr std::array<std::string_view, 5> kLabels{"endpoint_name", "namespace", "producer_name",
                                                    "fairness_id", "priority"};
  const epp_host* const host = ctx.host().raw();
  requests_ = epp::Metric(host, EPP_METRIC_GAUGE, "llm_d_epp_inflight_requests",
                          "Requests sent to the endpoint that have not ended.", kLabels);
  tokens_ = epp::Metric(host, EPP_METRIC_GAUGE, "llm_d_epp_inflight_tokens",
                        "Tokens of the requests that the endpoint still works on.", kLabels);
}

Gauges::~Gauges() = default;

Gauges::Entry* Gauges::Add(std::string_view endpoint, std::string_view fairness_id,
                           int32_t priority, Load load) {
  fairness_id = fairness_id.substr(0, kMaxFairnessBytes);
  Group& group = groups_[std::hash<std::string_view>()(endpoint) % kGroups];
  const std::lock_guard lock(group.mu);
  Entry* entry = Find(group, endpoint, fairness_id, priority);
  if (entry == nullptr) entry = Find(group, endpoint, kOther, priority);
  if (entry == nullptr) return nullptr;
  if (entry->holders++ == 0) --group.idle;
  entry->load.requests += load.requests;
  entry->load.tokens += load.tokens;
  Publish(*entry);
  return entry;
}

void Gauges::Subtract(Entry* entry, Load load, bool last) {
  if (entry == nullptr) return;
  const std::lock_guard lock(entry->group->mu);
  entry->load.requests -= load.requests;
  entry->load.tokens -= load.tokens;
  Publish(*entry);
  if (last && --entry->holders == 0) ++entry->group->idle;
}

// Needs the group's lock. Makes the entry when there is room for it.
Gauges::Entry* Gauges::Find(Group& group, std::string_view endpoint, std::string_view fairness_id,
                            int32_t priority) {
  std::string key = KeyOf(endpoint, fairness_id, priority);
  const auto found = group.entries.find(key);
  if (found != group.entries.end()) return &found->second;
  // The last quarter is kept for "other".
  const size_t limit = fairness_id == kOther ? max_per_group_ : max_per_group_ / 4 * 3 + 1;
  if (group.entries.size() >= limit) {
    // A sweep looks at every entry, so it must be worth it.
    if (group.idle * 8 < group.entries.size()) return nullptr;
    std::erase_if(group.entries, [](const auto& e) { return e.second.holders == 0; });
    group.idle = 0;
  }
  Entry& made = group.entries[std::move(key)];
  ++group.idle;
  made.group = &group;
  made.requests = SeriesOf(requests_, endpoint, fairness_id, priority);
  made.tokens = SeriesOf(tokens_, endpoint, fairness_id, priority);
  return &made;
}

epp::Series Gauges::SeriesOf(const epp::Metric& metric, std::string_view endpoint,
                             std::string_view fairness_id, int32_t priority) const {
  const size_t slash = endpoint.find('/');
  const bool split = slash != endpoint.npos;
  const std::string_view name_space = split ? endpoint.substr(0, slash) : "";
  const std::string_view name = split ? endpoint.substr(slash + 1) : endpoint;
  const std::string level = std::to_string(priority);
  const std::array<std::string_view, 5> labels{name, name_space, producer_, fairness_id, level};
  return metric.With(labels);
}

// Under the group's lock, so that an older value never overwrites a newer one.
void Gauges::Publish(const Entry& entry) const {
  entry.requests.Add(static_cast<double>(entry.load.requests));
  entry.tokens.Add(static_cast<double>(entry.load.tokens));
}

}  // namespace epp::inflight
