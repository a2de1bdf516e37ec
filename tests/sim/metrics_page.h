// The /metrics page of a simulated server: vLLM's families, names, labels, buckets and order, in
// the Prometheus text format as the Python client writes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/engine.h"

namespace epp::sim {

class Histogram {
 public:
  // `bounds` ascending; must outlive the histogram.
  explicit Histogram(std::span<const double> bounds);
  void Observe(double value);
  // Appends the series of `name`, HELP and TYPE before them unless `help` is empty. Labels are
  // 'a="b"' texts; `le` stands between the two, as the Python client sorts them.
  void Append(std::string_view name, std::string_view help, std::string_view first_label,
              std::string_view last_label, std::string* page) const;

 private:
  std::span<const double> bounds_;
  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  double sum_ = 0;
};

// What the page is made of, apart from the engine's own counts. Times are simulated seconds.
struct ServerMetrics {
  ServerMetrics();

  Histogram time_to_first_token;
  Histogram inter_token_latency;
  Histogram time_per_output_token;
  Histogram e2e_latency;
  Histogram queue_time;
  Histogram prefill_time;
  Histogram decode_time;
  Histogram prompt_tokens;
  Histogram generation_tokens;
  Histogram max_tokens;
  uint64_t finished_stop = 0;
  uint64_t finished_length = 0;
  uint64_t finished_abort = 0;
};

// One state of vllm:lora_requests_info; comma-separated adapter names, the value is when it arose.
struct LoraState {
  std::string running;
  std::string waiting;
  double since_s = 0;
};

struct MetricsPage {
  std::string model;
  double waiting = 0;
  double running = 0;
  double kv_usage = 0;
  EngineStats engine;
  EngineConfig config;
  uint32_t max_lora = 0;        // 0: no adapters, no such family
  std::vector<LoraState> lora;  // older states stay on the page, as with vLLM
  double started_s = 0;         // Unix time
  size_t min_bytes = 0;         // padded to at least this with per-handler HTTP histograms
};

[[nodiscard]] std::string RenderMetrics(const MetricsPage& page, const ServerMetrics& metrics);

// One piece of an endless, well-formed page; about 64 KB. Pieces of different numbers differ.
[[nodiscard]] std::string MetricsFiller(uint64_t number);

// A body that is no metrics page: binary, unterminated quotes, numbers that are none.
[[nodiscard]] std::string GarbageMetrics();

}  // namespace epp::sim
