#include "host/serve/pool_log.h"

#include <algorithm>
#include <utility>

#include "host/admin/pool_view.h"
#include "host/base/str_cat.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr uint64_t kMinute = 60'000'000'000;

std::string NameOf(const pool::Endpoint& endpoint) {
  const epp_str name = endpoint.abi().name;
  return {name.data, name.size};
}

}  // namespace

void PoolLog::Gather(const std::string& kind, const std::string& name) {
  Gathered& gathered = gathered_[kind];
  if (gathered.count++ == 0) gathered.first = name;
}

void PoolLog::EndpointUpserted(const pool::Endpoint& endpoint) {
  std::lock_guard lock(mutex_);
  const auto [it, fresh] = seen_.try_emplace(endpoint.abi().id);
  if (!fresh) return;
  it->second.name = NameOf(endpoint);
  Gather("endpoint joined", it->second.name);
}

void PoolLog::EndpointRemoved(const pool::Endpoint& endpoint) {
  std::lock_guard lock(mutex_);
  seen_.erase(endpoint.abi().id);
  Gather("endpoint left", NameOf(endpoint));
}

void PoolLog::Flush(const pool::Frame& frame) {
  std::map<std::string, Gathered> lines;
  {
    std::lock_guard lock(mutex_);
    for (size_t i = 0; i < frame.size(); ++i) {
      const auto it = seen_.find(frame.endpoints()[i]->id);
      if (it == seen_.end() || it->second.state == frame.states()[i]) continue;
      it->second.state = frame.states()[i];
      std::vector<uint64_t>& changes = it->second.changes_ns;
      changes.push_back(frame.created_ns());
      std::erase_if(changes, [&](uint64_t at) { return at + kMinute < frame.created_ns(); });
      Gather(StrCat("endpoint is ", admin::StateName(it->second.state)), it->second.name);
    }
    lines.swap(gathered_);
  }
  for (const auto& [kind, gathered] : lines) {
    EPP_LOG_EXEMPT(kInfo, "pool", kind, {{"endpoint", gathered.first}, {"count", gathered.count}});
  }
}

uint32_t PoolLog::most_changes_a_minute(uint64_t now_ns) const {
  std::lock_guard lock(mutex_);
  uint32_t most = 0;
  for (const auto& [id, seen] : seen_) {
    const auto recent = std::count_if(seen.changes_ns.begin(), seen.changes_ns.end(),
                                      [&](uint64_t at) { return at + kMinute >= now_ns; });
    most = std::max(most, static_cast<uint32_t>(recent));
  }
  return most;
}

}  // namespace epp::serve
