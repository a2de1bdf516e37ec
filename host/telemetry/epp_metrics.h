// The metric families of the product, by the names that dashboards know.
//
// `llm_d_epp_*` keep the names, labels and buckets of the program that we replace; `epp_*` are
// ours. Everything on the request path is a handle resolved when its labels are known; the rest are
// families to call With on.
//
// Threads: any. Lifetime: borrows the registry. Two objects on one registry share all values.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "host/base/mutex.h"
#include "host/telemetry/label_cap.h"
#include "host/telemetry/metrics.h"

namespace epp::telemetry {

// A metric and, when old names are on, its deprecated twin.
template <typename T>
struct Aliased {
  T now;
  T old;
  void Observe(double value) const { now.Observe(value), old.Observe(value); }
  void Add(int64_t n = 1) const { now.Add(n), old.Add(n); }
  void Set(double value) const { now.Set(value), old.Set(value); }
};

enum class ErrorCode {
  kUnknown,
  kBadRequest,
  kUnauthorized,
  kForbidden,
  kNotFound,
  kPreconditionFailed,
  kInternal,
  kServiceUnavailable,
  kModelServerError,
  kResourceExhausted,
};
inline constexpr int kErrorCodes = 10;
std::string_view ErrorCodeName(ErrorCode code);

// The handles of one label set of a request: model before and after rewriting, fairness id,
// priority. Lives as long as its EppMetrics.
struct RequestSeries {
  Aliased<Counter> total;             // scheduled and about to be forwarded
  Aliased<Histogram> duration;        // seconds; normal ends only
  Aliased<Histogram> request_bytes;   // body as received
  Aliased<Histogram> response_bytes;  // sum of the response body seen
  Aliased<Histogram> input_tokens;    // once, at the final usage
  Aliased<Histogram> output_tokens;   // likewise
  Aliased<Histogram> cached_tokens;   // likewise, zero included
  Aliased<UpDown> running;            // +1 at hand-over, -1 at the end however it comes
  Aliased<Histogram> ntpot;           // seconds per output token
  std::array<Histogram, 2> ttft;      // seconds; [streaming]
  Histogram tpot;                     // seconds, streaming only
  Histogram itl;                      // seconds between body messages

  // Counters by error code, made on first use.
  std::array<std::string, 4> labels;
  mutable std::array<std::atomic<const Aliased<Counter>*>, kErrorCodes> errors{};
};

struct EppMetricsOptions {
  int workers = 1;              // as given to the registry
  bool old_names = false;       // also emit the deprecated aliases
  bool stream_metrics = false;  // ext-proc stream families
  std::string commit = {};      // for the info gauge
  std::string build_ref = {};
};

// What a pool looks like now; see SetPool.
struct PoolStats {
  int fresh = 0;  // endpoints with fresh metrics
  double average_kv = 0, average_queue = 0, average_running = 0;
  double std_dev_kv = 0, std_dev_queue = 0, std_dev_running = 0;
};

class EppMetrics {
 public:
  EppMetrics(Registry* registry, EppMetricsOptions options);
  ~EppMetrics();
  EppMetrics(const EppMetrics&) = delete;
  EppMetrics& operator=(const EppMetrics&) = delete;

  Registry& registry() const { return registry_; }

  // Configured names: always literal and outside the cap.
  void PinModel(std::string_view model) { models_.Pin(model); }
  // `model`, or "other" beyond the cap; for other families that carry a model label.
  std::string_view AdmitModel(std::string_view model) { return models_.Admit(model); }

  // The handles of a request. Client-fed labels are capped.
  // Cost: on a worker one hash look-up without a lock; elsewhere a lock.
  const RequestSeries& Request(std::string_view model, std::string_view target_model,
                               std::string_view fairness_id, int64_t priority);
  void RequestError(const RequestSeries& series, ErrorCode code);

  // One run of the scheduler; the endpoint's labels are empty on failure.
  // Cost: as Request.
  void SchedulerAttempt(bool success, std::string_view target_model, std::string_view endpoint_name,
                        std::string_view name_space, std::string_view port);
  // Drops the series of an endpoint that left.
  void EndpointGone(std::string_view endpoint_name, std::string_view name_space);

  // Seconds of one call of a plugin; resolve when wiring. `extension_point` is "Filter",
  // "Scorer"...
  Aliased<Histogram> PluginDuration(std::string_view extension_point, std::string_view type,
                                    std::string_view name) const;
  void ModelRewrite(std::string_view rewrite, std::string_view model, std::string_view target);

  // Replaces the pool gauges. Averages are rounded to two decimals; without a fresh endpoint they
  // disappear instead of keeping their last value.
  void SetPool(std::string_view pool, const PoolStats& stats);
  // Samples of per_endpoint_queue_size are made at collection: fn emits {pool, namespace,
  // endpoint}.
  [[nodiscard]] std::unique_ptr<Registry::Callback> PerEndpointQueue(
      std::function<void(const Emit&)> fn);

  // The configuration now in force; replaces the one series of epp_config_info.
  void SetConfigInfo(std::string_view digest, uint64_t generation);

  enum Phase { kParse, kProduce, kFilter, kScore, kPick, kTotal, kPhases };

  // Request path.
  std::array<Histogram, kPhases> decision_seconds;
  Aliased<Histogram> scheduler_seconds;
  Histogram request_processing_seconds;
  Histogram response_processing_seconds;
  Counter decision_records;
  CounterFamily plugin_bad_score;  // plugin

  // Ext-proc streams; no-ops unless asked for.
  UpDown streams_inflight;
  Histogram stream_seconds;
  CounterFamily streams_total;  // code

  // Data layer.
  Aliased<CounterFamily> poll_errors;     // source_type
  Aliased<CounterFamily> extract_errors;  // source_type, extractor_type
  GaugeFamily pool_endpoints;             // state
  Gauge scrape_max_age_seconds;

  // Configuration.
  Gauge last_reload_successful;
  Gauge last_reload_success_timestamp_seconds;
  CounterFamily reloads;           // result
  HistogramFamily reload_seconds;  // phase
  CounterFamily state_transfers;   // result: carried, lost
  Gauge generation;
  Gauge generations_draining;
  Gauge config_pinned;
  Gauge config_restart_required;
  GaugeFamily degraded;  // reason

  // Admin server.
  CounterFamily admin_requests;  // code
  UpDown admin_streams;

 private:
  struct Families;
  struct WorkerCache;

  std::unique_ptr<RequestSeries> MakeSeries(const std::array<std::string_view, 4>& labels) const;
  const RequestSeries& Shared(std::string_view model, std::string_view target,
                              std::string_view fairness, std::string_view priority);
  WorkerCache* Cache();

  Registry& registry_;
  const EppMetricsOptions options_;
  LabelCap models_;
  LabelCap fairness_;
  std::unique_ptr<Families> families_;
  std::unique_ptr<WorkerCache[]> caches_;  // one a worker
  Mutex mu_;
  absl::flat_hash_map<std::string, std::unique_ptr<RequestSeries>> series_ ABSL_GUARDED_BY(mu_);
  std::deque<Aliased<Counter>> errors_ ABSL_GUARDED_BY(mu_);
  Mutex config_mu_;
  std::vector<std::string> config_info_ ABSL_GUARDED_BY(config_mu_);
  std::vector<std::unique_ptr<Registry::Callback>> callbacks_;
};

}  // namespace epp::telemetry
