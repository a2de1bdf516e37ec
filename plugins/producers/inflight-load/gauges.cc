#include "gauges.h"

#include <algorithm>
#include <charconv>
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
  Load inherited;
  bool inherits = false;  // counts as a holder
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
  Group& group = GroupOf(endpoint);
  const std::lock_guard lock(group.mu);
  Entry* const entry = FindOrOther(group, endpoint, fairness_id, priority);
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

void Gauges::Inherit(const std::vector<Known>& loads) {
  const auto is_zero = [](const Load& l) { return l.requests == 0 && l.tokens == 0; };
  std::array<std::vector<const Known*>, kGroups> by_group;
  for (const Known& known : loads) {
    by_group[static_cast<size_t>(&GroupOf(known.endpoint) - groups_.data())].push_back(&known);
  }
  for (size_t g = 0; g < kGroups; ++g) {
    Group& group = groups_[g];
    const std::lock_guard lock(group.mu);
    std::vector<Entry*> before;
    for (auto& [key, entry] : group.entries) {
      if (!entry.inherits) continue;
      before.push_back(&entry);
      entry.inherited = {};
    }
    for (const Known* const known : by_group[g]) {
      if (is_zero(known->load)) continue;
      Entry* const entry = FindOrOther(group, known->endpoint, known->fairness_id, known->priority);
      if (entry == nullptr) continue;
      if (!entry->inherits && entry->holders++ == 0) --group.idle;
      entry->inherits = true;
      entry->inherited.requests += known->load.requests;
      entry->inherited.tokens += known->load.tokens;
      Publish(*entry);
    }
    for (Entry* const entry : before) {
      if (!is_zero(entry->inherited)) continue;
      entry->inherits = false;
      if (--entry->holders == 0) ++group.idle;
      Publish(*entry);
    }
  }
}

std::vector<Gauges::Known> Gauges::NonZero() const {
  std::vector<Known> out;
  for (const Group& group : groups_) {
    const std::lock_guard lock(group.mu);
    for (const auto& [key, entry] : group.entries) {
      const Load load{entry.load.requests + entry.inherited.requests,
                      entry.load.tokens + entry.inherited.tokens};
      if (load.requests == 0 && load.tokens == 0) continue;
      // The labels, as KeyOf joined them. A fairness id may hold a 0, the others do not.
      const size_t first = key.find('\0');
      const size_t last = key.rfind('\0');
      Known& known = out.emplace_back();
      known.endpoint = key.substr(0, first);
      known.fairness_id = key.substr(first + 1, last - first - 1);
      std::from_chars(key.data() + last + 1, key.data() + key.size(), known.priority);
      known.load = load;
    }
  }
  return out;
}

Gauges::Group& Gauges::GroupOf(std::string_view endpoint) {
  return groups_[std::hash<std::string_view>()(endpoint) % kGroups];
}

Gauges::Entry* Gauges::FindOrOther(Group& group, std::string_view endpoint,
                                   std::string_view fairness_id, int32_t priority) {
  Entry* const entry = Find(group, endpoint, fairness_id.substr(0, kMaxFairnessBytes), priority);
  return entry != nullptr ? entry : Find(group, endpoint, kOther, priority);
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
  entry.requests.Add(static_cast<double>(entry.load.requests + entry.inherited.requests));
  entry.tokens.Add(static_cast<double>(entry.load.tokens + entry.inherited.tokens));
}

}  // namespace epp::inflight
