// Client side TLS on a non-blocking descriptor, without OpenSSL in the header.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace epp::http {

struct TlsClientOptions {
  bool verify = true;         // chain and host name
  std::string ca_pem = {};    // empty: the system's store
  std::string cert_pem = {};  // client certificate chain; empty: none
  std::string key_pem = {};
};

// Settings shared by many connections. Threads: any, after creation. TLS 1.2 and above.
class TlsClient {
 public:
  // Errors: InvalidArgument for PEM text that does not parse or does not match.
  static absl::StatusOr<std::shared_ptr<const TlsClient>> Create(const TlsClientOptions& options);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

 private:
  friend class TlsStream;
  TlsClient() = default;
  void* ctx_ = nullptr;
  bool verify_ = true;
};

enum class Io { kOk, kWantRead, kWantWrite, kClosed, kError };

// One TLS session. Borrows the descriptor, which must be non-blocking. Threads: one at a time, with
// SIGPIPE blocked or ignored.
class TlsStream {
 public:
  // `server_name`: what the certificate must name; a DNS name is also sent as SNI.
  static std::unique_ptr<TlsStream> Create(std::shared_ptr<const TlsClient> client, int fd,
                                           const std::string& server_name);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  Io Handshake();
  Io Read(char* data, size_t size, size_t* got);
  Io Write(const char* data, size_t size, size_t* sent);
  // Decrypted bytes wait, though the descriptor may not be readable.
  bool HasPending() const;
  // Why the last call gave kError.
  const std::string& error() const { return error_; }

 private:
  explicit TlsStream(std::shared_ptr<const TlsClient> client) : client_(std::move(client)) {}
  Io Map(int result, const char* what);

  std::shared_ptr<const TlsClient> client_;
  void* ssl_ = nullptr;
  std::string error_;
};

}  // namespace epp::http
