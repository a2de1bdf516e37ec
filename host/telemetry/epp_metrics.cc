#include "host/telemetry/epp_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "host/base/clock.h"
#include "host/telemetry/buckets.h"
#include "host/telemetry/log.h"

namespace epp::telemetry {
namespace {

constexpr char kPrefix[] = "llm_d_epp_";
constexpr char kObjective[] = "inference_objective_";
constexpr char kExtension[] = "inference_extension_";
constexpr size_t kMaxRequestSeries = 10'000;
constexpr size_t kMaxCachedKeys = 4096;

std::vector<double> Bounds(std::span<const double> bounds) {
  return {bounds.begin(), bounds.end()};
}

// Our own names are constants: a refusal is our bug, and no metric is worth running without.
template <typename T>
T Must(absl::StatusOr<T> family) {
  if (!family.ok()) {
    std::fprintf(stderr, "metrics: %s\n", family.status().ToString().c_str());
    std::abort();
  }
  return *std::move(family);
}

CounterFamily Make(Registry& r, FamilySpec spec, CounterFamily*) { return Must(r.Counters(spec)); }
UpDownFamily Make(Registry& r, FamilySpec spec, UpDownFamily*) { return Must(r.UpDowns(spec)); }
GaugeFamily Make(Registry& r, FamilySpec spec, GaugeFamily*) { return Must(r.Gauges(spec)); }
HistogramFamily Make(Registry& r, FamilySpec spec, HistogramFamily*) {
  return Must(r.Histograms(spec));
}

// A key of several texts: each is preceded by its length, so no two lists collide.
std::string_view JoinKey(std::span<const std::string_view> parts, std::string* buffer) {
  buffer->clear();
  for (std::string_view part : parts) {
    const auto n = static_cast<uint32_t>(part.size());
    buffer->append(reinterpret_cast<const char*>(&n), sizeof(n));
    buffer->append(part);
  }
  return *buffer;
}

absl::string_view Abseil(std::string_view text) { return {text.data(), text.size()}; }

double RoundCents(double value) { return std::round(value * 100) / 100; }

double ResidentBytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long total = 0, resident = 0;
  const int got = std::fscanf(file, "%ld %ld", &total, &resident);
  std::fclose(file);
  return got == 2 ? static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) : 0;
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

std::string_view ErrorCodeName(ErrorCode code) {
  static constexpr std::string_view kNames[kErrorCodes] = {
      "Unknown",          "BadRequest",         "Unauthorized", "Forbidden",
      "NotFound",         "PreconditionFailed", "Internal",     "ServiceUnavailable",
      "ModelServerError", "ResourceExhausted"};
  return kNames[static_cast<int>(code)];
}

// Families that are resolved behind functions.
struct EppMetrics::Families {
  template <typename F>
  struct Pair {
    F now;
    F old;
  };

  Families(Registry& r, bool old_names) : registry(r), old_names(old_names) {}

  // `alias` is a full name, or null for none.
  template <typename F>
  Pair<F> Add(const char* name, const char* help, std::vector<std::string> labels,
              std::span<const double> bounds, const std::string& alias,
              std::vector<std::string> alias_labels, bool hide_untouched) const {
    Pair<F> out;
    const std::string full = std::string(kPrefix) + name;
    out.now = Make(
        registry,
        {full, std::string("[ALPHA] ") + help, std::move(labels), Bounds(bounds), hide_untouched},
        static_cast<F*>(nullptr));
    if (old_names && !alias.empty()) {
      out.old = Make(registry,
                     {alias, "[ALPHA] [Deprecated: Use " + full + "] " + help,
                      std::move(alias_labels), Bounds(bounds), hide_untouched},
                     static_cast<F*>(nullptr));
    }
    return out;
  }

  Registry& registry;
  const bool old_names;

  Pair<CounterFamily> total, error, rewrite, attempts;
  Pair<HistogramFamily> duration, request_bytes, response_bytes, input, output, cached, ntpot;
  Pair<UpDownFamily> running;
  HistogramFamily ttft, tpot, itl;
  Pair<HistogramFamily> plugin;
  Pair<GaugeFamily> average_kv, average_queue, average_running, ready;
  GaugeFamily std_dev_kv, std_dev_queue, std_dev_running;
  GaugeFamily config_info;
};

struct alignas(64) EppMetrics::WorkerCache {
  std::string key;
  absl::flat_hash_map<std::string, const RequestSeries*> requests;
  absl::flat_hash_map<std::string, Aliased<Counter>> attempts;
  uint64_t attempts_epoch = 0;
};

EppMetrics::EppMetrics(Registry* registry, EppMetricsOptions options)
    : registry_(*registry),
      options_(std::move(options)),
      families_(std::make_unique<Families>(*registry, options_.old_names)),
      caches_(std::make_unique<WorkerCache[]>(static_cast<size_t>(std::max(options_.workers, 0)))) {
  Families& f = *families_;
  const std::vector<std::string> l = {"model_name", "target_model_name", "fairness_id", "priority"};
  const std::vector<std::string> models = {"model_name", "target_model_name"};
  const auto with = [](std::vector<std::string> labels, const char* more) {
    labels.emplace_back(more);
    return labels;
  };
  const auto objective = [](const char* name) { return std::string(kObjective) + name; };
  const auto extension = [](const char* name) { return std::string(kExtension) + name; };

  f.total = f.Add<CounterFamily>("request_total", "Requests scheduled, by model and priority.", l,
                                 {}, objective("request_total"), with(models, "priority"), true);
  f.error = f.Add<CounterFamily>("request_error_total", "Requests that failed, by error code.",
                                 with(l, "error_code"), {}, objective("request_error_total"),
                                 with(models, "error_code"), true);
  f.duration = f.Add<HistogramFamily>(
      "request_duration_seconds", "Seconds from request headers to the end of the response.", l,
      buckets::kGeneral, objective("request_duration_seconds"), models, true);
  f.request_bytes =
      f.Add<HistogramFamily>("request_size_bytes", "Bytes of the request body.", l,
                             buckets::kRequestBytes, objective("request_sizes"), models, true);
  f.response_bytes =
      f.Add<HistogramFamily>("response_size_bytes", "Bytes of the response body.", l,
                             buckets::kResponseBytes, objective("response_sizes"), models, true);
  f.input = f.Add<HistogramFamily>("request_input_tokens", "Prompt tokens of a request.", l,
                                   buckets::kInputTokens, objective("input_tokens"), models, true);
  f.output =
      f.Add<HistogramFamily>("request_output_tokens", "Generated tokens of a request.", l,
                             buckets::kOutputTokens, objective("output_tokens"), models, true);
  f.cached = f.Add<HistogramFamily>("request_cached_tokens", "Prompt tokens served from a cache.",
                                    l, buckets::kInputTokens, objective("prompt_cached_tokens"),
                                    models, true);
  f.running =
      f.Add<UpDownFamily>("request_running", "Requests handed to a model server and not ended.", l,
                          {}, objective("running_requests"), {"model_name"}, false);
  f.ntpot = f.Add<HistogramFamily>(
      "request_ntpot_seconds", "Request duration per output token.", l, buckets::kNtpot,
      objective("normalized_time_per_output_token_seconds"), models, true);
  f.ttft = f.Add<HistogramFamily>("request_ttft_seconds", "Seconds to the first response bytes.",
                                  with(l, "streaming"), buckets::kTtft, "", {}, true)
               .now;
  f.tpot = f.Add<HistogramFamily>("request_streaming_tpot_seconds",
                                  "Seconds per output token after the first, streaming requests.",
                                  l, buckets::kTpot, "", {}, true)
               .now;
  f.itl = f.Add<HistogramFamily>("request_streaming_itl_seconds",
                                 "Seconds between response body messages.", l, buckets::kItl, "",
                                 {}, true)
              .now;
  request_processing_seconds =
      f.Add<HistogramFamily>("request_processing_duration_seconds",
                             "Seconds from request headers until the request was handled.", {},
                             buckets::kRequestProcessing, "", {}, false)
          .now.With({});
  response_processing_seconds = f.Add<HistogramFamily>("response_processing_duration_seconds",
                                                       "Seconds spent handling the response.", {},
                                                       buckets::kResponseProcessing, "", {}, false)
                                    .now.With({});
  const std::vector<std::string> rewrite = {"model_rewrite_name", "model_name", "target_model"};
  f.rewrite =
      f.Add<CounterFamily>("model_rewrite_decisions_total", "Models rewritten, by rule.", rewrite,
                           {}, extension("model_rewrite_decisions_total"), rewrite, true);
  const auto info = f.Add<GaugeFamily>("info", "Build information.", {"commit", "build_ref"}, {},
                                       extension("info"), {"commit", "build_ref"}, false);
  info.now.With({options_.commit, options_.build_ref}).Set(1);
  info.old.With({options_.commit, options_.build_ref}).Set(1);

  const auto pool = [&](const char* name, const char* help, const char* alias) {
    return f.Add<GaugeFamily>(name, help, {"name"}, {}, alias, {"name"}, false);
  };
  f.average_kv =
      pool("average_kv_cache_utilization", "Mean KV cache use of fresh endpoints, 0 to 1.",
           "inference_pool_average_kv_cache_utilization");
  f.average_queue = pool("average_queue_size", "Mean waiting requests of fresh endpoints.",
                         "inference_pool_average_queue_size");
  f.average_running = pool("average_running_requests", "Mean running requests of fresh endpoints.",
                           "inference_pool_average_running_requests");
  f.std_dev_kv = pool("std_dev_kv_cache_utilization", "Sample deviation of KV cache use.", "").now;
  f.std_dev_queue = pool("std_dev_queue_size", "Sample deviation of waiting requests.", "").now;
  f.std_dev_running =
      pool("std_dev_running_requests", "Sample deviation of running requests.", "").now;
  f.ready = pool("ready_endpoints", "Endpoints with fresh metrics.", "inference_pool_ready_pods");

  const auto e2e = f.Add<HistogramFamily>(
      "scheduler_e2e_duration_seconds", "Seconds of a scheduler run, all profiles.", {},
      buckets::kShort, extension("scheduler_e2e_duration_seconds"), {}, false);
  scheduler_seconds = {e2e.now.With({}), e2e.old.With({})};
  f.attempts =
      f.Add<CounterFamily>("scheduler_attempts_total", "Scheduler runs, by outcome and endpoint.",
                           {"status", "target_model_name", "endpoint_name", "namespace", "port"},
                           {}, extension("scheduler_attempts_total"),
                           {"status", "target_model_name", "pod_name", "namespace", "port"}, true);
  const std::vector<std::string> plugin = {"extension_point", "plugin_type", "plugin_name"};
  f.plugin =
      f.Add<HistogramFamily>("plugin_duration_seconds", "Seconds of a call of a plugin.", plugin,
                             buckets::kShort, extension("plugin_duration_seconds"), plugin, false);
  const auto poll = f.Add<CounterFamily>(
      "datalayer_poll_errors_total", "Failed scrapes, by source.", {"source_type"}, {},
      "llm_d_inference_scheduler_datalayer_poll_errors_total", {"source_type"}, false);
  poll_errors = {poll.now, poll.old};
  const std::vector<std::string> extract = {"source_type", "extractor_type"};
  const auto extraction = f.Add<CounterFamily>(
      "datalayer_extract_errors_total", "Failed extractions, by source and extractor.", extract, {},
      "llm_d_inference_scheduler_datalayer_extract_errors_total", extract, false);
  extract_errors = {extraction.now, extraction.old};

  if (options_.stream_metrics) {
    streams_inflight = f.Add<UpDownFamily>("extproc_streams_inflight", "Open ext-proc streams.", {},
                                           {}, "", {}, false)
                           .now.With({});
    stream_seconds =
        f.Add<HistogramFamily>("extproc_stream_duration_seconds", "Seconds a stream was open.", {},
                               buckets::kStream, "", {}, false)
            .now.With({});
    streams_total = f.Add<CounterFamily>("extproc_streams_total", "Ended streams, by status.",
                                         {"code"}, {}, "", {}, false)
                        .now;
  }

  Registry& r = registry_;
  const auto gauge = [&](const char* name, const char* help) {
    return Must(r.Gauges({name, help})).With({});
  };
  last_reload_successful =
      gauge("epp_config_last_reload_successful", "1 when the file's text is the text in force.");
  last_reload_success_timestamp_seconds =
      gauge("epp_config_last_reload_success_timestamp_seconds", "When a text was last applied.");
  state_transfers = Must(r.Counters({"epp_state_transfers_total",
                                     "Instances replaced at a reload whose state was carried over, "
                                     "or lost.",
                                     {"result"}}));
  reloads =
      Must(r.Counters({"epp_config_reloads_total", "Reload attempts, by result.", {"result"}}));
  reload_seconds = Must(r.Histograms({"epp_config_reload_duration_seconds",
                                      "Seconds of a phase of a reload.",
                                      {"phase"},
                                      Bounds(buckets::kReload)}));
  f.config_info =
      Must(r.Gauges({"epp_config_info", "The configuration in force.", {"digest", "generation"}}));
  generation = gauge("epp_generation", "Number of the generation in force.");
  generations_draining = gauge("epp_generations_draining", "Old generations that still serve.");
  config_pinned = gauge("epp_config_pinned", "1 while a rollback pins the configuration.");
  config_restart_required =
      gauge("epp_config_restart_required", "1 when a changed setting waits for a restart.");
  const auto decision = Must(r.Histograms({"epp_decision_duration_seconds",
                                           "Seconds of a phase of a decision.",
                                           {"phase"},
                                           Bounds(buckets::kDecision)}));
  static constexpr std::string_view kPhaseNames[kPhases] = {"parse", "produce", "filter",
                                                            "score", "pick",    "total"};
  for (int i = 0; i < kPhases; ++i) decision_seconds[i] = decision.With({kPhaseNames[i]});
  pool_endpoints = Must(r.Gauges({"epp_pool_endpoints", "Endpoints, by state.", {"state"}}));
  scrape_max_age_seconds =
      gauge("epp_scrape_max_age_seconds", "Age of the oldest metrics of any endpoint.");
  plugin_bad_score = Must(r.Counters(
      {"epp_plugin_bad_score_total", "Scores that were not a number from 0 to 1.", {"plugin"}}));
  degraded = Must(r.Gauges({"epp_degraded", "1 while the condition lasts.", {"reason"}}));
  decision_records =
      Must(r.Counters({"epp_decision_records_total", "Decisions recorded."})).With({});
  admin_requests =
      Must(r.Counters({"epp_admin_requests_total", "Admin requests, by status.", {"code"}}));
  admin_streams = Must(r.UpDowns({"epp_admin_streams", "Open event streams."})).With({});

  callbacks_.push_back(Must(r.CounterCallback(
      {"epp_log_suppressed_total", "Log lines left out by limits or a full queue."},
      [](const Emit& emit) {
        const log::Stats stats = log::GetStats();
        emit({}, static_cast<double>(stats.suppressed + stats.dropped));
      })));
  callbacks_.push_back(
      Must(r.CounterCallback({"process_cpu_seconds_total", "CPU seconds of the process."},
                             [](const Emit& emit) { emit({}, CpuSeconds()); })));
  callbacks_.push_back(
      Must(r.GaugeCallback({"process_resident_memory_bytes", "Resident memory of the process."},
                           [](const Emit& emit) { emit({}, ResidentBytes()); })));
  Must(r.Gauges({"process_start_time_seconds", "When the process started."}))
      .With({})
      .Set(static_cast<double>(Clock::Real().unix_ns() / 1'000'000) / 1e3);
}

EppMetrics::~EppMetrics() = default;

std::unique_ptr<RequestSeries> EppMetrics::MakeSeries(
    const std::array<std::string_view, 4>& labels) const {
  const Families& f = *families_;
  const LabelValues l(labels.begin(), labels.end());
  const LabelValues models = {labels[0], labels[1]};
  const auto with_streaming = [&](std::string_view streaming) {
    LabelValues out = l;
    out.push_back(streaming);
    return out;
  };
  auto out = std::make_unique<RequestSeries>();
  out->total = {f.total.now.With(l), f.total.old.With({labels[0], labels[1], labels[3]})};
  out->duration = {f.duration.now.With(l), f.duration.old.With(models)};
  out->request_bytes = {f.request_bytes.now.With(l), f.request_bytes.old.With(models)};
  out->response_bytes = {f.response_bytes.now.With(l), f.response_bytes.old.With(models)};
  out->input_tokens = {f.input.now.With(l), f.input.old.With(models)};
  out->output_tokens = {f.output.now.With(l), f.output.old.With(models)};
  out->cached_tokens = {f.cached.now.With(l), f.cached.old.With(models)};
  out->running = {f.running.now.With(l), f.running.old.With({labels[0]})};
  out->ntpot = {f.ntpot.now.With(l), f.ntpot.old.With(models)};
  out->ttft = {f.ttft.With(with_streaming("false")), f.ttft.With(with_streaming("true"))};
  out->tpot = f.tpot.With(l);
  out->itl = f.itl.With(l);
  for (size_t i = 0; i < labels.size(); ++i) out->labels[i] = labels[i];
  return out;
}

EppMetrics::WorkerCache* EppMetrics::Cache() {
  const int slot = WorkerSlot();
  return slot >= 1 && slot <= options_.workers ? &caches_[static_cast<size_t>(slot - 1)] : nullptr;
}

const RequestSeries& EppMetrics::Shared(std::string_view model, std::string_view target,
                                        std::string_view fairness, std::string_view priority) {
  std::array<std::string_view, 4> labels = {models_.Admit(model), models_.Admit(target),
                                            fairness_.Admit(fairness), priority};
  std::string key;
  JoinKey(labels, &key);
  MutexLock lock(&mu_);
  if (const auto it = series_.find(key); it != series_.end()) return *it->second;
  if (series_.size() >= kMaxRequestSeries) {
    labels.fill(LabelCap::kOther);
    JoinKey(labels, &key);
  }
  std::unique_ptr<RequestSeries>& made = series_[key];
  if (made == nullptr) made = MakeSeries(labels);
  return *made;
}

const RequestSeries& EppMetrics::Request(std::string_view model, std::string_view target_model,
                                         std::string_view fairness_id, int64_t priority) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof(digits), priority).ptr;
  const std::string_view level(digits, static_cast<size_t>(end - digits));
  WorkerCache* cache = Cache();
  if (cache == nullptr) return Shared(model, target_model, fairness_id, level);
  const std::string_view parts[] = {model, target_model, fairness_id, level};
  const absl::string_view key = Abseil(JoinKey(parts, &cache->key));
  if (const auto it = cache->requests.find(key); it != cache->requests.end()) return *it->second;
  const RequestSeries& series = Shared(model, target_model, fairness_id, level);
  // Keys are raw client text; a flood of them must not grow the cache.
  if (cache->requests.size() >= kMaxCachedKeys) cache->requests.clear();
  cache->requests.emplace(cache->key, &series);
  return series;
}

void EppMetrics::RequestError(const RequestSeries& series, ErrorCode code) {
  auto& slot = series.errors[static_cast<size_t>(code)];
  const Aliased<Counter>* counter = slot.load(std::memory_order_acquire);
  if (counter == nullptr) {
    const std::string_view name = ErrorCodeName(code);
    const auto& l = series.labels;
    const Aliased<Counter> made = {families_->error.now.With({l[0], l[1], l[2], l[3], name}),
                                   families_->error.old.With({l[0], l[1], name})};
    MutexLock lock(&mu_);
    counter = slot.load(std::memory_order_acquire);
    if (counter == nullptr) {
      counter = &errors_.emplace_back(made);
      slot.store(counter, std::memory_order_release);
    }
  }
  counter->Add();
}

void EppMetrics::SchedulerAttempt(bool success, std::string_view target_model,
                                  std::string_view endpoint_name, std::string_view name_space,
                                  std::string_view port) {
  const std::string_view parts[] = {success ? "success" : "failure", target_model, endpoint_name,
                                    name_space, port};
  const auto resolve = [&] {
    const LabelValues labels = {parts[0], models_.Admit(target_model), endpoint_name, name_space,
                                port};
    return Aliased<Counter>{families_->attempts.now.With(labels),
                            families_->attempts.old.With(labels)};
  };
  WorkerCache* cache = Cache();
  if (cache == nullptr) {
    resolve().Add();
    return;
  }
  const uint64_t epoch = families_->attempts.now.epoch();
  if (cache->attempts_epoch != epoch || cache->attempts.size() >= kMaxCachedKeys) {
    cache->attempts.clear();
    cache->attempts_epoch = epoch;
  }
  const absl::string_view key = Abseil(JoinKey(parts, &cache->key));
  auto it = cache->attempts.find(key);
  if (it == cache->attempts.end()) it = cache->attempts.emplace(cache->key, resolve()).first;
  it->second.Add();
}

void EppMetrics::EndpointGone(std::string_view endpoint_name, std::string_view name_space) {
  using Match = std::pair<std::string_view, std::string_view>;
  const Match now[] = {{"endpoint_name", endpoint_name}, {"namespace", name_space}};
  const Match old[] = {{"pod_name", endpoint_name}, {"namespace", name_space}};
  families_->attempts.old.RemoveWhere(old);
  families_->attempts.now.RemoveWhere(now);
}

Aliased<Histogram> EppMetrics::PluginDuration(std::string_view extension_point,
                                              std::string_view type, std::string_view name) const {
  return {families_->plugin.now.With({extension_point, type, name}),
          families_->plugin.old.With({extension_point, type, name})};
}

void EppMetrics::ModelRewrite(std::string_view rewrite, std::string_view model,
                              std::string_view target) {
  const LabelValues labels = {rewrite, models_.Admit(model), models_.Admit(target)};
  families_->rewrite.now.With(labels).Add();
  families_->rewrite.old.With(labels).Add();
}

void EppMetrics::SetPool(std::string_view pool, const PoolStats& stats) {
  Families& f = *families_;
  const LabelValues name = {pool};
  f.ready.now.With(name).Set(stats.fresh);
  f.ready.old.With(name).Set(stats.fresh);
  const std::pair<const GaugeFamily*, double> levels[] = {
      {&f.average_kv.now, stats.average_kv},
      {&f.average_kv.old, stats.average_kv},
      {&f.average_queue.now, stats.average_queue},
      {&f.average_queue.old, stats.average_queue},
      {&f.average_running.now, stats.average_running},
      {&f.average_running.old, stats.average_running},
      {&f.std_dev_kv, stats.std_dev_kv},
      {&f.std_dev_queue, stats.std_dev_queue},
      {&f.std_dev_running, stats.std_dev_running}};
  for (const auto& [family, value] : levels) {
    if (stats.fresh == 0) {
      family->Remove(name);
    } else {
      family->With(name).Set(RoundCents(value));
    }
  }
}

std::unique_ptr<Registry::Callback> EppMetrics::PerEndpointQueue(
    std::function<void(const Emit&)> fn) {
  return Must(registry_.GaugeCallback({std::string(kPrefix) + "per_endpoint_queue_size",
                                       "[ALPHA] Waiting requests of each endpoint.",
                                       {"name", "namespace", "model_server_endpoint"}},
                                      std::move(fn)));
}

void EppMetrics::SetConfigInfo(std::string_view digest, uint64_t generation_number) {
  const std::string number = std::to_string(generation_number);
  MutexLock lock(&config_mu_);
  if (!config_info_.empty()) families_->config_info.Remove({config_info_[0], config_info_[1]});
  config_info_ = {std::string(digest), number};
  families_->config_info.With({digest, number}).Set(1);
  generation.Set(static_cast<double>(generation_number));
}

}  // namespace epp::telemetry
