#include "host/serve/app.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "host/admin/admin_server.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/extproc/grpc_server.h"
#include "host/extproc/health.h"
#include "host/extproc/size_string.h"
#include "host/pool/file_discovery.h"
#include "host/preflight/crash_handler.h"
#include "host/request/http_exchange.h"
#include "host/scrape/scrape_loop.h"
#include "host/serve/conditions.h"
#include "host/serve/documents.h"
#include "host/serve/envoy_endpoints.h"
#include "host/serve/followed_objects.h"
#include "host/serve/generations.h"
#include "host/serve/guard.h"
#include "host/serve/load.h"
#include "host/serve/metrics_port.h"
#include "host/serve/observers.h"
#include "host/serve/plugin_health.h"
#include "host/serve/plugin_states.h"
#include "host/serve/pool_gauges.h"
#include "host/serve/pool_log.h"
#include "host/serve/reload_queue.h"
#include "host/serve/shadows.h"
#include "host/serve/traffic_meter.h"
#include "host/serve/trial.h"
#include "host/serve/triggers.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr absl::Duration kFinishWithin = absl::Minutes(2);
constexpr uint64_t kRetryNs = kSecond;        // of a reload that met a half-written file
constexpr uint64_t kFollowNs = kSecond / 10;  // between two looks at state that is followed
constexpr int kConfigNiceness = 5;
constexpr uint64_t kProblemRepeatNs = 600 * kSecond;

constexpr ConditionSpec kPoolEmpty{"pool-empty", 0};
constexpr ConditionSpec kEndpointsRefused{"endpoints-file-refused", 0};
constexpr ConditionSpec kEnvoyFile{"envoy-endpoints-file", 0};
constexpr ConditionSpec kMetricsStale{"metrics-stale", 2 * kSecond};
constexpr ConditionSpec kFlapping{"endpoint-flapping", 0};
constexpr ConditionSpec kClockStep{"clock-step", 0};
constexpr uint32_t kFlappingChanges = 5;  // of one endpoint in a minute

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

// A crash names the plugin that was running, and keeps it out of the next start.
void WatchForCrashes(const config::Settings& settings) {
  std::string file;
  if (settings.quarantine && !settings.state_dir.empty()) {
    if (PrepareStateDir(settings.state_dir)) {
      file = preflight::QuarantineFile(settings.state_dir);
    } else {
      EPP_LOG_EXEMPT(
          kWarn, "main",
          "the state directory cannot be written: a library that crashes is loaded again "
          "at the next start",
          {{"config.state_dir", settings.state_dir}});
    }
  }
  if (settings.preflight == 0) {
    EPP_LOG_EXEMPT(kWarn, "main", "new plugin libraries are not tried before they are loaded",
                   {{"plugins.preflight", "0s"}});
  }
  const bool json = settings.log_format == "json" ||
                    (settings.log_format == "auto" && isatty(STDERR_FILENO) != 1 &&
                     std::getenv("JOURNAL_STREAM") == nullptr);
  preflight::InstallCrashHandler({std::move(file), json});
}

// Tells of a reload for as long as it lives; of none when null.
class ReloadNotice {
 public:
  explicit ReloadNotice(const RunHooks* hooks) : hooks_(hooks) {
    if (hooks_ != nullptr && hooks_->reloading) hooks_->reloading();
  }
  ~ReloadNotice() {
    if (hooks_ != nullptr && hooks_->reloaded) hooks_->reloaded();
  }
  ReloadNotice(const ReloadNotice&) = delete;
  ReloadNotice& operator=(const ReloadNotice&) = delete;

 private:
  const RunHooks* const hooks_;
};

// By somebody, not by a watch alone.
bool AskedFor(const ReloadQueue::Batch& batch) {
  return std::ranges::any_of(
      batch.requests, [](const ReloadQueue::Request& request) { return request.what.asked; });
}

class ServingApp final : public App, public extproc::HealthState, public admin::Backend {
 public:
  // `started_ns`: when Start began, `trial_ns`: how long the trial took.
  ServingApp(const cli::ServeCommandLine& command_line, PluginFiles plugins, uint64_t started_ns,
             uint64_t trial_ns)
      : command_line_(command_line),
        settings_(command_line.settings.settings()),
        clock_(Clock::Real()),
        started_ns_(started_ns),
        trial_ns_(trial_ns),
        started_unix_ns_(clock_.unix_ns()),
        platform_(settings_, WorkerCount(settings_.workers), command_line.flags.stream_metrics,
                  std::move(plugins)),
        rings_(platform_.workers(), {.records = static_cast<uint32_t>(settings_.records),
                                     .failures = static_cast<uint32_t>(settings_.records / 4)}),
        traffic_(&rings_),
        tallier_(&rings_),
        guard_({.enabled = settings_.guard,
                .window_ns = static_cast<uint64_t>(settings_.guard_window),
                .max_errors = settings_.guard_max_errors,
                .max_skew = settings_.guard_max_skew}),
        conditions_(&clock_, &platform_.metrics(), kProblemRepeatNs),
        health_of_plugins_(&conditions_, &platform_.metrics(),
                           static_cast<uint64_t>(settings_.stuck_abort)),
        gauges_(&platform_.pool(), &platform_.metrics(), &clock_, PoolName()),
        scrape_counters_(&platform_.metrics()),
        stream_counters_(&platform_.metrics()) {}

  ~ServingApp() override {
    // Requests first, then what they use.
    if (grpc_) grpc_->Stop();
    admin_.reset();
    metrics_server_.reset();
    health_.reset();
    grpc_.reset();
    factory_.reset();
    shadows_.reset();
    discovery_.reset();
    objects_.reset();
    triggers_.reset();
    scraper_.reset();
    generations_.reset();
    platform_.pool().RemoveListener(envoy_endpoints_.get());
    platform_.pool().RemoveListener(gone_.get());
    platform_.pool().RemoveListener(pool_log_.get());
    platform_.pool().RemoveListener(names_.get());
  }

  absl::Status Init(std::shared_ptr<const config::SourceText> text,
                    config::Diagnostics& diagnostics) {
    generations_ = std::make_unique<Generations>(command_line_, &platform_, &serving_, names_.get(),
                                                 &conditions_, &clock_);
    if (!generations_->Build(std::move(text), diagnostics)) {
      return absl::InvalidArgumentError("the configuration is invalid");
    }
    shadows_ = std::make_unique<Shadows>(
        Shadows::Parts{&platform_, names_.get(), &conditions_, &clock_,
                       static_cast<double>(settings_.shadow_cpu_percent) / 100,
                       [this] { pthread_kill(config_thread_, SIGUSR1); },
                       [this](const auto& candidate, config::Diagnostics& out) {
                         return Prove(command_line_, candidate, FindPlugins(settings_),
                                      platform_.catalog().get(), out);
                       }});
    platform_.pool().AddListener(names_);
    platform_.pool().AddListener(gone_);
    platform_.pool().AddListener(pool_log_);

    if (absl::Status status = StartDiscovery(diagnostics); !status.ok()) return status;
    if (!settings_.envoy_endpoints_file.empty()) {
      envoy_endpoints_ = std::make_shared<EnvoyEndpoints>(settings_.envoy_endpoints_file);
      platform_.pool().AddListener(envoy_endpoints_);
      envoy_endpoints_->Start();
    }
    StartScraping();
    if (absl::Status status = generations_->Publish(scraper_.get()); !status.ok()) return status;
    if (absl::Status status = StartListeners(); !status.ok()) return status;
    generations_->CountRunningWith([this] { return static_cast<int64_t>(grpc_->open_streams()); });
    if (settings_.guard && !rings_.enabled()) {
      EPP_LOG_EXEMPT(kWarn, "config", "the guard sees nothing: [decisions] records is 0");
    }
    ready_ns_ = clock_.mono_ns();
    LogLibraryNotes();
    return absl::OkStatus();
  }

  int Run(const RunHooks& hooks) override {
    // Here configs are built, plugins loaded and destroyed, and the child waited for that tries
    // them, at a lower priority still: none of it may take time from requests. The kernel counts
    // niceness by thread.
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kConfigNiceness);
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, signal);
    uint64_t next_flush = clock_.mono_ns();
    uint64_t next_second = clock_.mono_ns();
    hooks_ = &hooks;
    StartTriggers();
    for (;;) {
      const timespec wait = UntilNext(next_second);
      const int signal = sigtimedwait(&signals, nullptr, &wait);
      const bool second = clock_.mono_ns() >= next_second;
      if (second) {
        next_second = clock_.mono_ns() + kSecond;
        traffic_.Sample(clock_.mono_ns());
        Watch();
        Supervise();
      }
      if (signal == SIGHUP) reloads_.Add({}, 0);
      ReloadNow();
      shadows_->Work(generations_->current());
      generations_->Collect();
      if (second && hooks.tick) hooks.tick();
      if (clock_.mono_ns() >= next_flush) {
        gauges_.Flush();
        next_flush =
            clock_.mono_ns() + static_cast<uint64_t>(command_line_.flags.pool_metrics_interval_ns);
      }
      if (signal == SIGTERM || signal == SIGINT) break;
    }
    return Drain(signals, hooks) ? 0 : 1;
  }

  Facts CurrentFacts() const override {
    Facts facts;
    facts.workers = platform_.workers();
    facts.took_ns = ready_ns_ - started_ns_;
    facts.trial_ns = trial_ns_;
    facts.generation = generations_->current().get();
    const std::string own = OwnPluginsDir();
    const auto catalog = platform_.catalog();
    for (const auto& library : catalog->libraries()) {
      ++facts.libraries;
      if (library->info().path.starts_with(own)) continue;
      ++facts.third_party_libraries;
      facts.unlisted_libraries += !library->info().listed;
    }
    facts.refused_libraries = catalog->refused().size();
    for (const std::string& dir : settings_.plugin_dirs) {
      StrAppend(&facts.plugin_dirs, facts.plugin_dirs.empty() ? "" : ", ", dir);
    }
    if (facts.plugin_dirs.empty()) facts.plugin_dirs = own;
    facts.endpoints = endpoints_at_start_;
    const auto with_port = [](const std::string& listen, uint16_t port) {
      return StrCat(std::string_view(listen).substr(0, listen.rfind(':')), ":", port);
    };
    facts.grpc = with_port(settings_.grpc_listen, grpc_->port());
    facts.health = with_port(settings_.health_listen, health_->port());
    if (metrics_server_) {
      facts.metrics = with_port(settings_.metrics_listen, metrics_server_->port(0));
    }
    if (admin_) facts.admin = StrCat("unix:", settings_.admin_socket);
    return facts;
  }

  bool AllThreadsTicked() override {
    const uint64_t workers = grpc_->rounds();
    const uint64_t scraper = scraper_->rounds();
    const bool ticked = workers != worker_rounds_ && scraper != scraper_rounds_;
    if (ticked) {
      worker_rounds_ = workers;
      scraper_rounds_ = scraper;
    }
    grpc_->Ping();
    scraper_->Ping();
    return ticked;
  }

  // extproc::HealthState
  bool Live() const override { return pool_loaded_.load(std::memory_order_acquire); }
  bool ProtocolOk() const override { return generations_->current()->serving().parsers.Serves(""); }
  bool PluginsReady() const override {
    std::string reason;
    return serve::PluginsReady(*generations_->current(), &reason);
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
    const auto generation = generations_->current();
    status.config_digest = generation->config().digest.substr(0, 8);
    status.generation = generation->serving().number;
    status.config_since_unix_ns = generations_->since_unix_ns();
    DescribeConfig(status);
    status.pool_name = PoolName();
    status.pool_source = endpoints_path_;
    gauges_.Describe(status);
    objects_->Describe(status);
    status.warnings = conditions_.raised();
    status.shadow = shadow::StatusLine(shadows_->Report());
    status.requests_per_s = traffic_.requests_per_s();
    const TrafficMeter::Recent recent = traffic_.recent();
    status.running = grpc_ ? static_cast<int64_t>(grpc_->open_streams()) : recent.running;
    status.decision_p50_us = recent.p50_us;
    status.decision_p99_us = recent.p99_us;
    status.own_error_ratio = recent.own_error_ratio;
    status.decisions = rings_.total();
    status.instances = generation->instances().size();
    const auto catalog = platform_.catalog();
    status.libraries = catalog->libraries().size();
    for (const loader::RefusedLibrary& refused : catalog->refused()) {
      status.refused_libraries.push_back(StrCat(refused.path, ": ", View(refused.why)));
    }
    PluginHealth::Describe(*generation, *catalog, status);
    return status;
  }

  void DescribeConfig(admin::Status& status) const {
    if (const auto attempt = generations_->history().Find(status.generation)) {
      status.config_cause = attempt->cause;
      status.config_actor = attempt->actor;
    }
    if (const auto pin = generations_->pin()) {
      status.pinned = {pin->restored, pin->file_digest, pin->reason, PinText(*pin),
                       pin->since_unix_ns};
    }
  }

  std::string VersionJson() override { return VersionDocument(); }
  std::string ConfigJson() override {
    return ConfigDocument(*generations_->current(), ConfigName(), PluginDirs(),
                          command_line_.settings);
  }
  std::string GenerationsJson() override {
    return HistoryJson(generations_->history(), generations_->current()->serving().number);
  }
  std::string GenerationJson(uint64_t number) override {
    const auto attempt = generations_->history().Find(number);
    return attempt ? AttemptJson(*attempt, true) : "";
  }
  std::string KeptGenerations() override { return generations_->history().KeptGenerations(); }
  std::string DiskDigest() override {
    const auto text = ReadConfig(command_line_);
    return text.ok() ? Platform::DigestOf(**text) : "";
  }
  std::string ObjectsJson() override { return objects_->Json(); }
  std::string PluginsJson() override { return PluginsDocument(*generations_->current()); }
  void Reload(admin::Change change, std::function<void(admin::ReloadAnswer)> done) override {
    ReloadRequest what{.cause = change.rollback_to ? "rollback" : "admin",
                       .actor = std::move(change.actor),
                       .reason = std::move(change.reason),
                       .force = change.force,
                       .expect = std::move(change.expect),
                       .rollback_to = change.rollback_to};
    Ask({std::move(what), std::move(done)}, 0);
  }
  std::string PluginStateJson(std::string_view name) override {
    const auto generation = generations_->current();
    for (const auto& instance : generation->instances()) {
      if (instance->name() == name) return StateJson(*instance);
    }
    return "";
  }

 private:
  // Each text once: a directory that cannot hold copies is the same news for every library.
  void LogLibraryNotes() const {
    std::set<std::string> said;
    const auto catalog = platform_.catalog();
    for (const auto& library : catalog->libraries()) {
      for (const std::string& note : library->info().warnings) {
        if (!said.insert(note).second) continue;
        EPP_LOG_EXEMPT(kWarn, "loader", "note on a library",
                       {{"library", library->info().name}, {"note", note}});
      }
    }
  }
  std::string ConfigName() const {
    if (!settings_.config_file.empty()) return settings_.config_file;
    return command_line_.flags.config_text.empty() ? "(built-in)" : "--config-text";
  }
  std::vector<std::string> PluginDirs() const {
    return settings_.plugin_dirs.empty() ? std::vector<std::string>{OwnPluginsDir()}
                                         : settings_.plugin_dirs;
  }
  std::string PoolName() const {
    return command_line_.flags.pool_name.empty() ? "epp" : command_line_.flags.pool_name;
  }

  void Ask(ReloadQueue::Request request, uint64_t delay_ns) {
    reloads_.Add(std::move(request), clock_.mono_ns() + delay_ns);
    // SIGUSR1 only wakes that thread up. SIGHUP would be taken for an operator's: who sent a signal
    // is not always known.
    pthread_kill(config_thread_, SIGUSR1);
  }

  // Follows the config file and what it includes, where there is one, and the plugin directories.
  void StartTriggers() {
    if (!settings_.config_watch) return;
    triggers_ = std::make_unique<Triggers>(
        generations_->WatchedFiles(), PluginDirs(),
        Triggers::Options{.settle_ns = static_cast<uint64_t>(settings_.config_settle),
                          .jitter_ns = static_cast<uint64_t>(settings_.config_jitter)},
        [this](std::string cause, uint64_t delay_ns) {
          Ask({{.cause = std::move(cause), .asked = false}}, delay_ns);
        });
    // What changed between the start and the watch, nobody reports.
    reloads_.Add({{.cause = "start of the watch", .asked = false}}, 0);
  }

  // How long the config thread may sleep.
  timespec UntilNext(uint64_t next_second) const {
    const uint64_t now = clock_.mono_ns();
    uint64_t wake = std::min(next_second, reloads_.due_ns());
    if (generations_->following()) wake = std::min(wake, now + kFollowNs);
    const uint64_t wait = wake > now ? wake - now : 0;
    return {static_cast<time_t>(wait / kSecond), static_cast<long>(wait % kSecond)};
  }

  // On the config thread: what was asked for since the last time. What only says "look again" is
  // one reload; the rest is done one by one.
  void ReloadNow() {
    const uint64_t now = clock_.mono_ns();
    ReloadQueue::Batch batch = reloads_.Take(now);
    if (batch.requests.empty()) return;
    const ReloadNotice notice(AskedFor(batch) ? hooks_ : nullptr);
    std::vector<ReloadQueue::Request> special;
    std::erase_if(batch.requests, [&](ReloadQueue::Request& request) {
      const ReloadRequest& what = request.what;
      const bool plain = !what.force && what.expect.empty() && !what.rollback_to;
      if (!plain) special.push_back(std::move(request));
      return !plain;
    });
    if (!batch.requests.empty()) LookAgain(std::move(batch), now);
    for (const ReloadQueue::Request& request : special) {
      const ReloadOutcome outcome = Apply(request.what, /*may_wait=*/false);
      if (request.done) request.done(AnswerOf(outcome));
    }
  }

  void LookAgain(ReloadQueue::Batch batch, uint64_t now) {
    const uint64_t retry_ns = (batch.postponed_ns != 0 ? batch.postponed_ns : now) + kRetryNs;
    const auto asked = std::find_if(batch.requests.begin(), batch.requests.end(),
                                    [](const auto& request) { return request.what.asked; });
    const auto& first = asked == batch.requests.end() ? batch.requests.front() : *asked;
    const ReloadOutcome outcome = Apply(first.what, /*may_wait=*/now < retry_ns);
    if (outcome.unsettled) {
      EPP_LOG(kDebug, "config", "reload: a file may be half written, looking again in a moment",
              {{"cause", outcome.cause}});
      reloads_.Postpone(std::move(batch), now, retry_ns);
      return;
    }
    for (const ReloadQueue::Request& request : batch.requests) {
      if (request.done) request.done(AnswerOf(outcome));
    }
  }

  ReloadOutcome Apply(const ReloadRequest& request, bool may_wait) {
    if (request.force) PluginHealth::Forgive(*generations_->current());
    ReloadOutcome outcome = generations_->Reload(request, may_wait);
    if (triggers_) triggers_->Follow(generations_->WatchedFiles());
    if (!outcome.unsettled) shadows_->FilesChanged();
    if (outcome.kind == ReloadOutcome::Kind::kApplied) {
      // What somebody went back to is known.
      if (request.rollback_to) {
        guard_.Disarm();
      } else {
        guard_.Arm(outcome.generation, clock_.mono_ns());
      }
    }
    return outcome;
  }

  static admin::ReloadAnswer AnswerOf(const ReloadOutcome& outcome) {
    return {StatusOf(outcome), ReloadJson(outcome), ReloadText(outcome)};
  }

  // Once a second: does the new configuration do?
  void Supervise() {
    if (!settings_.guard) return;
    const uint64_t watched = guard_.watched();
    const auto verdict = guard_.Observe(
        tallier_.Next(), platform_.pool().current()->endpoints().size(), clock_.mono_ns());
    if (!verdict) return;
    EPP_LOG_EXEMPT(kError, "config", "the guard rolls the configuration back",
                   {{"generation", watched}, {"why", *verdict}});
    Apply({.cause = "guard", .reason = *verdict, .rollback_to = 0}, /*may_wait=*/false);
  }

  absl::Status StartDiscovery(config::Diagnostics& diagnostics) {
    objects_ = std::make_unique<FollowedObjects>(&conditions_, &platform_.metrics());
    pool::FileDiscoverySettings file;
    if (!command_line_.flags.endpoints_file.empty()) {
      file = {command_line_.flags.endpoints_file, true, false};
    } else if (const auto discovery = generations_->current()->discovery()) {
      file = pool::FileDiscoverySettingsOf(discovery->self());
    } else if (runtime::HasService(*generations_->current())) {
      // It needs no endpoints; who sends requests here anyhow is told that there are none.
      wants_endpoints_ = false;
      pool_loaded_.store(true, std::memory_order_release);
      return absl::OkStatus();
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
    options.on_reload = [this](const pool::LoadReport& report) {
      LogReload(report);
      objects_->Reload();  // the file may hold some
    };
    const pool::LoadReport report = discovery_->Start(file.path, options, &platform_.pool());
    for (const config::Diagnostic& d : report.diagnostics.all()) {
      if (d.severity == config::Severity::kError) {
        diagnostics.Error(d.mark, d.code, d.message, d.caret, d.hint);
      } else {
        diagnostics.Warning(d.mark, d.code, d.message, d.caret, d.hint);
      }
    }
    if (!report.applied) return absl::InvalidArgumentError("the endpoints file is unusable");
    const cli::ServeFlags& flags = command_line_.flags;
    objects_->Start(file.path, file.watch,
                    {flags.pool_name, flags.pool_group, flags.pool_namespace}, diagnostics);
    platform_.pool().Publish();
    endpoints_at_start_ = report.endpoints;
    pool_loaded_.store(true, std::memory_order_release);
    return absl::OkStatus();
  }

  void LogReload(const pool::LoadReport& report) {
    conditions_.Set(kEndpointsRefused, !report.diagnostics.ok(), report.diagnostics.Render());
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

  void StartScraping() {
    scrape::ScrapeLoop::Options options;
    options.tick_ns = static_cast<uint64_t>(settings_.scrape_interval);
    options.timeout_ns = static_cast<uint64_t>(settings_.scrape_timeout);
    options.max_body_bytes = static_cast<uint64_t>(settings_.scrape_max_body);
    options.metrics_labels = multicluster_;
    scraper_ = std::make_unique<scrape::ScrapeLoop>(&platform_.pool(), options, &scrape_counters_);
  }

  request::Services RequestServices() {
    request::Services services;
    services.clock = &clock_;
    services.pool = &platform_.pool();
    services.serving = &serving_;
    services.objects = objects_->slot();
    services.metrics = &platform_.metrics();
    services.decisions = &rings_;
    services.operations = &platform_.hub().operations();
    services.shadow = shadows_->slot();
    services.identifier_key = SipKey::Random();
    services.random_seed = SipKey::Random().k0;
    services.options.max_body_bytes = static_cast<uint64_t>(settings_.max_body);
    services.options.subset_filter = command_line_.flags.subset_filter;
    services.options.emit_endpoint_scores = command_line_.flags.emit_endpoint_scores;
    services.options.echo_headers = settings_.echo_headers;
    services.options.single_destination = settings_.single_destination;
    services.options.strip_system_headers = settings_.strip_system_headers;
    services.options.bodyless_unavailable = settings_.bodyless_unavailable;
    services.options.own_denials = settings_.own_denials;
    // Four scrapes late is more than bad luck.
    services.options.shed_stale_ns = std::max(services.options.shed_stale_ns,
                                              4 * static_cast<uint64_t>(settings_.scrape_interval));
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
    auto server = StartMetricsPort(
        settings_.metrics_listen,
        {&platform_.registry(), [this](std::string* reason) { return Ready(reason); },
         [this] { return AllStatesJson(*generations_->current()); }});
    if (!server.ok()) return server.status();
    metrics_server_ = std::move(*server);
    return absl::OkStatus();
  }

  absl::Status StartAdmin() {
    if (settings_.admin_socket.empty()) return absl::OkStatus();
    auto server = admin::StartAdminServer(
        {settings_.admin_socket, settings_.admin_socket_group, settings_.admin_read_only},
        {this, names_.get(), &rings_, &platform_.pool(), &clock_, &platform_.metrics(),
         shadows_.get()});
    if (!server.ok()) {
      // A missing /run/epp must not keep requests from being served.
      EPP_LOG_EXEMPT(kWarn, "admin", "admin socket is off",
                     {{"path", settings_.admin_socket}, {"error", View(server.status())}});
      return absl::OkStatus();
    }
    admin_ = std::move(*server);
    return absl::OkStatus();
  }

  bool Ready(std::string* reason) const {
    if (Draining()) {
      *reason = "draining";
    } else if (!Live()) {
      *reason = "the pool is not loaded yet";
    } else {
      return serve::PluginsReady(*generations_->current(), reason);
    }
    return false;
  }

  // Looks for lasting problems; once a second.
  void Watch() {
    const uint64_t now = clock_.mono_ns();
    pool_log_->Flush(*platform_.pool().current());
    admin::Status status;
    gauges_.Describe(status);
    const int total = status.pool.total();
    const int stale = total - status.pool.fresh;
    health_of_plugins_.Watch(*generations_->current(), *platform_.catalog(), now);
    conditions_.Set(kPoolEmpty, total == 0 && wants_endpoints_, "the pool has no endpoints");
    conditions_.Set(kMetricsStale, stale > 0,
                    StrCat(stale, " of ", total, " endpoints have no fresh metrics"));
    if (envoy_endpoints_) {
      const std::string problem = envoy_endpoints_->problem();
      conditions_.Set(kEnvoyFile, !problem.empty(), problem);
    }
    const uint32_t changes = pool_log_->most_changes_a_minute(now);
    conditions_.Set(kFlapping, changes > kFlappingChanges,
                    StrCat("an endpoint changed its state ", changes, " times in a minute"));
    const int64_t offset = static_cast<int64_t>(clock_.unix_ns()) - static_cast<int64_t>(now);
    const int64_t step = offset - std::exchange(clock_offset_ns_, offset);
    const bool stepped = clock_seen_ && std::abs(step) > static_cast<int64_t>(kSecond);
    clock_seen_ = true;
    conditions_.Set(kClockStep, stepped,
                    StrCat("the wall clock jumped by ", step / 1'000'000, " ms"));
  }

  // Health goes first, so that probes see it; the data layer goes on until the last stream ended.
  // False when streams had to be cut.
  bool Drain(const sigset_t& signals, const RunHooks& hooks) {
    draining_.store(true, std::memory_order_release);
    const absl::Duration window = absl::Nanoseconds(settings_.drain);
    EPP_LOG_EXEMPT(kInfo, "main", "draining",
                   {{"streams", grpc_->open_streams()}, {"window", FormatGoDuration(window)}});
    std::thread drain([&] {
      grpc_->Drain(window, kFinishWithin);
      done_.store(true);
    });
    bool cut = false;
    runtime::Services& services = generations_->services();
    // Like the streams: new work is taken until the window ends, then what runs is finished.
    const uint64_t last_new_ns = clock_.mono_ns() + static_cast<uint64_t>(settings_.drain);
    for (int tenths = 0; !done_.load() || !services.empty(); ++tenths) {
      if (tenths % 10 == 0 && hooks.draining) hooks.draining(grpc_->open_streams());
      if (const uint64_t now = clock_.mono_ns(); now >= last_new_ns) {
        services.DrainAll(now + static_cast<uint64_t>(absl::ToInt64Nanoseconds(kFinishWithin)));
        services.Look(now);
      }
      const timespec tick{0, 100'000'000};
      const int signal = sigtimedwait(&signals, nullptr, &tick);
      if (signal == SIGTERM || signal == SIGINT) {
        EPP_LOG_EXEMPT(kWarn, "main", "second signal: streams are cut",
                       {{"streams", grpc_->open_streams()}});
        cut = true;
        services.StopAll();
        grpc_->Stop();
      }
    }
    drain.join();
    EPP_LOG_EXEMPT(kInfo, "main", "stopped", {{"decisions", rings_.total()}});
    return !cut;
  }

  const cli::ServeCommandLine& command_line_;
  const config::Settings& settings_;
  const Clock& clock_;
  const uint64_t started_ns_;
  const uint64_t trial_ns_;
  const uint64_t started_unix_ns_;
  uint64_t ready_ns_ = 0;
  size_t endpoints_at_start_ = 0;
  std::string endpoints_path_;
  bool multicluster_ = false;
  bool wants_endpoints_ = true;
  std::atomic<bool> pool_loaded_{false};
  std::atomic<bool> draining_{false};
  std::atomic<bool> done_{false};

  Platform platform_;
  telemetry::DecisionRings rings_;
  TrafficMeter traffic_;
  Tallier tallier_;
  Guard guard_;
  Conditions conditions_;
  PluginHealth health_of_plugins_;
  PoolGauges gauges_;
  std::shared_ptr<PoolLog> pool_log_ = std::make_shared<PoolLog>();
  int64_t clock_offset_ns_ = 0;  // wall clock against monotonic, at the last look
  bool clock_seen_ = false;
  std::shared_ptr<admin::Names> names_ = std::make_shared<admin::Names>();
  std::shared_ptr<GoneEndpoints> gone_ = std::make_shared<GoneEndpoints>(&platform_.metrics());
  std::shared_ptr<EnvoyEndpoints> envoy_endpoints_;
  ScrapeCounters scrape_counters_;
  StreamCounters stream_counters_;
  request::ServingSlot serving_;
  std::unique_ptr<Generations> generations_;
  std::unique_ptr<Shadows> shadows_;
  ReloadQueue reloads_;
  // Who makes the app also runs it; servers may ask for a reload before Run.
  const pthread_t config_thread_ = pthread_self();
  const RunHooks* hooks_ = nullptr;  // while Run runs
  uint64_t worker_rounds_ = 0;       // what AllThreadsTicked saw last
  uint64_t scraper_rounds_ = 0;
  std::unique_ptr<Triggers> triggers_;
  std::unique_ptr<scrape::ScrapeLoop> scraper_;
  std::unique_ptr<FollowedObjects> objects_;
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
  const config::Settings& settings = command_line.settings.settings();
  const uint64_t started_ns = Clock::Real().mono_ns();
  WatchForCrashes(settings);
  const auto text = ReadConfig(command_line);
  if (!text.ok()) return text.status();
  PluginFiles plugins = FindPlugins(settings);
  uint64_t trial_ns = 0;
  if (!Prove(command_line, *text, plugins, nullptr, diagnostics, &trial_ns)) {
    return absl::InvalidArgumentError("a plugin library or the configuration did not pass");
  }
  auto app = std::make_unique<ServingApp>(command_line, std::move(plugins), started_ns, trial_ns);
  const absl::Status status = app->Init(*text, diagnostics);
  if (!status.ok()) return status;
  return app;
}

}  // namespace epp::serve
