// Endpoints that joined, left or changed state, as log lines: at most one a second and kind.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "host/pool/pool.h"

namespace epp::serve {

class PoolLog final : public pool::PoolListener {
 public:
  void EndpointUpserted(const pool::Endpoint& endpoint) override;
  void EndpointRemoved(const pool::Endpoint& endpoint) override;

  // Compares the frame's states with those of the last call, and writes what gathered since.
  void Flush(const pool::Frame& frame);
  // State changes of any endpoint within the last minute, the busiest one's: flapping.
  uint32_t most_changes_a_minute(uint64_t now_ns) const;

 private:
  struct Gathered {
    uint32_t count = 0;
    std::string first;
  };
  struct Seen {
    std::string name;
    pool::EndpointState state = pool::EndpointState::kUnknown;
    std::vector<uint64_t> changes_ns;  // of the last minute
  };
  void Gather(const std::string& kind, const std::string& name);

  mutable std::mutex mutex_;
  std::map<std::string, Gathered> gathered_;  // by kind
  std::map<uint64_t, Seen> seen_;             // by endpoint id
};

}  // namespace epp::serve
