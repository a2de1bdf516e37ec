// Events of the parts that run, as metrics.
#pragma once

#include <cstdint>
#include <string>

#include "host/extproc/options.h"
#include "host/pool/pool.h"
#include "host/scrape/source.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::serve {

class ScrapeCounters final : public scrape::Observer {
 public:
  explicit ScrapeCounters(telemetry::EppMetrics* metrics) : metrics_(metrics) {}
  void PollFailed(const std::string& source) override;
  void ExtractFailed(const std::string& source, const std::string& extractor) override;

 private:
  telemetry::EppMetrics* metrics_;
};

// Drops the series of endpoints that left.
class GoneEndpoints final : public pool::PoolListener {
 public:
  explicit GoneEndpoints(telemetry::EppMetrics* metrics) : metrics_(metrics) {}
  void EndpointUpserted(const pool::Endpoint&) override {}
  void EndpointRemoved(const pool::Endpoint& endpoint) override;

 private:
  telemetry::EppMetrics* metrics_;
};

class StreamCounters final : public extproc::StreamObserver {
 public:
  explicit StreamCounters(telemetry::EppMetrics* metrics) : metrics_(metrics) {}
  void OnStreamStart(uint32_t worker) override;
  void OnStreamEnd(uint32_t worker, int grpc_code, int64_t duration_ns) override;

 private:
  telemetry::EppMetrics* metrics_;
};

}  // namespace epp::serve
