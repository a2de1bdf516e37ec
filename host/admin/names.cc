#include "host/admin/names.h"

#include <utility>

#include "host/base/str_cat.h"

namespace epp::admin {

void Names::EndpointUpserted(const pool::Endpoint& endpoint) {
  const epp_endpoint& abi = endpoint.abi();
  std::lock_guard lock(mutex_);
  endpoints_[abi.id] = {std::string(abi.name.data, abi.name.size),
                        std::string(abi.host_port.data, abi.host_port.size)};
}

void Names::EndpointRemoved(const pool::Endpoint& endpoint) {
  std::lock_guard lock(mutex_);
  gone_.push_back(endpoint.abi().id);
  if (gone_.size() > kKeepGone) {
    endpoints_.erase(gone_.front());
    gone_.pop_front();
  }
}

void Names::Add(GenerationNames names) {
  std::lock_guard lock(mutex_);
  const uint64_t number = names.number;
  generations_[number] = std::make_shared<const GenerationNames>(std::move(names));
  if (generations_.size() > kKeepGenerations) generations_.erase(generations_.begin());
}

EndpointName Names::Endpoint(uint64_t id) const {
  std::lock_guard lock(mutex_);
  const auto it = endpoints_.find(id);
  if (it == endpoints_.end()) return {StrCat("endpoint-", id), ""};
  return it->second;
}

std::shared_ptr<const GenerationNames> Names::Generation(uint64_t number) const {
  std::lock_guard lock(mutex_);
  const auto it = generations_.find(number);
  return it == generations_.end() ? nullptr : it->second;
}

}  // namespace epp::admin
