// The parts of a serving epp without its sockets: real plugin libraries, a pool that the benchmark
// fills, and the exchanges that an ext-proc server would drive. One worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "host/base/clock.h"
#include "host/config/settings.h"
#include "host/request/http_exchange.h"
#include "host/runtime/state_transfer.h"
#include "host/serve/load.h"

namespace epp::bench {

struct HostOptions {
  std::string config_text;  // EndpointPickerConfig; empty: the built-in default
  std::shared_ptr<const config::SourceText> config;  // if set, instead of config_text
  std::string plugins_dir;  // empty: lib/epp/plugins beside the executable's bin
  uint32_t records = 2048;
  bool observe_responses = false;
  const Clock* clock = &Clock::Real();  // of requests; frames and plugins live in real time
  loader::RandomSource* random = &loader::RandomSource::PerThread();  // of plugins
};

// What a scrape of vLLM tells about an endpoint.
struct EndpointMetrics {
  int64_t waiting = 0;
  int64_t running = 0;
  double kv_usage = 0;
  int64_t block_tokens = 16;
  int64_t blocks = 0;
};

// Threads: one, that of the benchmark.
class HostUnderTest {
 public:
  // Errors: what the configuration or the libraries are refused for, rendered.
  static absl::StatusOr<std::unique_ptr<HostUnderTest>> Start(const HostOptions& options);
  ~HostUnderTest();

  // Endpoints 10.x.y.z:8000 named server-0 .. server-(n-1), all idle, or on 127.0.0.1 with these
  // ports.
  void AddEndpoints(uint32_t count);
  void AddEndpoints(const std::vector<uint16_t>& ports);
  // The host:port that a verdict names `endpoint` by.
  std::string HostPort(uint32_t endpoint) const;
  void SetMetrics(uint32_t endpoint, const EndpointMetrics& metrics);
  // Builds a generation of this config beside the serving one and lets it serve, as a reload does:
  // instances that it asks for unchanged go on, others learn what their predecessors know.
  // Errors: what it is refused for; nothing has changed then.
  absl::Status Reload(std::shared_ptr<const config::SourceText> config);
  void Publish() { platform_.pool().Publish(); }

  std::unique_ptr<request::Exchange> NewExchange() { return factory_->NewExchange(0, nullptr); }
  const telemetry::DecisionRings& records() const { return rings_; }
  pool::Pool& pool() { return platform_.pool(); }
  const std::shared_ptr<runtime::Generation>& generation() const { return generation_; }

 private:
  explicit HostUnderTest(const HostOptions& options);
  absl::Status Init(const HostOptions& options);
  absl::Status Build(std::shared_ptr<const config::SourceText> config);
  void Serve();
  bool InUse(const runtime::HeldInstance& held) const;
  void AddFields(std::vector<pool::Endpoint::Fields> fields);

  config::SettingsBuilder settings_;
  serve::Platform platform_;
  runtime::StateCarrier carrier_;
  telemetry::DecisionRings rings_;
  std::shared_ptr<runtime::Generation> generation_;
  std::vector<std::weak_ptr<runtime::Generation>> former_;  // requests may still run on them
  uint64_t last_number_ = 0;
  request::ServingSlot serving_;
  std::unique_ptr<request::HttpExchangeFactory> factory_;
  std::vector<uint64_t> ids_;  // of the endpoints, by number
  std::vector<std::string> host_ports_;
  std::vector<pool::AttributeValue> values_;
};

// No filter metadata.
class NoMetadata final : public request::Metadata {
 public:
  bool List(std::string_view, std::string_view, std::vector<std::string_view>*) const override {
    return false;
  }
  std::optional<std::string_view> String(std::string_view, std::string_view) const override {
    return std::nullopt;
  }
};

}  // namespace epp::bench
