// What an HTTP handler gets and gives.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace epp::http {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// Who is at the other end.
struct Peer {
  bool unix_socket = false;
  uid_t uid = static_cast<uid_t>(-1);  // these three on Unix sockets only
  gid_t gid = static_cast<gid_t>(-1);
  pid_t pid = 0;
  std::string address = {};  // "127.0.0.1:4711" on TCP
};

struct Request {
  std::string method;
  std::string path;   // as sent, without query
  std::string query;  // as sent, without '?'
  HeaderList headers;
  std::string body;
  std::vector<std::pair<std::string, std::string>> params;  // of the route, decoded
  Peer peer;
  size_t listener = 0;  // index into ServerOptions::listen

  // First header of that name, any case; empty when absent.
  std::string_view Header(std::string_view name) const;
  // First query parameter of that name, decoded.
  std::optional<std::string> Query(std::string_view name) const;
  // A captured part of the path; empty when the route has none of that name.
  std::string_view Param(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";  // empty: no header
  HeaderList headers = {};                        // with line ends in them: left out
  std::string body = {};
};

std::string_view StatusText(int status);

// Percent-decoding; nothing for a malformed escape or a zero byte. `plus_is_space` for queries.
std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_space);

namespace internal {
class Exchange;
}

// A response in pieces. A value: copies share the response. Threads: any.
class Stream {
 public:
  // Queues a piece. False when the client is gone, or was dropped because too much waits for it.
  bool Write(std::string piece) const;
  // Ends the response properly.
  void End() const;
  bool closed() const;
  // Called once on the server's thread when the client is gone or the stream ended; at once (there)
  // when that has happened already.
  void OnClose(std::function<void()> fn) const;

 private:
  friend class Responder;
  explicit Stream(std::shared_ptr<internal::Exchange> exchange) : exchange_(std::move(exchange)) {}
  std::shared_ptr<internal::Exchange> exchange_;
};

// The duty to answer one request; may move to another thread and answer later. Dropped without an
// answer, the client gets 500.
class Responder {
 public:
  explicit Responder(std::shared_ptr<internal::Exchange> exchange)
      : exchange_(std::move(exchange)) {}
  ~Responder();
  Responder(Responder&&) noexcept = default;
  Responder& operator=(Responder&&) = delete;

  void Send(Response response);
  // Sends status and headers now; the body of `head` is the first piece.
  Stream StartStream(Response head);

 private:
  std::shared_ptr<internal::Exchange> exchange_;
};

// Runs on the server's thread: answer at once or hand the responder on; do not block.
using Handler = std::function<void(Request, Responder)>;

}  // namespace epp::http
