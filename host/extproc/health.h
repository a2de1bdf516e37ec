// grpc.health.v1 on a port of its own, always plaintext.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "host/extproc/options.h"

namespace epp::extproc {

inline constexpr std::string_view kExtProcService = "envoy.service.ext_proc.v3.ExternalProcessor";

// What health depends on. Threads: any, concurrently.
class HealthState {
 public:
  virtual ~HealthState() = default;
  virtual bool Live() const = 0;        // the pool is known
  virtual bool ProtocolOk() const = 0;  // every parser speaks the pool's protocol, or pool unknown
  virtual bool PluginsReady() const = 0;  // asked only where readiness counts
  virtual bool Draining() const = 0;
  virtual bool Leader() const = 0;  // asked only with leader election
};

// Numbers are those of HealthCheckResponse.ServingStatus.
enum class HealthStatus : uint8_t {
  kUnknown = 0,
  kServing = 1,
  kNotServing = 2,
  kServiceUnknown = 3
};

// The answer to a check of `service`. Without leader election any name at all is answered, because
// deployed probes ask for names that nothing defines; with it, unknown names are kServiceUnknown.
HealthStatus EvaluateHealth(const HealthState& state, bool leader_election,
                            std::string_view service);

// All services that can be listed, with their answers.
std::vector<std::pair<std::string, HealthStatus>> ListHealth(const HealthState& state,
                                                             bool leader_election);

class HealthServer {
 public:
  // Serves until destroyed. `state` outlives the server.
  // Errors: Unavailable when the port cannot be opened, naming who holds it.
  static absl::StatusOr<std::unique_ptr<HealthServer>> Start(const HealthOptions& options,
                                                             const HealthState& state);
  ~HealthServer();

  uint16_t port() const;
  // Takes no new calls, waits for running ones at most this long. Once.
  void Stop(absl::Duration finish_within);

 private:
  struct Impl;
  explicit HealthServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace epp::extproc
