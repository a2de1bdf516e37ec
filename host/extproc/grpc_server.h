// The ext-proc server on gRPC C++: one completion queue and one thread per worker.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "host/extproc/options.h"
#include "host/request/exchange.h"

namespace epp::extproc {

// Threads: all calls from any thread.
class GrpcServer {
 public:
  // Opens the port and serves until destroyed. `factory` outlives the server.
  // Errors: Unavailable when the port cannot be opened, naming who holds it; InvalidArgument or
  // NotFound for a certificate or TLS option that cannot be used.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const ServerOptions& options,
                                                           request::ExchangeFactory& factory);
  // As Stop.
  ~GrpcServer();

  uint16_t port() const;
  uint32_t workers() const;
  // Streams that are open now; approximate while they change.
  uint64_t open_streams() const;

  // Asks every worker for a sign of life; one that is stuck is not asked twice.
  // Cost: a wake-up of each worker.
  void Ping();
  // How often the slowest worker has given one.
  uint64_t rounds() const;

  // Serves on for `accept_for`, then takes no new streams, lets the running ones end for at most
  // `finish_within` (which may be infinite), and cancels the rest. Returns when all streams are
  // gone and the port is closed.
  void Drain(absl::Duration accept_for, absl::Duration finish_within);
  // Cancels all streams; cuts a running Drain short. Returns when all are gone.
  void Stop();

 private:
  class Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace epp::extproc
