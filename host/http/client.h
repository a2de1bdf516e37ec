// A blocking HTTP/1.1 client for commands: one connection a request.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "host/http/message.h"
#include "host/http/tls.h"

namespace epp::http {

// A Unix path, or host and port.
struct ClientTarget {
  std::string unix_path = {};
  std::string host = {};
  uint16_t port = 0;
  std::shared_ptr<const TlsClient> tls = nullptr;
  std::string server_name = {};  // for TLS; empty: host
};

struct ClientRequest {
  std::string method = "GET";
  std::string path = "/";
  HeaderList headers = {};
  std::string body = {};
  absl::Duration timeout = absl::Seconds(10);       // to the whole response, or to its head
  absl::Duration idle_timeout = absl::Seconds(60);  // streams: between pieces
  uint64_t max_body_bytes = uint64_t{64} << 20;     // streams: no limit
  int cancel_fd = -1;                               // readable: give up; borrowed
};

struct ClientResponse {
  int status = 0;
  std::string content_type;
  std::string etag;
  std::string body;
};

// Errors: Unavailable when nobody could be reached (the message says why), DeadlineExceeded,
// Cancelled, DataLoss for an answer that is cut short, malformed or too large, Unauthenticated for
// a failed TLS handshake, InvalidArgument for a path or header that HTTP cannot carry. Any status
// is an answer.
absl::StatusOr<ClientResponse> Call(const ClientTarget& target, const ClientRequest& request);

// As Call, but hands over the body of a 200 as it arrives, until `on_data` returns false or the
// response ends; then `body` stays empty. Other statuses come whole.
absl::StatusOr<ClientResponse> CallStreaming(const ClientTarget& target,
                                             const ClientRequest& request,
                                             const std::function<bool(std::string_view)>& on_data);

}  // namespace epp::http
