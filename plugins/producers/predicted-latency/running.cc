#include "plugins/producers/predicted-latency/running.h"

#include <algorithm>

namespace epp::latency {

Running::Load Running::Read(uint64_t endpoint) {
  const std::lock_guard lock(mutex_);
  const auto it = limits_.find(endpoint);
  if (it == limits_.end()) return {};
  return {static_cast<int64_t>(it->second.size()), *it->second.begin()};
}

uint64_t Running::Add(uint64_t endpoint, double limit_ms, uint64_t now_ns) {
  if (!(limit_ms >= 0)) return 0;
  const std::lock_guard lock(mutex_);
  while (!requests_.empty() && requests_.begin()->second.expires_ns <= now_ns) {
    Take(requests_.begin());
  }
  limits_[endpoint].insert(limit_ms);
  requests_.emplace(++last_, Request{endpoint, limit_ms, now_ns + ttl_ns_});
  return last_;
}

void Running::Remove(uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (const auto it = requests_.find(number); it != requests_.end()) Take(it);
}

void Running::Forget(uint64_t endpoint) {
  const std::lock_guard lock(mutex_);
  limits_.erase(endpoint);
}

void Running::Take(std::map<uint64_t, Request>::iterator it) {
  const auto of = limits_.find(it->second.endpoint);
  if (of != limits_.end()) {
    const auto limit = of->second.find(it->second.limit_ms);
    if (limit != of->second.end()) of->second.erase(limit);
    if (of->second.empty()) limits_.erase(of);
  }
  requests_.erase(it);
}

}  // namespace epp::latency
