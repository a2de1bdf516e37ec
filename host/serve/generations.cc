#include "host/serve/generations.h"

#include <utility>

#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/serve/documents.h"
#include "host/serve/trial.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr ConditionSpec kConfigRefused{"config-refused", 0};
constexpr size_t kDigestDigits = 8;

std::string_view View(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

std::string_view KindName(ReloadOutcome::Kind kind) {
  switch (kind) {
    case ReloadOutcome::Kind::kApplied:
      return "applied";
    case ReloadOutcome::Kind::kUnchanged:
      return "unchanged";
    case ReloadOutcome::Kind::kRefused:
      break;
  }
  return "refused";
}

std::vector<scrape::Source> SourcesOf(const std::shared_ptr<runtime::Generation>& generation) {
  std::vector<scrape::Source> sources;
  for (const runtime::DataSource& from : generation->sources()) {
    scrape::Source source;
    source.name = from.instance->name();
    source.type = from.instance->type().name();
    source.plan = from.plan;
    source.owner = generation;
    for (const runtime::Extractor& e : from.extractors) {
      source.extractors.push_back({std::string(e.instance->type().name()), e.instance->self(),
                                   e.table, e.attributes, e.types, generation,
                                   &e.instance->guard()});
    }
    sources.push_back(std::move(source));
  }
  return sources;
}

void WriteOutcome(const ReloadOutcome& outcome, JsonWriter& w) {
  w.Field("generation", outcome.generation).Field("digest", outcome.digest);
  w.Field("cause", outcome.cause).Field("outcome", KindName(outcome.kind));
  w.Field("time", absl::FormatTime("%Y-%m-%dT%H:%M:%SZ",
                                   absl::FromUnixNanos(static_cast<int64_t>(outcome.unix_ns)),
                                   absl::UTCTimeZone()));
  w.Field("took_ms", static_cast<double>(outcome.took_ns) * 1e-6);
  w.Field("kept", outcome.kept).Field("created", outcome.created);
  if (!outcome.diagnostics.empty()) w.Field("diagnostics", outcome.diagnostics);
}

}  // namespace

Generations::Generations(const cli::ServeCommandLine& command_line, Platform* platform,
                         request::ServingSlot* serving, admin::Names* names, Conditions* conditions,
                         const Clock* clock)
    : command_line_(command_line),
      platform_(platform),
      serving_(serving),
      names_(names),
      conditions_(conditions),
      clock_(clock) {}

Generations::~Generations() {
  serving_->Publish(nullptr);
  {
    std::unique_lock lock(mutex_);
    const std::shared_ptr<runtime::Generation> last = std::exchange(current_, nullptr);
    lock.unlock();
  }
  Collect();
}

// The last user of a generation may be a worker, which must not run a plugin's destroy.
std::shared_ptr<runtime::Generation> Generations::Own(
    std::unique_ptr<runtime::Generation> generation) {
  {
    std::lock_guard lock(mutex_);
    ++alive_;
  }
  return {generation.release(), [this](runtime::Generation* dead) {
            std::lock_guard lock(mutex_);
            dead_.emplace_back(dead);
          }};
}

void Generations::Collect() {
  std::vector<std::unique_ptr<runtime::Generation>> dead;
  uint64_t alive = 0;
  {
    std::lock_guard lock(mutex_);
    dead.swap(dead_);
    alive_ -= dead.size();
    alive = alive_;
  }
  platform_->metrics().generations_draining.Set(alive > 0 ? static_cast<double>(alive - 1) : 0);
}

bool Generations::Build(std::shared_ptr<const config::SourceText> text, config::Diagnostics& out) {
  std::unique_ptr<runtime::Generation> built =
      platform_->Build(last_number_ + 1, std::move(text), out);
  if (!built) return false;
  ++last_number_;
  std::shared_ptr<runtime::Generation> owned = Own(std::move(built));
  std::lock_guard lock(mutex_);
  current_ = std::move(owned);
  return true;
}

absl::Status Generations::Publish(scrape::ScrapeLoop* scraper) {
  scraper_ = scraper;
  std::shared_ptr<runtime::Generation> first;
  {
    std::lock_guard lock(mutex_);
    first = current_;
  }
  if (absl::Status status = Swap(first); !status.ok()) return status;
  ReloadOutcome outcome;
  outcome.kind = ReloadOutcome::Kind::kApplied;
  outcome.generation = first->serving().number;
  outcome.digest = first->config().digest.substr(0, kDigestDigits);
  outcome.cause = "start";
  outcome.created = first->instances().size();
  outcome.unix_ns = clock_->unix_ns();
  Remember(std::move(outcome));
  platform_->metrics().last_reload_successful.Set(1);
  return absl::OkStatus();
}

// Everything that new requests and scrapes use, in the order that none sees half of it.
absl::Status Generations::Swap(std::shared_ptr<runtime::Generation> next) {
  next->AttachToPool();
  names_->Add(NamesOf(*next));
  // Columns that the new generation is the first to read must be in the frame before it serves.
  platform_->pool().Publish();
  if (absl::Status status = scraper_->SetSources(SourcesOf(next)); !status.ok()) return status;
  serving_->Publish(std::shared_ptr<const request::Serving>(next, &next->serving()));
  const uint64_t now = clock_->unix_ns();
  {
    std::lock_guard lock(mutex_);
    current_ = next;
    since_unix_ns_ = now;
  }
  telemetry::EppMetrics& metrics = platform_->metrics();
  metrics.generation.Set(static_cast<double>(next->serving().number));
  metrics.last_reload_success_timestamp_seconds.Set(static_cast<double>(now / 1'000'000'000));
  metrics.SetConfigInfo(next->config().digest.substr(0, kDigestDigits), next->serving().number);
  return absl::OkStatus();
}

ReloadOutcome Generations::Reload(std::string_view cause) {
  const uint64_t begin = clock_->mono_ns();
  ReloadOutcome outcome;
  outcome.cause = cause;
  outcome.unix_ns = clock_->unix_ns();
  const std::shared_ptr<const runtime::Generation> former = current();
  outcome.generation = former->serving().number;

  config::Diagnostics diagnostics;
  const auto text = ReadConfig(command_line_);
  std::unique_ptr<runtime::Generation> built;
  if (!text.ok()) {
    diagnostics.Error({}, "EPP-CFG-READ", std::string(View(text.status())));
  } else {
    PluginFiles files = FindPlugins(command_line_.settings.settings());
    const auto serving = platform_->catalog();
    const bool proven = Prove(command_line_, *text, files, serving.get(), diagnostics);
    const bool plugins_changed = proven && platform_->Rescan(std::move(files));
    plugins_refused_ |= plugins_changed;
    if (!proven) {
      outcome.digest = platform_->DigestOf(**text).substr(0, kDigestDigits);
    } else if (!plugins_changed && !plugins_refused_ &&
               platform_->DigestOf(**text) == former->config().digest) {
      outcome.kind = ReloadOutcome::Kind::kUnchanged;
      outcome.digest = former->config().digest.substr(0, kDigestDigits);
    } else if ((*text)->text.find_first_not_of(" \t\r\n") == std::string::npos) {
      // Half of a rewrite in place, most likely, and no wish for the built-in default.
      diagnostics.Error({*text, 1, 1}, "EPP-CFG-EMPTY",
                        "the file is empty, want an EndpointPickerConfig", "",
                        "a restart would take the built-in default");
    } else {
      built = platform_->Build(last_number_ + 1, *text, diagnostics, former.get());
      outcome.digest = platform_->DigestOf(**text).substr(0, kDigestDigits);
    }
  }
  if (built) {
    outcome.kept = built->kept_instances();
    outcome.created = built->instances().size() - outcome.kept;
    std::shared_ptr<runtime::Generation> next = Own(std::move(built));
    if (const absl::Status status = Swap(next); status.ok()) {
      outcome.kind = ReloadOutcome::Kind::kApplied;
      outcome.generation = ++last_number_;
    } else {
      diagnostics.Error({}, "EPP-CFG-SOURCE", std::string(View(status)));
    }
  }
  if (outcome.kind != ReloadOutcome::Kind::kRefused) plugins_refused_ = false;
  outcome.diagnostics = diagnostics.Render();
  outcome.took_ns = clock_->mono_ns() - begin;
  Report(outcome);
  Remember(outcome);
  return outcome;
}

void Generations::Report(const ReloadOutcome& outcome) {
  telemetry::EppMetrics& metrics = platform_->metrics();
  metrics.reloads.With({KindName(outcome.kind)}).Add();
  const bool refused = outcome.kind == ReloadOutcome::Kind::kRefused;
  metrics.last_reload_successful.Set(refused ? 0 : 1);
  conditions_->Set(kConfigRefused, refused,
                   StrCat("the config on disk was refused: ",
                          outcome.diagnostics.substr(0, outcome.diagnostics.find('\n'))));
  const uint64_t took_ms = outcome.took_ns / 1'000'000;
  switch (outcome.kind) {
    case ReloadOutcome::Kind::kApplied:
      EPP_LOG_EXEMPT(kInfo, "config", "generation serving",
                     {{"generation", outcome.generation},
                      {"digest", outcome.digest},
                      {"cause", outcome.cause},
                      {"kept", outcome.kept},
                      {"created", outcome.created},
                      {"took_ms", took_ms}});
      break;
    case ReloadOutcome::Kind::kUnchanged:
      EPP_LOG(kDebug, "config", "reload: nothing changed", {{"cause", outcome.cause}});
      break;
    case ReloadOutcome::Kind::kRefused:
      EPP_LOG_EXEMPT(kError, "config", "config refused, the former generation goes on",
                     {{"generation", outcome.generation},
                      {"digest", outcome.digest},
                      {"cause", outcome.cause},
                      {"errors", outcome.diagnostics}});
      break;
  }
}

void Generations::Remember(ReloadOutcome outcome) {
  if (outcome.kind == ReloadOutcome::Kind::kUnchanged) return;
  std::lock_guard lock(mutex_);
  history_.push_front(std::move(outcome));
  if (history_.size() > kHistory) history_.pop_back();
}

std::shared_ptr<const runtime::Generation> Generations::current() const {
  std::lock_guard lock(mutex_);
  return current_;
}

uint64_t Generations::since_unix_ns() const {
  std::lock_guard lock(mutex_);
  return since_unix_ns_;
}

std::string Generations::HistoryJson() const {
  std::string out;
  JsonWriter w(&out);
  std::lock_guard lock(mutex_);
  w.BeginObject();
  w.Field("schema", "epp.generations/1");
  w.Field("serving", current_ ? current_->serving().number : 0);
  w.Key("generations").BeginArray();
  for (const ReloadOutcome& outcome : history_) {
    w.BeginObject();
    WriteOutcome(outcome, w);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return out;
}

std::string ReloadJson(const ReloadOutcome& outcome) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.reload/1");
  WriteOutcome(outcome, w);
  w.EndObject();
  return out;
}

std::string ReloadText(const ReloadOutcome& outcome) {
  switch (outcome.kind) {
    case ReloadOutcome::Kind::kApplied:
      return StrCat(outcome.diagnostics, "generation ", outcome.generation, " serving after ",
                    outcome.took_ns / 1'000'000, " ms; digest ", outcome.digest, "\n", outcome.kept,
                    " instances kept with their state, ", outcome.created, " created\n");
    case ReloadOutcome::Kind::kUnchanged:
      return StrCat("unchanged: generation ", outcome.generation, " (digest ", outcome.digest,
                    ") goes on serving\n");
    case ReloadOutcome::Kind::kRefused:
      break;
  }
  return StrCat(outcome.diagnostics, "refused; generation ", outcome.generation,
                " keeps serving\n");
}

}  // namespace epp::serve
