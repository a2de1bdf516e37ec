// What the ext-proc and health servers can be told; the command line fills these in.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace epp::extproc {

struct TlsOptions {
  bool secure = true;  // false: plaintext HTTP/2
  // Directory with tls.crt and tls.key; empty: a self-signed certificate made at start.
  std::string cert_path{};
  bool reload = false;  // watch cert_path, and use a changed pair for new connections
  // "", or VersionTLS10 to VersionTLS13. gRPC speaks nothing below 1.2, so the lower two mean 1.2.
  // This and the suites are process-wide and set by the first server: gRPC takes them from the
  // environment, once.
  std::string min_version{};
  // Names as Go writes them, for TLS 1.2; empty: the library's choice.
  std::vector<std::string> cipher_suites{};
};

// Told of every stream; called from the workers' threads, concurrently.
class StreamObserver {
 public:
  virtual ~StreamObserver() = default;
  virtual void OnStreamStart(uint32_t worker) = 0;
  // `grpc_code` is the status that the stream ended with; a reset by the proxy is 1 (CANCELLED), an
  // expired deadline 4.
  virtual void OnStreamEnd(uint32_t worker, int grpc_code, int64_t duration_ns) = 0;
};

struct ServerOptions {
  std::string address = "[::]";    // all interfaces, IPv4 included
  uint16_t port = 9002;            // 0: any free one
  uint32_t workers = 0;            // threads; 0: one a core
  uint64_t max_receive_bytes = 0;  // of one message; 0: 4 MiB
  uint64_t max_send_bytes = 0;     // of one message; 0: no limit
  bool health_checking = false;    // grpc.health.v1 on this port, always serving
  bool mode_override = false;      // StreamOptions::mode_override
  TlsOptions tls{};
  StreamObserver* observer = nullptr;  // outlives the server
  // One line about something that went wrong while serving (a certificate that could not be
  // reloaded); called from any thread. May be empty.
  std::function<void(std::string_view)> log_error{};
};

struct HealthOptions {
  std::string address = "[::]";
  uint16_t port = 9003;  // 0: any free one
  bool leader_election = false;
};

}  // namespace epp::extproc
