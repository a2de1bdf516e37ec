// A small HTTP/1.1 server for operators and metrics, on a thread of its own.
//
// Bounded everywhere: header and body bytes, time for each step, connections, and bytes that wait
// for a slow reader. Malformed input gets a 4xx and the connection ends.
//
// Threads: handlers run on the server's thread. Errors: see Start.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "host/http/message.h"
#include "host/http/router.h"

namespace epp::http {

struct TlsServerOptions {
  std::string cert_pem;  // chain, leaf first
  std::string key_pem;
  std::string client_ca_pem = {};  // not empty: clients must show a certificate of this authority
};

// One of tcp and unix_path.
struct Listen {
  std::string tcp = {};  // "127.0.0.1:8080", "[::]:9090"; ":9090" is every address of both families
  std::string unix_path = {};
  mode_t mode = 0660;      // of the socket file
  std::string group = {};  // its group; empty: ours
  std::optional<TlsServerOptions> tls = std::nullopt;
};

struct ServerOptions {
  std::vector<Listen> listen;
  std::string thread_name = "epp-http";  // at most 15 bytes
  size_t max_connections = 64;           // more get 503
  size_t max_header_bytes = 16 * 1024;
  size_t max_body_bytes = 1024 * 1024;
  size_t max_pending_bytes = 256 * 1024;  // a stream's reader is dropped beyond
  absl::Duration header_timeout = absl::Seconds(10);
  absl::Duration body_timeout = absl::Seconds(10);
  absl::Duration write_timeout = absl::Seconds(30);  // without progress
  absl::Duration idle_timeout = absl::Seconds(60);   // between requests
};

class Server {
 public:
  // Errors: InvalidArgument for addresses, certificates, groups; AlreadyExists when a port or a
  // socket path is in use by a living process; PermissionDenied; Internal.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Router router);
  // Ends all connections and joins the thread. Responders and streams may outlive the server.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The port that a TCP listener got; 0 for a Unix socket.
  uint16_t port(size_t listener) const;
  size_t connections() const;
  // New connections of that listener use this certificate. Errors: InvalidArgument; the old one
  // then stays.
  absl::Status ReplaceTls(size_t listener, const TlsServerOptions& tls);

 private:
  class Impl;
  explicit Server(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace epp::http
