#include "host/serve/app.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "host/admin/admin_server.h"
#include "host/admin/pool_view.h"
#include "host/base/hostport.h"
#include "host/base/json_writer.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/extproc/grpc_server.h"
#include "host/extproc/health.h"
#include "host/extproc/size_string.h"
#include "host/pool/file_discovery.h"
#include "host/request/http_exchange.h"
#include "host/scrape/scrape_loop.h"
#include "host/serve/load.h"
#include "host/serve/traffic_meter.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr absl::Duration kFinishWithin = absl::Minutes(2);

std::string_view View(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

uint32_t WorkerCount(int64_t wanted) {
  if (wanted > 0) return static_cast<uint32_t>(wanted);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return 1;
  return static_cast<uint32_t>(std::clamp(CPU_COUNT(&cpus), 1, 256));
}

// "[::]:9002" as address and port.
absl::StatusOr<std::pair<std::string, uint16_t>> ParseListen(std::string_view key,
                                                             const std::string& listen) {
  const size_t colon = listen.rfind(':');
  uint32_t port = 0;
  if (colon != std::string::npos) {
    const char* begin = listen.data() + colon + 1;
    const char* end = listen.data() + listen.size();
    const auto [at, error] = std::from_chars(begin, end, port);
    if (error == std::errc() && at == end && begin != end && port <= 65535) {
      return std::pair(listen.substr(0, colon), static_cast<uint16_t>(port));
    }
  }
  return absl::InvalidArgumentError(
      StrCat(key, " is \"", listen, "\", want ADDRESS:PORT such as \"[::]:9002\""));
}

class ScrapeCounters final : public scrape::Observer {
 public:
  explicit ScrapeCounters(telemetry::EppMetrics* metrics) : metrics_(metrics) {}
  void PollFailed(const std::string& source) override {
    metrics_->poll_errors.now.With({source}).Add();
    metrics_->poll_errors.old.With({source}).Add();
  }
  void ExtractFailed(const std::string& source, const std::string& extractor) override {
    metrics_->extract_errors.now.With({source, extractor}).Add();
    metrics_->extract_errors.old.With({source, extractor}).Add();
  }

 private:
  telemetry::EppMetrics* metrics_;
};

// Drops the series of endpoints that left.
class GoneEndpoints final : public pool::PoolListener {
 public:
  explicit GoneEndpoints(telemetry::EppMetrics* metrics) : metrics_(metrics) {}
  void EndpointUpserted(const pool::Endpoint&) override {}
  void EndpointRemoved(const pool::Endpoint& endpoint) override {
    metrics_->EndpointGone(endpoint.fields().name, endpoint.fields().name_space);
  }

 private:
  telemetry::EppMetrics* metrics_;
};

class StreamCounters final : public extproc::StreamObserver {
 public:
  explicit StreamCounters(telemetry::EppMetrics* metrics) : metrics_(metrics) {}
  void OnStreamStart(uint32_t) override { metrics_->streams_inflight.Add(1); }
  void OnStreamEnd(uint32_t, int code, int64_t duration_ns) override {
    static constexpr const char* kNames[] = {
        "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
        "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
        "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
        "DataLoss", "Unauthenticated"};
    metrics_->streams_inflight.Add(-1);
    metrics_->stream_seconds.Observe(static_cast<double>(duration_ns) * 1e-9);
    const size_t index = code >= 0 && code < 17 ? static_cast<size_t>(code) : 2;
    metrics_->streams_total.With({kNames[index]}).Add();
  }

 private:
  telemetry::EppMetrics* metrics_;
};

class ServingApp final : public App, public extproc::HealthState, public admin::Backend {
 public:
  ServingApp(const cli::ServeCommandLine& command_line)
      : command_line_(command_line),
        settings_(command_line.settings.settings()),
        clock_(Clock::Real()),
        started_ns_(clock_.mono_ns()),
        started_unix_ns_(clock_.unix_ns()),
        platform_(settings_, WorkerCount(settings_.workers), command_line.flags.stream_metrics),
        rings_(platform_.workers(), {.records = static_cast<uint32_t>(settings_.records),
                                     .failures = static_cast<uint32_t>(settings_.records / 4)}),
        traffic_(&rings_),
        scrape_counters_(&platform_.metrics()),
        stream_counters_(&platform_.metrics()) {}

  ~ServingApp() override {
    // Requests first, then what they use.
    if (grpc_) grpc_->Stop();
    endpoint_queues_.reset();
    admin_.reset();
    metrics_server_.reset();
    health_.reset();
    grpc_.reset();
    factory_.reset();
    discovery_.reset();
    scraper_.reset();
    if (generation_) serving_.Publish(nullptr);
    generation_.reset();
    platform_.pool().RemoveListener(gone_.get());
    platform_.pool().RemoveListener(names_.get());
  }

  absl::Status Init(config::Diagnostics& diagnostics) {
    const auto text = ReadConfig(command_line_);
    if (!text.ok()) return text.status();
    generation_ = platform_.Build(1, *text, diagnostics);
    if (!generation_) return absl::InvalidArgumentError("the configuration is invalid");
    config_since_unix_ns_ = clock_.unix_ns();
    platform_.pool().AddListener(names_);
    platform_.pool().AddListener(gone_);
    names_->Add(NamesOf(*generation_));

    if (absl::Status status = StartDiscovery(diagnostics); !status.ok()) return status;
    generation_->AttachToPool();
    if (absl::Status status = StartScraping(); !status.ok()) return status;
    // The serving part lives inside the generation, so that requests keep the whole of it.
    serving_.Publish(std::shared_ptr<const request::Serving>(generation_, &generation_->serving()));
    if (absl::Status status = StartListeners(); !status.ok()) return status;
    ReportConfig();
    return absl::OkStatus();
  }

  int Run() override {
    EPP_LOG_EXEMPT(kInfo, "main", "ready",
                   {{"took_ms", (clock_.mono_ns() - started_ns_) / 1'000'000}});
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, signal);
    uint64_t next_flush = clock_.mono_ns();
    for (;;) {
      const timespec second{1, 0};
      const int signal = sigtimedwait(&signals, nullptr, &second);
      traffic_.Sample(clock_.mono_ns());
      if (clock_.mono_ns() >= next_flush) {
        FlushPoolMetrics();
        next_flush =
            clock_.mono_ns() + static_cast<uint64_t>(command_line_.flags.pool_metrics_interval_ns);
      }
      if (signal == SIGTERM || signal == SIGINT) break;
    }
    Drain(signals);
    return 0;
  }

  // extproc::HealthState
  bool Live() const override { return pool_loaded_.load(std::memory_order_acquire); }
  bool ProtocolOk() const override { return generation_->serving().parsers.Serves(""); }
  bool PluginsReady() const override {
    std::string reason;
    return PluginsReady(&reason);
  }
  bool Draining() const override { return draining_.load(std::memory_order_acquire); }
  bool Leader() const override { return true; }

  // admin::Backend
  admin::Status CurrentStatus() override {
    admin::Status status;
    status.version = EPP_VERSION;
    status.pid = getpid();
    status.started_unix_ns = started_unix_ns_;
    status.up_seconds = (clock_.mono_ns() - started_ns_) / kSecond;
    status.ready = Ready(&status.not_ready_reason);
    status.config_path = ConfigName();
    status.config_digest = generation_->config().digest.substr(0, 8);
    status.generation = generation_->serving().number;
    status.config_since_unix_ns = config_since_unix_ns_;
    status.pool_name = PoolName();
    status.pool_source = endpoints_path_;
    CountPool(status);
    status.requests_per_s = traffic_.requests_per_s();
    const TrafficMeter::Recent recent = traffic_.recent();
    status.running = grpc_ ? static_cast<int64_t>(grpc_->open_streams()) : recent.running;
    status.decision_p50_us = recent.p50_us;
    status.decision_p99_us = recent.p99_us;
    status.own_error_ratio = recent.own_error_ratio;
    status.decisions = rings_.total();
    status.instances = generation_->instances().size();
    status.libraries = platform_.catalog().libraries().size();
    for (const loader::RefusedLibrary& refused : platform_.catalog().refused()) {
      status.refused_libraries.push_back(StrCat(refused.path, ": ", View(refused.why)));
    }
    return status;
  }

  std::string VersionJson() override {
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("schema", "epp.version/1").Field("version", EPP_VERSION);
    w.Field("abi", StrCat(EPP_ABI_MAJOR, ".", EPP_ABI_MINOR)).Field("compiler", __VERSION__);
    w.EndObject();
    return out;
  }

  std::string ConfigJson() override {
    const config::ResolvedConfig& config = generation_->config();
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("schema", "epp.config/1").Field("generation", generation_->serving().number);
    w.Field("path", ConfigName()).Field("digest", config.digest.substr(0, 8));
    w.Key("plugins").BeginArray();
    for (const config::PluginSpec& plugin : config.plugins) {
      w.BeginObject();
      w.Field("name", plugin.name).Field("type", plugin.type->name());
      w.Field("origin", plugin.injected.empty()
                            ? StrCat(plugin.mark.source->name, ":", plugin.mark.line)
                            : StrCat("injected: ", plugin.injected));
      w.EndObject();
    }
    w.EndArray();
    w.Key("profiles").BeginArray();
    for (const config::ProfileSpec& profile : config.profiles) {
      w.BeginObject();
      w.Field("name", profile.name);
      w.Key("plugins").BeginArray();
      for (const config::ProfileEntry& entry : profile.entries) {
        w.BeginObject();
        w.Field("plugin", config.plugins[entry.plugin].name).Field("weight", entry.weight);
        w.EndObject();
      }
      w.EndArray();
      w.EndObject();
    }
    w.EndArray();
    w.EndObject();
    return out;
  }

  std::string GenerationsJson() override {
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("schema", "epp.generations/1");
    w.Key("generations").BeginArray();
    w.BeginObject();
    w.Field("number", generation_->serving().number).Field("cause", "start");
    w.Field("digest", generation_->config().digest.substr(0, 8)).Field("outcome", "serving");
    w.EndObject();
    w.EndArray();
    w.EndObject();
    return out;
  }

  std::string PluginsJson() override {
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("schema", "epp.plugins/1");
    w.Key("instances").BeginArray();
    for (const auto& instance : generation_->instances()) {
      w.BeginObject();
      w.Field("name", instance->name()).Field("type", instance->type().name());
      const auto& library = instance->type().library;
      w.Field("library", library ? library->info().name : std::string("epp"));
      if (library) w.Field("version", library->info().version);
      epp_error err{sizeof(epp_error), EPP_OK, {}};
      const auto* ready = instance->Get<epp_readiness>(EPP_READINESS_ID);
      const bool ok = !ready || ready->ready(instance->self(), &err) == EPP_OK;
      w.Field("ready", ok);
      if (!ok) w.Field("reason", std::string_view(err.message));
      w.EndObject();
    }
    w.EndArray();
    w.EndObject();
    return out;
  }

  std::string PluginStateJson(std::string_view name) override {
    for (const auto& instance : generation_->instances()) {
      if (instance->name() == name) return DumpOf(*instance);
    }
    return "";
  }

 private:
  static constexpr size_t kMaxDumpBytes = 256 * 1024;

  std::string ConfigName() const {
    if (!settings_.config_file.empty()) return settings_.config_file;
    return command_line_.flags.config_text.empty() ? "(built-in)" : "--config-text";
  }
  std::string PoolName() const {
    return command_line_.flags.pool_name.empty() ? "epp" : command_line_.flags.pool_name;
  }

  static admin::GenerationNames NamesOf(const runtime::Generation& generation) {
    admin::GenerationNames names;
    const scheduling::Wiring& wiring = generation.serving().wiring;
    names.number = generation.serving().number;
    for (const scheduling::BoundPlugin& plugin : wiring.plugins) {
      std::string column;
      if (!plugin.columns.empty()) {
        const scheduling::Source& source = plugin.columns[0];
        if (source.kind == scheduling::Source::Kind::kProduced) {
          column = wiring.produced[source.index].key;
        } else if (source.kind == scheduling::Source::Kind::kFrame) {
          column = generation.ColumnKey(source.index);
        }
      }
      names.plugins.push_back({plugin.name(), plugin.type_name(), std::move(column)});
    }
    for (const scheduling::Profile& profile : wiring.profiles) {
      names.profiles.push_back(profile.name);
    }
    return names;
  }

  void ReportConfig() {
    telemetry::EppMetrics& metrics = platform_.metrics();
    metrics.generation.Set(static_cast<double>(generation_->serving().number));
    metrics.last_reload_successful.Set(1);
    metrics.last_reload_success_timestamp_seconds.Set(
        static_cast<double>(clock_.unix_ns() / kSecond));
    metrics.SetConfigInfo(generation_->config().digest.substr(0, 8), generation_->serving().number);
    endpoint_queues_ = metrics.PerEndpointQueue([this](const telemetry::Emit& emit) {
      const auto frame = platform_.pool().current();
      const epp_column* queue = CoreColumn(*frame, "WaitingQueueSize", EPP_T_I64);
      if (queue == nullptr) return;
      for (size_t i = 0; i < frame->size(); ++i) {
        const pool::Endpoint::Fields& fields = frame->owners()[i]->fields();
        emit({PoolName(), fields.name_space, fields.name},
             static_cast<double>(static_cast<const int64_t*>(queue->values)[i]));
      }
    });
  }

  // A column that the core metrics extractor publishes; null when nobody does.
  const epp_column* CoreColumn(const pool::Frame& frame, std::string_view key, int32_t type) {
    const auto id = platform_.pool().attributes().Register(key, "core-metrics-extractor", type);
    if (!id.ok()) return nullptr;
    const epp_column& column = frame.column(*id);
    return column.values ? &column : nullptr;
  }

  absl::Status StartDiscovery(config::Diagnostics& diagnostics) {
    pool::FileDiscoverySettings file;
    if (!command_line_.flags.endpoints_file.empty()) {
      file = {command_line_.flags.endpoints_file, true, false};
    } else if (generation_->discovery()) {
      file = pool::FileDiscoverySettingsOf(generation_->discovery()->self());
    } else {
      diagnostics.Error({}, "EPP-CFG-NO-DISCOVERY",
                        "no endpoint discovery is configured: want dataLayer.discovery with a "
                        "plugin of type file-discovery, or --endpoints-file",
                        "", "Kubernetes discovery is not available in this version");
      return absl::InvalidArgumentError("the configuration is invalid");
    }
    endpoints_path_ = file.path;
    multicluster_ = file.multicluster;
    discovery_ = std::make_unique<pool::Discovery>();
    pool::Discovery::Options options;
    options.watch = file.watch;
    options.multicluster = file.multicluster;
    options.on_reload = [](const pool::LoadReport& report) { LogReload(report); };
    const pool::LoadReport report = discovery_->Start(file.path, options, &platform_.pool());
    for (const config::Diagnostic& d : report.diagnostics.all()) {
      if (d.severity == config::Severity::kError) {
        diagnostics.Error(d.mark, d.code, d.message, d.caret, d.hint);
      } else {
        diagnostics.Warning(d.mark, d.code, d.message, d.caret, d.hint);
      }
    }
    if (!report.applied) return absl::InvalidArgumentError("the endpoints file is unusable");
    platform_.pool().Publish();
    pool_loaded_.store(true, std::memory_order_release);
    return absl::OkStatus();
  }

  static void LogReload(const pool::LoadReport& report) {
    if (report.diagnostics.ok()) {
      EPP_LOG_EXEMPT(kInfo, "pool", "endpoints file applied", {{"endpoints", report.endpoints}});
      return;
    }
    EPP_LOG_EXEMPT(kError, "pool",
                   report.applied ? "endpoints file has bad entries"
                                  : "endpoints file refused, the former endpoints stay",
                   {{"endpoints", report.endpoints},
                    {"refused", report.refused},
                    {"errors", report.diagnostics.Render()}});
  }

  absl::Status StartScraping() {
    scrape::ScrapeLoop::Options options;
    options.tick_ns = static_cast<uint64_t>(settings_.scrape_interval);
    options.timeout_ns = static_cast<uint64_t>(settings_.scrape_timeout);
    options.max_body_bytes = static_cast<uint64_t>(settings_.scrape_max_body);
    options.metrics_labels = multicluster_;
    scraper_ = std::make_unique<scrape::ScrapeLoop>(&platform_.pool(), options, &scrape_counters_);
    std::vector<scrape::Source> sources;
    for (const runtime::DataSource& from : generation_->sources()) {
      scrape::Source source;
      source.name = from.instance->name();
      source.type = from.instance->type().name();
      source.plan = from.plan;
      source.owner = generation_;
      for (const runtime::Extractor& e : from.extractors) {
        source.extractors.push_back({std::string(e.instance->type().name()), e.instance->self(),
                                     e.table, e.attributes, e.types, generation_});
      }
      sources.push_back(std::move(source));
    }
    return scraper_->SetSources(std::move(sources));
  }

  request::Services RequestServices() {
    request::Services services;
    services.clock = &clock_;
    services.pool = &platform_.pool();
    services.serving = &serving_;
    services.metrics = &platform_.metrics();
    services.decisions = &rings_;
    services.identifier_key = clock_.unix_ns() * 0x9e3779b97f4a7c15u;
    services.options.max_body_bytes = static_cast<uint64_t>(settings_.max_body);
    services.options.subset_filter = command_line_.flags.subset_filter;
    services.options.emit_endpoint_scores = command_line_.flags.emit_endpoint_scores;
    services.options.echo_headers = settings_.echo_headers;
    services.options.single_destination = settings_.single_destination;
    services.options.strip_system_headers = settings_.strip_system_headers;
    services.options.bodyless_unavailable = settings_.bodyless_unavailable;
    services.options.observe_responses = settings_.observe;
    return services;
  }

  absl::Status StartListeners() {
    factory_ =
        std::make_unique<request::HttpExchangeFactory>(RequestServices(), platform_.workers());
    const cli::ServeFlags& flags = command_line_.flags;
    const auto grpc_listen = ParseListen("serve.grpc_listen", settings_.grpc_listen);
    if (!grpc_listen.ok()) return grpc_listen.status();
    const auto health_listen = ParseListen("serve.health_listen", settings_.health_listen);
    if (!health_listen.ok()) return health_listen.status();
    const auto receive = extproc::ParseSizeString(flags.max_recv_message);
    if (!receive.ok()) return receive.status();
    const auto send = extproc::ParseSizeString(flags.max_send_message);
    if (!send.ok()) return send.status();

    extproc::ServerOptions server;
    server.address = grpc_listen->first;
    server.port = grpc_listen->second;
    server.workers = platform_.workers();
    server.max_receive_bytes = *receive;
    server.max_send_bytes = *send;
    server.health_checking = flags.health_checking;
    server.mode_override = settings_.mode_override;
    server.tls.secure = settings_.secure;
    server.tls.cert_path = settings_.cert_dir;
    server.tls.reload = settings_.cert_reload;
    server.tls.min_version = settings_.tls_min;
    server.tls.cipher_suites = flags.tls_cipher_suites;
    server.observer = flags.stream_metrics ? &stream_counters_ : nullptr;
    server.log_error = [](std::string_view line) {
      EPP_LOG(kError, "extproc", "ext-proc server", {{"error", line}});
    };
    auto grpc = extproc::GrpcServer::Start(server, *factory_);
    if (!grpc.ok()) return grpc.status();
    grpc_ = std::move(*grpc);

    auto health = extproc::HealthServer::Start(
        {health_listen->first, health_listen->second, flags.leader_election}, *this);
    if (!health.ok()) return health.status();
    health_ = std::move(*health);
    if (absl::Status status = StartMetricsServer(); !status.ok()) return status;
    return StartAdmin();
  }

  absl::Status StartMetricsServer() {
    if (settings_.metrics_listen.empty()) return absl::OkStatus();
    http::Router router;
    router.Handle("GET", "/metrics", [this](http::Request, http::Responder responder) {
      http::Response response;
      response.content_type = telemetry::Registry::kContentType;
      response.body = platform_.registry().Text();
      responder.Send(std::move(response));
    });
    const auto text = [](int status, std::string body) {
      http::Response response;
      response.status = status;
      response.content_type = "text/plain; charset=utf-8";
      response.body = std::move(body);
      return response;
    };
    router.Handle("GET", "/healthz", [text](http::Request, http::Responder responder) {
      responder.Send(text(200, "ok\n"));
    });
    router.Handle("GET", "/readyz", [this, text](http::Request, http::Responder responder) {
      std::string reason;
      const bool ready = Ready(&reason);
      responder.Send(text(ready ? 200 : 503, ready ? "ok\n" : reason + "\n"));
    });
    router.Handle("GET", "/debug/plugins/state", [this](http::Request, http::Responder responder) {
      http::Response response;
      response.body = AllStatesJson();
      responder.Send(std::move(response));
    });
    router.Handle("GET", "/debug/pprof/*", [text](http::Request, http::Responder responder) {
      responder.Send(text(404, "no Go profiles here: use perf, symbols are in the binary\n"));
    });
    http::ServerOptions options;
    options.thread_name = "epp-metrics";
    options.listen.push_back({.tcp = settings_.metrics_listen});
    auto server = http::Server::Start(options, std::move(router));
    if (!server.ok()) return server.status();
    metrics_server_ = std::move(*server);
    return absl::OkStatus();
  }

  absl::Status StartAdmin() {
    if (settings_.admin_socket.empty()) return absl::OkStatus();
    auto server = admin::StartAdminServer(
        {settings_.admin_socket, settings_.admin_socket_group},
        {this, names_.get(), &rings_, &platform_.pool(), &clock_, &platform_.metrics()});
    if (!server.ok()) {
      // A missing /run/epp must not keep requests from being served.
      EPP_LOG_EXEMPT(kWarn, "admin", "admin socket is off",
                     {{"path", settings_.admin_socket}, {"error", View(server.status())}});
      return absl::OkStatus();
    }
    admin_ = std::move(*server);
    return absl::OkStatus();
  }

  bool PluginsReady(std::string* reason) const {
    for (const auto& instance : generation_->instances()) {
      const auto* ready = instance->Get<epp_readiness>(EPP_READINESS_ID);
      epp_error err{sizeof(epp_error), EPP_OK, {}};
      if (ready && ready->ready(instance->self(), &err) != EPP_OK) {
        *reason = StrCat("plugin \"", instance->name(),
                         "\" is not ready: ", std::string_view(err.message));
        return false;
      }
    }
    return true;
  }

  bool Ready(std::string* reason) const {
    if (Draining()) {
      *reason = "draining";
    } else if (!Live()) {
      *reason = "the pool is not loaded yet";
    } else {
      return PluginsReady(reason);
    }
    return false;
  }

  static std::string DumpOf(const loader::Instance& instance) {
    const auto* dump = instance.Get<epp_dump_state>(EPP_DUMP_STATE_ID);
    std::string state;
    if (dump == nullptr) {
      JsonWriter(&state).Value("plugin does not support state collection");
      return state;
    }
    const epp_writer writer{sizeof(epp_writer), 0, &state, [](void* ctx, epp_str text) noexcept {
                              auto& out = *static_cast<std::string*>(ctx);
                              if (out.size() + text.size <= kMaxDumpBytes && text.size) {
                                out.append(text.data, text.size);
                              }
                            }};
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    if (dump->dump(instance.self(), &writer, &err) != EPP_OK) {
      state.clear();
      JsonWriter(&state).Value(StrCat("failed to dump plugin state: ", err.message));
    }
    return state.empty() ? "null" : state;
  }

  // The document of the reference: per instance either its state or why there is none.
  std::string AllStatesJson() const {
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("timestamp",
            absl::FormatTime("%Y-%m-%dT%H:%M:%E9SZ", absl::Now(), absl::UTCTimeZone()));
    w.Key("plugins").BeginObject();
    for (const auto& instance : generation_->instances()) {
      w.Key(instance->name()).BeginObject();
      w.Field("name", instance->name()).Field("type", instance->type().name());
      const bool has = instance->Get<epp_dump_state>(EPP_DUMP_STATE_ID) != nullptr;
      w.Key(has ? "state" : "message").Raw(DumpOf(*instance));
      w.EndObject();
    }
    w.EndObject();
    w.EndObject();
    out += '\n';
    return out;
  }

  void CountPool(admin::Status& status) const {
    const auto frame = const_cast<Platform&>(platform_).pool().current();
    const uint64_t now = clock_.mono_ns();
    uint64_t oldest = 0;
    for (size_t i = 0; i < frame->size(); ++i) {
      const uint64_t at = frame->sampled_ns()[i];
      const uint64_t age = at && now > at ? now - at : 0;
      switch (frame->states()[i]) {
        case pool::EndpointState::kFresh:
          ++status.pool.fresh;
          oldest = std::max(oldest, age);
          continue;
        case pool::EndpointState::kStale:
          ++status.pool.stale;
          break;
        case pool::EndpointState::kUnreachable:
          ++status.pool.unreachable;
          break;
        case pool::EndpointState::kUnknown:
          ++status.pool.unknown;
          break;
      }
      if (status.pool_problems.size() < 8) {
        const epp_str name = frame->endpoints()[i]->name;
        status.pool_problems.push_back(StrCat(std::string_view(name.data, name.size), " ",
                                              admin::StateName(frame->states()[i])));
      }
    }
    status.pool.oldest_ms = oldest / 1'000'000;
    const uint64_t since = clock_.unix_ns();
    if (frame->size() == 0) {
      status.warnings.push_back({"pool-empty", "the pool has no endpoints", since});
    } else if (status.pool.fresh < status.pool.total()) {
      status.warnings.push_back({"metrics-stale",
                                 StrCat(status.pool.total() - status.pool.fresh, " of ",
                                        status.pool.total(), " endpoints have no fresh metrics"),
                                 since});
    }
  }

  // Averages over endpoints with fresh metrics, and counts by state.
  void FlushPoolMetrics() {
    const auto frame = platform_.pool().current();
    telemetry::PoolStats stats;
    std::array<int, 4> by_state{};
    const uint64_t now = clock_.mono_ns();
    uint64_t oldest = 0;
    std::vector<double> queue, running, kv;
    const epp_column* queue_column = CoreColumn(*frame, "WaitingQueueSize", EPP_T_I64);
    const epp_column* running_column = CoreColumn(*frame, "RunningRequestsSize", EPP_T_I64);
    const epp_column* kv_column = CoreColumn(*frame, "KVCacheUsagePercent", EPP_T_F64);
    const auto int_at = [](const epp_column* c, size_t i) {
      return c ? static_cast<double>(static_cast<const int64_t*>(c->values)[i]) : 0.0;
    };
    for (size_t i = 0; i < frame->size(); ++i) {
      ++by_state[static_cast<size_t>(frame->states()[i])];
      const uint64_t at = frame->sampled_ns()[i];
      if (at && now > at) oldest = std::max(oldest, now - at);
      if (frame->states()[i] != pool::EndpointState::kFresh) continue;
      ++stats.fresh;
      queue.push_back(int_at(queue_column, i));
      running.push_back(int_at(running_column, i));
      kv.push_back(kv_column && kv_column->values ? static_cast<const double*>(kv_column->values)[i]
                                                  : 0.0);
    }
    const auto summarise = [](const std::vector<double>& v, double* average, double* deviation) {
      if (v.empty()) return;
      double sum = 0;
      for (const double x : v) sum += x;
      *average = sum / static_cast<double>(v.size());
      double squares = 0;
      for (const double x : v) squares += (x - *average) * (x - *average);
      *deviation = std::sqrt(squares / static_cast<double>(std::max<size_t>(v.size() - 1, 1)));
    };
    summarise(queue, &stats.average_queue, &stats.std_dev_queue);
    summarise(running, &stats.average_running, &stats.std_dev_running);
    summarise(kv, &stats.average_kv, &stats.std_dev_kv);
    platform_.metrics().SetPool(PoolName(), stats);
    for (size_t s = 0; s < by_state.size(); ++s) {
      static constexpr const char* kNames[] = {"unknown", "fresh", "stale", "unreachable"};
      platform_.metrics().pool_endpoints.With({kNames[s]}).Set(by_state[s]);
    }
    platform_.metrics().scrape_max_age_seconds.Set(static_cast<double>(oldest) * 1e-9);
  }

  // Health goes first, so that probes see it; the data layer goes on until the last stream ended.
  void Drain(const sigset_t& signals) {
    draining_.store(true, std::memory_order_release);
    const absl::Duration window = absl::Nanoseconds(settings_.drain);
    EPP_LOG_EXEMPT(kInfo, "main", "draining",
                   {{"streams", grpc_->open_streams()}, {"window", FormatGoDuration(window)}});
    std::thread drain([&] {
      grpc_->Drain(window, kFinishWithin);
      done_.store(true);
    });
    while (!done_.load()) {
      const timespec tick{0, 100'000'000};
      const int signal = sigtimedwait(&signals, nullptr, &tick);
      if (signal == SIGTERM || signal == SIGINT) {
        EPP_LOG_EXEMPT(kWarn, "main", "second signal: streams are cut",
                       {{"streams", grpc_->open_streams()}});
        grpc_->Stop();
      }
    }
    drain.join();
    EPP_LOG_EXEMPT(kInfo, "main", "stopped", {{"decisions", rings_.total()}});
  }

  const cli::ServeCommandLine& command_line_;
  const config::Settings& settings_;
  const Clock& clock_;
  const uint64_t started_ns_;
  const uint64_t started_unix_ns_;
  uint64_t config_since_unix_ns_ = 0;
  std::string endpoints_path_;
  bool multicluster_ = false;
  std::atomic<bool> pool_loaded_{false};
  std::atomic<bool> draining_{false};
  std::atomic<bool> done_{false};

  Platform platform_;
  telemetry::DecisionRings rings_;
  TrafficMeter traffic_;
  std::shared_ptr<admin::Names> names_ = std::make_shared<admin::Names>();
  std::shared_ptr<GoneEndpoints> gone_ = std::make_shared<GoneEndpoints>(&platform_.metrics());
  std::unique_ptr<telemetry::Registry::Callback> endpoint_queues_;
  ScrapeCounters scrape_counters_;
  StreamCounters stream_counters_;
  std::shared_ptr<runtime::Generation> generation_;
  request::ServingSlot serving_;
  std::unique_ptr<scrape::ScrapeLoop> scraper_;
  std::unique_ptr<pool::Discovery> discovery_;
  std::unique_ptr<request::HttpExchangeFactory> factory_;
  std::unique_ptr<extproc::GrpcServer> grpc_;
  std::unique_ptr<extproc::HealthServer> health_;
  std::unique_ptr<http::Server> metrics_server_;
  std::unique_ptr<http::Server> admin_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<App>> App::Start(const cli::ServeCommandLine& command_line,
                                                config::Diagnostics& diagnostics) {
  auto app = std::make_unique<ServingApp>(command_line);
  const absl::Status status = app->Init(diagnostics);
  if (!status.ok()) return status;
  return app;
}

}  // namespace epp::serve
