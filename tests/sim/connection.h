// HTTP/1.1 for the simulated servers: a listener, and one connection at a time towards a handler.
// Answers are written as told, also wrong ones: faults need that freedom.
//
// Threads: everything runs on the thread that runs the io_context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace boost::asio {
class io_context;
}

namespace epp::sim {

struct HttpRequest {
  std::string method;
  std::string path;                                          // without the query
  std::vector<std::pair<std::string, std::string>> headers;  // as received, in order
  std::string body;

  // The first header of that name, in any case; empty when there is none.
  [[nodiscard]] std::string_view Header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// Where the answer to the request last handed over goes. Exactly one answer per request: Respond,
// or StartStream ... EndStream, or StartStream + StreamFrom. All calls return at once; after the
// peer has gone they do nothing.
class Connection {
 public:
  static constexpr size_t kWholeBody = SIZE_MAX;

  virtual ~Connection() = default;

  // Announces the whole body. With fewer `body_bytes` the connection closes after as many.
  virtual void Respond(HttpResponse response, size_t body_bytes = kWholeBody) = 0;
  // A chunked answer; response.body is ignored.
  virtual void StartStream(const HttpResponse& response) = 0;
  virtual void WriteChunk(std::string_view data) = 0;
  virtual void EndStream() = 0;
  // Asks `source` for the next chunk whenever the last one is written, until it is empty.
  virtual void StreamFrom(std::function<std::string()> source) = 0;
  // Closes when everything so far is written, without ending a stream; `then` may be empty.
  virtual void CloseWhenWritten(std::function<void()> then) = 0;
};

class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;
  virtual void OnRequest(const std::shared_ptr<Connection>& connection, HttpRequest request) = 0;
  // The peer closed, or the listener did, while the answer was not complete.
  virtual void OnAbandoned(Connection* connection) = 0;
};

class Listener {
 public:
  // Listens on `address` (an IP) and `port`; 0 takes a free one. `handler` must outlive the
  // listener. Errors: InvalidArgument for the address, Unavailable for what the system refuses.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Listener>> Open(boost::asio::io_context& io,
                                                                      const std::string& address,
                                                                      uint16_t port,
                                                                      ConnectionHandler* handler);
  // Closes the socket and every connection; unfinished ones are reported as abandoned.
  ~Listener();

  [[nodiscard]] uint16_t port() const;

 private:
  class State;
  explicit Listener(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace epp::sim
