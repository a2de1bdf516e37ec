// The answer to one request of a client.
//
// Threads: the lane's.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "config.h"
#include "head.h"
#include "io.h"

namespace sidecar {

class Reply {
 public:
  // `close`: this is the connection's last answer.
  Reply(Stream& stream, const RequestHead& request, const Config& config, bool close)
      : stream_(stream),
        config_(config),
        head_only_(request.method == "HEAD"),
        http_1_0_(request.http_1_0),
        close_(close || !request.keep_alive) {}

  // A whole answer. `headers` keeps what it has, less what frames the body.
  Task<bool> Whole(int status, std::string_view reason, Headers headers, std::string_view body);
  // {"object": "error", ...} with the status. Nothing when an answer has begun.
  Task<bool> Error(int status, std::string_view type, std::string_view message);

  // An answer in pieces. The head is kept until the first piece, or Flush.
  void Begin(int status, std::string_view reason, Headers headers, const Framing& framing);
  Task<bool> Piece(std::string_view piece);
  // Keeps a piece as well.
  void Add(std::string_view piece);
  Task<bool> Flush();
  // True when what was kept could be sent without waiting.
  bool FlushNow();
  Task<bool> End();

  bool begun() const { return begun_; }
  int status() const { return status_; }
  // Bytes written, and when the first were.
  uint64_t sent() const { return sent_; }
  std::chrono::steady_clock::time_point first() const { return first_; }
  // Of an Error.
  const std::string& why() const { return why_; }
  // The client cannot be told any more; the connection must be cut.
  bool broken() const { return broken_ || (begun_ && !ended_); }
  void CloseAfter() { close_ = true; }
  bool closes() const { return close_; }

 private:
  Task<bool> Write(std::string_view first, std::string_view second, std::string_view third);
  void Sent(size_t bytes) {
    if (sent_ == 0) first_ = std::chrono::steady_clock::now();
    sent_ += bytes;
  }

  Stream& stream_;
  const Config& config_;
  const bool head_only_;
  const bool http_1_0_;
  bool close_;
  bool chunked_ = false;
  bool begun_ = false;
  bool ended_ = false;
  bool broken_ = false;
  int status_ = 0;
  uint64_t sent_ = 0;
  std::chrono::steady_clock::time_point first_;
  std::string why_;
  std::string pending_;
};

std::string_view ReasonOf(int status);

}  // namespace sidecar
