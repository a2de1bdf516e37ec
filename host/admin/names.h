// The names behind the numbers in records: endpoints by id, plugins and profiles by generation.
//
// Outlives what it names for a while, so that a record of a minute ago still reads well. Threads:
// any.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "host/pool/pool.h"

namespace epp::admin {

struct PluginNames {
  std::string name;
  std::string type;
  std::string first_column;  // key of its first endpoint column, "" for none
};

struct GenerationNames {
  uint64_t number = 0;
  std::vector<PluginNames> plugins;  // by index
  std::vector<std::string> profiles;
};

struct EndpointName {
  std::string name;  // "NAMESPACE/NAME"
  std::string host_port;
};

class Names final : public pool::PoolListener {
 public:
  void EndpointUpserted(const pool::Endpoint& endpoint) override;
  void EndpointRemoved(const pool::Endpoint& endpoint) override;

  void Add(GenerationNames names);

  // Never fails: an unknown endpoint reads as "endpoint-ID".
  EndpointName Endpoint(uint64_t id) const;
  // Null when the generation is forgotten.
  std::shared_ptr<const GenerationNames> Generation(uint64_t number) const;

 private:
  static constexpr size_t kKeepGone = 4096;
  static constexpr size_t kKeepGenerations = 64;

  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, EndpointName> endpoints_;
  std::deque<uint64_t> gone_;  // oldest first
  std::map<uint64_t, std::shared_ptr<const GenerationNames>> generations_;
};

}  // namespace epp::admin
