// Keeps the pool's members in a file for Envoy: a cluster with an EDS `path_config_source` then
// knows every endpoint that epp may pick, and can try another one when the picked one is dead.
//
// The file is a DiscoveryResponse in JSON with one ClusterLoadAssignment, replaced by rename, which
// is what Envoy watches for. Members are addresses; an endpoint with a host name is left out, as
// EDS resolves none. An endpoint is in the file from before the first frame that has it until after
// the last.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "host/pool/pool.h"

namespace epp::serve {

class EnvoyEndpoints final : public pool::PoolListener {
 public:
  static constexpr std::string_view kCluster = "picked_endpoint";

  explicit EnvoyEndpoints(std::string path) : path_(std::move(path)) {}
  ~EnvoyEndpoints() override;

  // Writes the file now, and from now on after every change, on a thread of its own. Call when the
  // pool has told of its first endpoints.
  void Start();

  void EndpointUpserted(const pool::Endpoint& endpoint) override;
  void EndpointRemoved(const pool::Endpoint& endpoint) override;

  // Why the file is not what it should be; empty when it is. Threads: any.
  std::string problem() const;

 private:
  void Run();
  void Write(std::unique_lock<std::mutex>& lock);

  const std::string path_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, std::pair<std::string, uint16_t>> members_;  // address and port, by id
  uint64_t version_ = 0;
  uint64_t written_ = 0;  // the version in the file
  bool stopping_ = false;
  std::string unresolved_;  // an endpoint that was left out
  std::string failure_;     // of the last write
  std::thread thread_;
};

}  // namespace epp::serve
