#include "tests/sim/metrics_page.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/sim/text.h"

namespace epp::sim {
namespace {

constexpr std::array kTtftBounds = {0.001, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                    0.25,  0.5,   0.75, 1.0,   2.5,   5.0,   7.5,  10.0,
                                    20.0,  40.0,  80.0, 160.0, 640.0, 2560.0};
constexpr std::array kTokenTimeBounds = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                         0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
constexpr std::array kRequestTimeBounds = {0.3,  0.5,   0.8,   1.0,   1.5,   2.0,    2.5,
                                           5.0,  10.0,  15.0,  20.0,  30.0,  40.0,   50.0,
                                           60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
constexpr std::array kTokenCountBounds = {1.0,     2.0,     5.0,     10.0,    20.0,   50.0,
                                          100.0,   200.0,   500.0,   1000.0,  2000.0, 5000.0,
                                          10000.0, 20000.0, 50000.0, 100000.0};
constexpr std::array kHttpBounds = {0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0,  1.5, 2.0,
                                    2.5,  3.0,   3.5,  4.0,   4.5, 5.0,  7.5, 10.0, 30.0, 60.0};

// As the Python client writes a float.
std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  const std::string text = absl::StrFormat("%.17g", value);
  const std::string shorter = absl::StrFormat("%.15g", value);
  const std::string& best = std::strtod(shorter.c_str(), nullptr) == value ? shorter : text;
  return best.find_first_of(".e") == std::string::npos ? best + ".0" : best;
}

std::string Escaped(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

class Writer {
 public:
  explicit Writer(std::string labels) : labels_(std::move(labels)) {}

  void Family(std::string_view name, std::string_view type, std::string_view help) {
    absl::StrAppend(&page, "# HELP ", ToAbsl(name), " ", ToAbsl(help), "\n# TYPE ", ToAbsl(name),
                    " ", ToAbsl(type), "\n");
  }

  void Sample(std::string_view name, std::string_view labels, double value) {
    absl::StrAppend(&page, ToAbsl(name));
    if (!labels.empty()) absl::StrAppend(&page, "{", ToAbsl(labels), "}");
    absl::StrAppend(&page, " ", Number(value), "\n");
  }

  // A family of one series with the server's labels.
  void Gauge(std::string_view name, std::string_view help, double value) {
    Family(name, "gauge", help);
    Sample(name, labels_, value);
  }

  // The Python client adds a gauge of the creation time to every counter.
  void Counter(const std::string& name, std::string_view help, double value, double created_s) {
    Family(name + "_total", "counter", help);
    Sample(name + "_total", labels_, value);
    Family(name + "_created", "gauge", help);
    Sample(name + "_created", labels_, created_s);
  }

  std::string page;

 private:
  std::string labels_;
};

void AppendProcess(double started_s, Writer* out) {
  out->Family("python_gc_objects_collected_total", "counter", "Objects collected during gc");
  for (const auto& [generation, count] : {std::pair("0", 9849.0), {"1", 1337.0}, {"2", 810.0}}) {
    out->Sample("python_gc_objects_collected_total",
                absl::StrCat("generation=\"", generation, "\""), count);
  }
  out->Family("python_info", "gauge", "Python platform information");
  out->Sample("python_info",
              "implementation=\"CPython\",major=\"3\",minor=\"12\",patchlevel=\"11\","
              "version=\"3.12.11\"",
              1);
  out->Family("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.");
  out->Sample("process_virtual_memory_bytes", "", 1.2087115776e+10);
  out->Family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
  out->Sample("process_resident_memory_bytes", "", 8.28801024e+08);
  out->Family("process_start_time_seconds", "gauge",
              "Start time of the process since unix epoch in seconds.");
  out->Sample("process_start_time_seconds", "", started_s);
}

void AppendCacheInfo(const MetricsPage& page, Writer* out) {
  out->Family("vllm:cache_config_info", "gauge", "Information of the LLMEngine CacheConfig");
  out->Sample(
      "vllm:cache_config_info",
      absl::StrCat("block_size=\"", page.config.block_tokens,
                   "\",cache_dtype=\"auto\",calculate_kv_scales=\"False\",cpu_offload_gb=\"0.0\","
                   "enable_prefix_caching=\"True\",engine=\"0\",gpu_memory_utilization=\"0.9\","
                   "is_attention_free=\"False\",kv_cache_memory_bytes=\"None\","
                   "mamba_cache_dtype=\"auto\",mamba_page_size_padded=\"None\","
                   "num_cpu_blocks=\"None\",num_gpu_blocks=\"",
                   page.config.kv_blocks,
                   "\",num_gpu_blocks_override=\"None\",prefix_caching_hash_algo=\"sha256\","
                   "sliding_window=\"None\",swap_space=\"4.0\",swap_space_bytes=\"4294967296.0\""),
      1);
}

void AppendLora(const MetricsPage& page, Writer* out) {
  if (page.max_lora == 0) return;
  out->Family("vllm:lora_requests_info", "gauge", "Running stats on lora requests.");
  for (const LoraState& state : page.lora) {
    out->Sample("vllm:lora_requests_info",
                absl::StrCat("max_lora=\"", page.max_lora, "\",running_lora_adapters=\"",
                             Escaped(state.running), "\",waiting_lora_adapters=\"",
                             Escaped(state.waiting), "\""),
                state.since_s);
  }
}

// What the HTTP framework of vLLM adds: one histogram per route.
void AppendHttp(std::string_view handler, std::string_view method, Writer* out) {
  Histogram histogram(kHttpBounds);
  histogram.Observe(0.003);
  histogram.Append("http_request_duration_seconds", "",
                   absl::StrCat("handler=\"", ToAbsl(handler), "\""),
                   absl::StrCat("method=\"", ToAbsl(method), "\""), &out->page);
}

}  // namespace

Histogram::Histogram(std::span<const double> bounds) : bounds_(bounds), counts_(bounds.size()) {}

void Histogram::Observe(double value) {
  const auto it = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  if (it != bounds_.end()) ++counts_[static_cast<size_t>(it - bounds_.begin())];
  ++count_;
  sum_ += value;
}

void Histogram::Append(std::string_view name, std::string_view help, std::string_view first_label,
                       std::string_view last_label, std::string* page) const {
  if (!help.empty()) {
    absl::StrAppend(page, "# HELP ", ToAbsl(name), " ", ToAbsl(help), "\n# TYPE ", ToAbsl(name),
                    " histogram\n");
  }
  const auto bucket = [&](const std::string& bound, uint64_t count) {
    absl::StrAppend(page, ToAbsl(name), "_bucket{", ToAbsl(first_label), ",le=\"", bound, "\",",
                    ToAbsl(last_label), "} ");
    absl::StrAppend(page, Number(static_cast<double>(count)), "\n");
  };
  uint64_t cumulative = 0;
  for (size_t i = 0; i < bounds_.size(); ++i) {
    cumulative += counts_[i];
    bucket(Number(bounds_[i]), cumulative);
  }
  bucket("+Inf", count_);
  const std::string labels = absl::StrCat("{", ToAbsl(first_label), ",", ToAbsl(last_label), "} ");
  absl::StrAppend(page, ToAbsl(name), "_count", labels, Number(static_cast<double>(count_)), "\n");
  absl::StrAppend(page, ToAbsl(name), "_sum", labels, Number(sum_), "\n");
}

ServerMetrics::ServerMetrics()
    : time_to_first_token(kTtftBounds),
      inter_token_latency(kTokenTimeBounds),
      time_per_output_token(kTokenTimeBounds),
      e2e_latency(kRequestTimeBounds),
      queue_time(kRequestTimeBounds),
      prefill_time(kRequestTimeBounds),
      decode_time(kRequestTimeBounds),
      prompt_tokens(kTokenCountBounds),
      generation_tokens(kTokenCountBounds),
      max_tokens(kTokenCountBounds) {}

std::string RenderMetrics(const MetricsPage& page, const ServerMetrics& metrics) {
  Writer out(absl::StrCat("engine=\"0\",model_name=\"", Escaped(page.model), "\""));
  AppendProcess(page.started_s, &out);
  out.Gauge("vllm:num_requests_running", "Number of requests in model execution batches.",
            page.running);
  out.Gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.",
            page.waiting);
  out.Gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.",
            page.kv_usage);
  const EngineStats& engine = page.engine;
  const auto counter = [&](const char* name, const char* help, uint64_t value) {
    out.Counter(name, help, static_cast<double>(value), page.started_s);
  };
  counter("vllm:prefix_cache_queries",
          "Prefix cache queries, in terms of number of queried tokens.", engine.prompt_tokens);
  counter("vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.",
          engine.cached_tokens);
  counter("vllm:num_preemptions", "Cumulative number of preemption from the engine.",
          engine.preemptions);
  counter("vllm:prompt_tokens", "Number of prefill tokens processed.", engine.prompt_tokens);
  counter("vllm:generation_tokens", "Number of generation tokens processed.",
          engine.generated_tokens);
  out.Family("vllm:request_success_total", "counter", "Count of successfully processed requests.");
  for (const auto& [reason, count] : {std::pair("stop", metrics.finished_stop),
                                      {"length", metrics.finished_length},
                                      {"abort", metrics.finished_abort}}) {
    out.Sample("vllm:request_success_total",
               absl::StrCat("engine=\"0\",finished_reason=\"", reason, "\",model_name=\"",
                            Escaped(page.model), "\""),
               static_cast<double>(count));
  }
  const std::string model_label = absl::StrCat("model_name=\"", Escaped(page.model), "\"");
  const auto histogram = [&](const char* name, const char* help, const Histogram& values) {
    values.Append(name, help, "engine=\"0\"", model_label, &out.page);
  };
  histogram("vllm:request_prompt_tokens", "Number of prefill tokens processed.",
            metrics.prompt_tokens);
  histogram("vllm:request_generation_tokens", "Number of generation tokens processed.",
            metrics.generation_tokens);
  histogram("vllm:request_params_max_tokens", "Histogram of the max_tokens request parameter.",
            metrics.max_tokens);
  histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.",
            metrics.time_to_first_token);
  histogram("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.",
            metrics.inter_token_latency);
  histogram("vllm:request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
            metrics.time_per_output_token);
  histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.",
            metrics.e2e_latency);
  histogram("vllm:request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.", metrics.queue_time);
  histogram("vllm:request_prefill_time_seconds",
            "Histogram of time spent in PREFILL phase for request.", metrics.prefill_time);
  histogram("vllm:request_decode_time_seconds",
            "Histogram of time spent in DECODE phase for request.", metrics.decode_time);
  AppendCacheInfo(page, &out);
  AppendLora(page, &out);
  out.Family("http_request_duration_seconds", "histogram", "Duration of HTTP requests in seconds");
  AppendHttp("/v1/chat/completions", "POST", &out);
  for (uint32_t route = 0; out.page.size() < page.min_bytes; ++route) {
    AppendHttp(absl::StrCat("/v1/route/", route), "GET", &out);
  }
  return std::move(out.page);
}

std::string MetricsFiller(uint64_t number) {
  constexpr size_t kBytes = 64u << 10;
  std::string page;
  page.reserve(kBytes + 256);
  for (uint64_t i = 0; page.size() < kBytes; ++i) {
    absl::StrAppend(&page, "sim_filler{part=\"", number, "\",series=\"", i,
                    "\",pad=\"0123456789012345678901234567890123456789\"} ", i, "\n");
  }
  return page;
}

std::string GarbageMetrics() {
  std::string page = "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{a=\"b} 1\n";
  page += "vllm:num_requests_running 12abc\n{} {} {}\nvllm:kv_cache_usage_perc{model=\"x\"}\n";
  for (int byte = 0; byte < 256; ++byte) page.push_back(static_cast<char>(byte));
  page += "\n\xff\xfe# TYPE\n# HELP\nvllm:num_requests_waiting 1e99999999999";
  return page;
}

}  // namespace epp::sim
