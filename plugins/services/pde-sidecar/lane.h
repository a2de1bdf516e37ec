// What one thread of the sidecar works with. Lanes share nothing but counters.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "connectors/connector.h"
#include "epp/plugin.hpp"
#include "io.h"
#include "record.h"
#include "tls.h"
#include "upstream.h"

namespace sidecar {

// Names that operators know from elsewhere. Threads: any.
struct Metrics {
  explicit Metrics(const epp_host* host);
  std::vector<epp::Series> requests;       // by api: chat, responses, generate, other
  std::vector<epp::Series> disaggregated;  // by kind: decode, prefill-decode, encode-decode, all
  std::vector<epp::Series> seconds;        // by Stage
  std::vector<epp::Series> errors;         // by Stage
  std::vector<epp::Series> fallbacks;      // by Fallback
  std::vector<epp::Series> names;          // looked up again, changed, not found
};

// What all lanes share. Threads: any; the rest is constant.
struct Shared {
  Shared(const Config& c, epp::Host h) : config(c), host(h), metrics(h.raw()) {}
  const Config& config;
  const epp::Host host;
  Metrics metrics;
  std::unique_ptr<const Connector> connector;          // null: P/D is off
  std::shared_ptr<TlsContext> listener_tls;            // null: in the clear
  std::array<std::shared_ptr<TlsContext>, 3> hop_tls;  // by Stage
  std::atomic<uint64_t> connections{0};
  std::atomic<uint64_t> exchanges{0};  // requests under way
  std::atomic<uint64_t> detached{0};   // prefill legs that go on after their answer was sent
  std::atomic<bool> draining{false};
  std::atomic<bool> engine_up{false};
  std::atomic<uint16_t> bound_port{0};
};

// Engines of prefill workers by rank, from their bootstrap servers.
struct Engines {
  std::chrono::steady_clock::time_point until;
  std::vector<std::pair<std::string, std::string>> by_rank;
};

struct Lane {
  explicit Lane(Shared& s) : shared(s), pool(io, s.config) {}
  Shared& shared;
  asio::io_context io{1};
  Pool pool;
  std::map<std::string, Engines> engines;
};

// Text of a random UUID.
std::string RandomUuid(const epp::Host& host);

}  // namespace sidecar
