// Simulated model servers on real sockets: the engine model in real time behind vLLM's HTTP API.
// Any number of servers share one process and one thread.
//
//   POST /v1/completions  /v1/chat/completions  /v1/messages  /v1/responses  /v1/embeddings
//        /inference/v1/generate              plain or as server-sent events
//   GET  /v1/models  /health  /ping  /version  /metrics
//   GET  /query                          the engines by rank, of Mooncake's bootstrap server
//
// and for tests, never hit by faults:
//
//   POST /sim/fault     see ParseFault() in control.h      GET lists, DELETE clears
//   POST /sim/metrics   see ParsePinnedMetrics()           DELETE unpins
//   GET  /sim/requests  the log of what arrived            DELETE clears
//   GET  /sim/state     the engine's own numbers, whatever /metrics claims
//
// Every answer has the header x-sim-server with the server's name; ids and system_fingerprint
// carry it too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/sim/control.h"
#include "tests/sim/engine.h"
#include "tests/sim/transfer.h"

namespace epp::sim {

struct ServerOptions {
  std::string name = "sim-0";
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: a free one, which the server keeps also over a death
  std::vector<std::string> models = {"demo"};  // the first is the base model
  std::vector<std::string> loras;              // adapters of the base model
  bool strict_models = false;    // 404 for models that are not listed, instead of serving any
  uint32_t max_loras = 4;        // only reported
  uint32_t output_tokens = 128;  // where an answer ends by itself; max_tokens may end it earlier
  double speed = 1;              // simulated seconds per real second
  size_t metrics_bytes = 0;      // the least size of the metrics page
  size_t log_requests = 256;     // entries of /sim/requests
  EngineConfig engine;
  TransferOptions transfer;
  std::vector<Fault> faults;  // from the start; their `server` is ignored
};

class Simulator {
 public:
  // Listens for all servers and starts serving. Errors: InvalidArgument for options (no or equal
  // names, no model, speed not positive, a bad address), Unavailable for a port that is taken.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Simulator>> Start(
      std::vector<ServerOptions> servers);
  // Closes all sockets and joins the thread.
  ~Simulator();
  Simulator(const Simulator&) = delete;
  Simulator& operator=(const Simulator&) = delete;

  [[nodiscard]] size_t size() const;
  [[nodiscard]] const ServerOptions& options(size_t server) const;
  [[nodiscard]] uint16_t port(size_t server) const;

  // As POST /sim/fault, POST /sim/metrics and GET /sim/state to that server, but reachable also
  // when it is dead. Threads: any; they wait for the simulator's thread. Errors: Unavailable when
  // reviving a server whose port is taken.
  [[nodiscard]] absl::Status SetFault(size_t server, const Fault& fault);
  void PinMetrics(size_t server, const PinnedMetrics& pinned);
  [[nodiscard]] EngineStats stats(size_t server);

 private:
  struct Impl;
  explicit Simulator(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace epp::sim
