// What a test can ask of a simulated server while it runs: faults, pinned metrics, and the log of
// what arrived. The bodies of the /sim/ endpoints are read and written here; no I/O.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace epp::sim {

enum class FaultKind : uint8_t {
  kNone,              // as a command: clear all faults, revive a dead server
  kDie,               // close the listener and all connections; cache and queue are lost
  kHang,              // take requests, never answer
  kSlowHeaders,       // wait `delay` of real time before anything else
  kHttpError,         // answer `status`
  kDrop,              // take requests and close, without a byte of an answer
  kTruncate,          // break off: half a plain body, or a stream after `after_events`, then close
  kWrongContentType,  // text/html, whatever the body is
  kGarbageMetrics,    // /metrics answers bytes that no parser likes
  kHugeMetrics,       // /metrics streams `bytes` of well-formed series
};

// One fault. It hits matching requests as `rate` says: evenly, not randomly, so that 0.25 hits
// exactly every fourth.
struct Fault {
  FaultKind kind = FaultKind::kNone;
  std::string server;                                 // a sibling's name; empty is the one asked
  std::string path;                                   // hits only paths that begin so; never /sim/
  double rate = 1;                                    // 0..1
  std::optional<uint64_t> count;                      // gone after so many hits
  int status = 503;                                   // kHttpError
  std::chrono::milliseconds delay{2000};              // kSlowHeaders
  uint32_t after_events = 2;                          // kTruncate: tokens of a stream
  uint64_t bytes = 100'000'000;                       // kHugeMetrics
  std::optional<std::chrono::milliseconds> for_time;  // kDie: revived after so long
};

// {"kind": "http_error", "rate": 0.1, "status": 500}; the other names are path, count, delay_ms,
// after_events, bytes, for_ms, server. Kinds are the names above in snake_case.
// Errors: InvalidArgument naming the member, for wrong types, ranges and unknown names.
[[nodiscard]] absl::StatusOr<Fault> ParseFault(std::string_view json);

// The faults of one server, at most one of each kind.
class FaultSet {
 public:
  // Replaces a fault of the same kind; kNone clears all.
  void Set(const Fault& fault);
  // The fault of this kind when it hits a request for `path` now; counts the hit.
  [[nodiscard]] std::optional<Fault> Hit(FaultKind kind, std::string_view path);
  // {"faults": [...]} with kinds and remaining counts.
  [[nodiscard]] std::string Json() const;

 private:
  struct Active {
    Fault fault;
    double due = 0;  // hits owed, grows by rate with each matching request
  };
  std::vector<Active> active_;
};

// Values that /metrics shows instead of the truth; absent ones stay true.
struct PinnedMetrics {
  std::optional<double> waiting;
  std::optional<double> running;
  std::optional<double> kv;
};

// {"waiting": 3, "running": 7, "kv": 0.9}; {} unpins all. Errors as for ParseFault.
[[nodiscard]] absl::StatusOr<PinnedMetrics> ParsePinnedMetrics(std::string_view json);

struct LoggedRequest {
  std::string method;
  std::string path;
  std::vector<std::pair<std::string, std::string>> headers;
  uint64_t body_bytes = 0;
  std::string model;
  uint32_t prompt_tokens = 0;
  uint32_t cached_tokens = 0;  // known once the engine has admitted it
  uint32_t output_tokens = 0;  // generated so far
  int status = 0;              // 0: not answered
  // Of engines that hand over KV blocks; see transfer.h.
  std::string leg;                  // "prefill", "decode" or empty
  uint32_t transferred_tokens = 0;  // of the prompt, computed elsewhere
  std::string error;                // why it was refused
};

// The last requests that a server got, /sim/, /metrics and /health excepted.
class RequestLog {
 public:
  explicit RequestLog(size_t limit) : limit_(limit) {}
  // The number of the new entry; entries count from 1.
  uint64_t Add(LoggedRequest entry);
  // Null when it has been dropped.
  [[nodiscard]] LoggedRequest* Find(uint64_t number);
  void Clear();
  // {"server": ..., "total": all ever, "requests": [oldest first]}; total survives Clear.
  [[nodiscard]] std::string Json(std::string_view server) const;

 private:
  size_t limit_;
  uint64_t total_ = 0;
  std::deque<LoggedRequest> entries_;
};

}  // namespace epp::sim
