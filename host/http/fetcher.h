// The scrape transport: many kept-alive HTTP/1.1 connections on one epoll loop.
//
// A target has one connection and at most one fetch at a time. Connections are made on the first
// fetch, kept as long as the peer keeps them, and replaced once, silently, when a kept one turns
// out to be dead. Receive buffers come from a shared stack, so idle connections own none.
//
// Threads: all functions from any thread; callbacks run on the loop's thread, must not block, and
// may call anything here but the destructor. Calls made on the loop's thread are the cheapest.
// Cost: a kept-alive plaintext fetch of a 50 KB page is about three system calls and one copy.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/http/tls.h"

namespace epp::http {

class ResponseReader;

struct FetchTarget {
  std::string host;  // name or literal, IPv6 without brackets
  uint16_t port = 80;
  std::string path = "/metrics";  // with query
  // Sent as they are; names and values must not contain line ends (such are dropped).
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::shared_ptr<const TlsClient> tls = nullptr;  // null: plaintext
  std::string server_name = {};                    // for TLS; empty: host
};

enum class FetchError {
  kNone,
  kBusy,       // the target's previous fetch has not ended
  kNoTarget,   // unknown or removed
  kResolve,    // the name has no address
  kConnect,    // refused, unreachable, reset while connecting
  kTls,        // handshake or record layer
  kTimeout,    // deadline passed in any step
  kClosed,     // the peer ended the connection inside the response
  kMalformed,  // not HTTP that we accept
  kTooLarge,   // body above the cap
  kCancelled,  // target removed or fetcher stopped
};
std::string_view FetchErrorName(FetchError error);

// Views are valid during the callback only. Without an error, any status counts as success.
struct FetchResult {
  FetchError error = FetchError::kNone;
  int status = 0;
  std::string_view content_type = {};
  std::string_view body = {};
  std::string_view detail = {};  // of an error, for a log line
};

class Fetcher {
 public:
  using TargetId = uint64_t;
  using Callback = std::function<void(const FetchResult&)>;

  struct Stats {
    uint64_t fetches = 0;
    uint64_t connects = 0;
    uint64_t retries = 0;
    uint64_t cpu_ns = 0;  // of the loop's thread
  };

  Fetcher();
  // Runs the callbacks of everything under way with kCancelled; those must not fetch again.
  ~Fetcher();
  Fetcher(const Fetcher&) = delete;
  Fetcher& operator=(const Fetcher&) = delete;

  TargetId Add(FetchTarget target);
  // A fetch under way ends with kCancelled.
  void Remove(TargetId id);

  // GET; `done` is called exactly once, within about `timeout_ns`. The body may have at most
  // `max_body_bytes`; reading stops there and the connection is given up.
  void Fetch(TargetId id, uint64_t timeout_ns, uint64_t max_body_bytes, Callback done);

  // The same with a request of its own, as Format makes it. Only for a server that may see a
  // request twice: one that is lost with a kept connection is sent again.
  void Send(TargetId id, std::string request, uint64_t timeout_ns, uint64_t max_body_bytes,
            Callback done);
  // `method` on the target's path, with its headers and a body.
  static std::string Format(std::string_view method, const FetchTarget& target,
                            std::string_view body);

  // Runs on the loop's thread: soon, or at a time of the monotonic clock. Dropped at destruction.
  void Post(std::function<void()> fn);
  void RunAt(uint64_t mono_ns, std::function<void()> fn);

  bool OnLoopThread() const;
  Stats stats() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace epp::http
