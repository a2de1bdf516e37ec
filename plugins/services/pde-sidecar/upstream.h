// Requests to other workers and to the engine beside: connections that are kept open, and one call.
//
// Threads: the lane's.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "body.h"
#include "config.h"
#include "head.h"
#include "io.h"
#include "target.h"

namespace sidecar {

struct Connection {
  explicit Connection(asio::io_context& io) : stream(io) {}
  Stream stream;
  std::string unread;
  bool reused = false;
  std::chrono::steady_clock::time_point idle_since;
};

// Idle connections by address. Those that a server may be about to close are not used again.
class Pool {
 public:
  Pool(asio::io_context& io, const Config& config) : io_(io), config_(config) {}
  // An idle connection that is still good, or null.
  std::unique_ptr<Connection> Take(const Target& target);
  void Put(const Target& target, std::unique_ptr<Connection> connection);
  asio::io_context& io() { return io_; }
  const Config& config() const { return config_; }

 private:
  asio::io_context& io_;
  const Config& config_;
  std::map<std::string, std::list<std::unique_ptr<Connection>>> idle_;  // newest first
};

enum class CallError : uint8_t {
  kNone,
  kRefused,
  kTimedOut,
  kBroken,
  kTooLarge,
  kCancelled,
  kUntrusted
};

// One request and its answer. Cancel may be called at any time; what is under way then ends with
// kCancelled. A call that ends well gives its connection back to the pool.
class Call {
 public:
  Call(Pool& pool, Target target) : pool_(pool), target_(std::move(target)) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Sends a request of which the whole body is known and reads the head of the answer; interim
  // answers are skipped. Once more on a new connection, if a kept one turns out to be closed before
  // any byte of an answer came.
  Task<bool> Ask(std::string_view method, std::string head, std::string_view body,
                 Milliseconds limit, ResponseHead* out);

  // The same in steps, for bodies that are passed on as they come.
  Task<bool> Begin(std::string head);
  Task<bool> Send(std::string_view first, std::string_view second);
  Task<bool> ReadHead(std::string_view method, Milliseconds limit, ResponseHead* out);

  // A piece of the answer's body, valid until the next read; empty at its end and on errors.
  Task<std::string_view> Piece();
  // The same in two steps: a piece that has come already, empty when there is none...
  std::string_view Come();
  // ...and waiting for more. False at the end and on errors.
  Task<bool> More();
  bool ended() const { return decoder_.done(); }
  // The rest of the body; false with kTooLarge when it has more than `max` bytes.
  Task<bool> Whole(std::string* out, size_t max, Milliseconds limit);

  void Cancel();
  CallError error() const { return error_; }
  // What went wrong with TLS, when the error is kUntrusted.
  const std::string& tls_error() const { return tls_error_; }
  const Target& target() const { return target_; }
  // Bytes, heads included, of all attempts.
  uint64_t sent() const { return sent_; }
  uint64_t received() const { return received_; }

 private:
  Task<bool> Open(bool fresh);
  bool Fail(error_code error);
  void Finish();

  Pool& pool_;
  const Target target_;
  std::unique_ptr<Connection> connection_;
  size_t unread_at_ = 0;  // of connection_->unread, what was given out
  BodyDecoder decoder_{Framing{}};
  bool keep_alive_ = false;
  bool any_byte_ = false;
  bool cancelled_ = false;
  CallError error_ = CallError::kNone;
  std::string tls_error_;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
};

}  // namespace sidecar
