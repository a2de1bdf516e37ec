// Exchanges with servers over kept connections that all plugins share.
//
// A server (scheme, host, port) gets up to kMaxConnections connections, made when they are needed;
// more exchanges wait for one. Connections without work for a minute are given up.
//
// Threads: everything on the fetcher's loop thread, except the constructor.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "host/http/fetcher.h"
#include "host/http/message.h"

namespace epp::async {

// "http[s]://HOST[:PORT][/PATH][?QUERY]" taken apart. Errors: InvalidArgument with the reason.
struct Url {
  bool tls = false;
  std::string host;  // without brackets
  uint16_t port = 0;
  std::string path;  // with query, begins with '/'
};
absl::StatusOr<Url> ParseUrl(std::string_view text);

struct HttpJob {
  Url url;
  std::string method;
  http::HeaderList headers;
  std::string body;
  uint64_t deadline_ns = 0;  // monotonic
  uint64_t max_body_bytes = 0;
  http::Fetcher::Callback done;  // once, unless it was cancelled
};

class HttpPool {
 public:
  static constexpr size_t kMaxConnections = 128;  // of a server

  explicit HttpPool(http::Fetcher* fetcher) : fetcher_(fetcher) {}

  void Start(uint64_t number, HttpJob job);
  // Gives the exchange up; its connection is closed.
  void Cancel(uint64_t number);

 private:
  using Key = std::tuple<bool, std::string, uint16_t>;
  struct Idle {
    http::Fetcher::TargetId target;
    uint64_t since_ns;
  };
  struct Server {
    size_t connections = 0;
    std::vector<Idle> idle;        // the one that was used last is at the end
    std::deque<uint64_t> waiting;  // numbers; those that are gone are passed over
  };
  struct Running {
    HttpJob job;
    http::Fetcher::TargetId target = 0;  // 0: waits
  };

  void Send(uint64_t number, Running& running, Server& server);
  void Ended(uint64_t number, const http::FetchResult& result);
  void Expired(uint64_t number);
  void Next(Server& server);
  void Sweep();

  http::Fetcher* const fetcher_;
  std::shared_ptr<const http::TlsClient> tls_;  // made when first needed
  std::map<Key, Server> servers_;
  std::map<uint64_t, Running> running_;
  bool sweeping_ = false;
};

}  // namespace epp::async
