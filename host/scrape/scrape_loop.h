// Fetches what the data sources plan, from every endpoint of a pool, again and again, and writes
// what the extractors find into the pool.
//
// Every endpoint and source has its own rhythm: at once when it joins, then a jittered tick after
// the start of the last fetch, never two fetches at a time; after failures exponentially later, up
// to a second. Everything runs on one thread, that of the transport.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "host/pool/pool.h"
#include "host/scrape/source.h"

namespace epp::scrape {

// How one source fares at one endpoint.
struct FetchStatus {
  uint64_t endpoint_id = 0;
  std::string endpoint;  // NAMESPACE/NAME
  std::string source;    // name of the instance
  uint64_t fetches = 0;
  uint64_t failures = 0;  // in all, extractors' included
  uint32_t failures_in_a_row = 0;
  uint64_t last_good_ns = 0;  // monotonic; 0 when never
  std::string last_error;     // empty after a good fetch
};

// Threads: any for all members, but none from an extractor.
class ScrapeLoop {
 public:
  struct Options {
    uint64_t tick_ns = 50'000'000;        // between two fetches; also the shortest interval
    uint64_t timeout_ns = 1'000'000'000;  // of a whole fetch
    uint64_t max_backoff_ns = 1'000'000'000;
    uint64_t max_body_bytes = uint64_t{16} << 20;  // unless the plan says so
    uint32_t unreachable_after = 3;  // failures in a row; a refused connection counts at once
    // The endpoints' labels metricsAddress and metricsPort replace address and port.
    bool metrics_labels = false;
  };

  // `pool` and `observer` (may be null) must outlive the loop.
  ScrapeLoop(pool::Pool* pool, Options options, Observer* observer);
  // Ends what is under way; nothing is written or told afterwards.
  ~ScrapeLoop();
  ScrapeLoop(const ScrapeLoop&) = delete;
  ScrapeLoop& operator=(const ScrapeLoop&) = delete;

  // Replaces all sources. When it returns the former ones are used no more, and their owners were
  // released on the caller's thread. A source whose plan stays keeps its connections.
  // The sources that read Prometheus pages decide on freshness and reachability of an endpoint; if
  // there are none, all do.
  // Errors: InvalidArgument (nothing changes) for a plan that cannot be followed, such as one whose
  // certificate file is not readable.
  absl::Status SetSources(std::vector<Source> sources);

  // By endpoint id and order of the sources. Cost: a copy, made on the scraping thread.
  std::vector<FetchStatus> status() const;

  // Asks the scraping thread for a sign of life; not twice while it is stuck.
  void Ping();
  // How often it has given one.
  uint64_t rounds() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace epp::scrape
