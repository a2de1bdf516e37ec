#include "host/serve/generations.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/config/includes.h"
#include "host/serve/documents.h"
#include "host/serve/trial.h"
#include "host/serve/triggers.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr ConditionSpec kConfigRefused{"config-refused", 0};
constexpr ConditionSpec kPluginRefused{"plugin-refused", 0};
constexpr ConditionSpec kPluginMissing{"plugin-missing", 0};
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
  if (outcome.trial_ns > 0) w.Field("trial_ms", static_cast<double>(outcome.trial_ns) * 1e-6);
  w.Field("kept", outcome.kept).Field("created", outcome.created);
  w.Field("carried", outcome.carried);
  w.Key("lost").BeginArray();
  for (const runtime::LostState& lost : outcome.lost) {
    w.BeginObject();
    w.Field("plugin", lost.plugin).Field("type", lost.type).Field("why", lost.why);
    w.EndObject();
  }
  w.EndArray();
  w.Key("refused_libraries").BeginArray();
  for (const LibraryReport::Refused& refused : outcome.refused_libraries) {
    w.BeginObject();
    w.Field("path", refused.path).Field("why", refused.why);
    w.Field("former_goes_on", refused.former_goes_on);
    w.EndObject();
  }
  w.EndArray();
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
      clock_(clock),
      carrier_(&platform->metrics()),
      draining_(conditions, &platform->metrics()) {}

Generations::~Generations() {
  serving_->Publish(nullptr);
  {
    std::unique_lock lock(mutex_);
    const std::shared_ptr<runtime::Generation> last = std::exchange(current_, nullptr);
    lock.unlock();
  }
  Collect();
  carrier_.Clear();
}

// The last user of a generation may be a worker, which must not run a plugin's destroy.
std::shared_ptr<runtime::Generation> Generations::Own(
    std::unique_ptr<runtime::Generation> generation) {
  return {generation.release(), [this](runtime::Generation* dead) {
            std::lock_guard lock(mutex_);
            dead_.emplace_back(dead);
          }};
}

void Generations::Collect() {
  std::vector<std::unique_ptr<runtime::Generation>> dead;
  {
    std::lock_guard lock(mutex_);
    dead.swap(dead_);
  }
  for (const auto& generation : dead) draining_.Gone(generation.get());
  if (carrier_.following()) {
    carrier_.Follow([this](const runtime::HeldInstance& held) { return draining_.Uses(held); });
  }
  draining_.Look(clock_->mono_ns());
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
  if (absl::Status status = Swap(first, nullptr, nullptr); !status.ok()) return status;
  ReportLibraries();
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
absl::Status Generations::Swap(std::shared_ptr<runtime::Generation> next,
                               const runtime::Generation* former, runtime::StateReport* state) {
  next->AttachToPool();
  names_->Add(NamesOf(*next));
  // Columns that the new generation is the first to read must be in the frame before it serves.
  platform_->pool().Publish();
  if (absl::Status status = scraper_->SetSources(SourcesOf(next)); !status.ok()) return status;
  // Last, so that little is learned by the old ones that the new ones miss.
  if (former != nullptr) *state = carrier_.Carry(*former, *next);
  serving_->Publish(std::shared_ptr<const request::Serving>(next, &next->serving()));
  draining_.Came(next.get(), clock_->mono_ns());
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

ReloadOutcome Generations::Reload(std::string_view cause, bool may_wait) {
  const uint64_t begin = clock_->mono_ns();
  ReloadOutcome outcome;
  outcome.cause = cause;
  outcome.unix_ns = clock_->unix_ns();
  const std::shared_ptr<const runtime::Generation> former = current();
  outcome.generation = former->serving().number;

  config::Diagnostics diagnostics;
  const auto text = ReadConfig(command_line_);
  if (text.ok()) {
    std::lock_guard lock(mutex_);
    tried_ = *text;
  }
  std::unique_ptr<runtime::Generation> built;
  if (!text.ok()) {
    diagnostics.Error({}, "EPP-CFG-READ", std::string(View(text.status())));
  } else {
    PluginFiles files = FindPlugins(command_line_.settings.settings());
    const bool proven = Prove(command_line_, *text, files, platform_->catalog().get(), diagnostics,
                              &outcome.trial_ns);
    LibraryReport libraries;
    if (proven) libraries = platform_->Rescan(*former, std::move(files));
    outcome.refused_libraries = std::move(libraries.refused);
    if (!proven) {
      outcome.digest = platform_->DigestOf(**text).substr(0, kDigestDigits);
    } else if (!libraries.changed && platform_->DigestOf(**text) == former->config().digest) {
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
  if (may_wait && !built && Unsettled(outcome)) {
    outcome.unsettled = true;
    return outcome;
  }
  if (built) {
    outcome.kept = built->kept_instances();
    outcome.created = built->instances().size() - outcome.kept;
    std::shared_ptr<runtime::Generation> next = Own(std::move(built));
    runtime::StateReport state;
    if (const absl::Status status = Swap(next, former.get(), &state); status.ok()) {
      outcome.kind = ReloadOutcome::Kind::kApplied;
      outcome.generation = ++last_number_;
      outcome.carried = state.carried;
      outcome.lost = std::move(state.lost);
    } else {
      diagnostics.Error({}, "EPP-CFG-SOURCE", std::string(View(status)));
    }
  }
  outcome.diagnostics = diagnostics.Render();
  outcome.took_ns = clock_->mono_ns() - begin;
  Report(outcome);
  Remember(outcome);
  return outcome;
}

// Would it refuse what was written a moment ago?
bool Generations::Unsettled(const ReloadOutcome& outcome) const {
  const bool refused = outcome.kind == ReloadOutcome::Kind::kRefused;
  if (refused && std::ranges::any_of(WatchedFiles(), ChangedLately)) return true;
  return std::ranges::any_of(outcome.refused_libraries, [](const LibraryReport::Refused& library) {
    return ChangedLately(library.path);
  });
}

void Generations::ReportLibraries() {
  const LibraryReport libraries = platform_->libraries();
  std::string refused;
  for (const LibraryReport::Refused& library : libraries.refused) {
    StrAppend(&refused, refused.empty() ? "" : "; ", library.why,
              library.former_goes_on ? ", its former build goes on" : "");
  }
  conditions_->Set(kPluginRefused, !refused.empty(), refused);
  std::string missing;
  for (const std::string& path : libraries.missing) {
    StrAppend(&missing, missing.empty() ? "" : ", ", path);
  }
  conditions_->Set(kPluginMissing, !missing.empty(),
                   StrCat("libraries in use are gone, a restart would not find them: ", missing));
}

void Generations::Report(const ReloadOutcome& outcome) {
  telemetry::EppMetrics& metrics = platform_->metrics();
  metrics.reloads.With({KindName(outcome.kind)}).Add();
  const bool refused = outcome.kind == ReloadOutcome::Kind::kRefused;
  metrics.last_reload_successful.Set(refused ? 0 : 1);
  conditions_->Set(kConfigRefused, refused,
                   StrCat("the config on disk was refused: ",
                          outcome.diagnostics.substr(0, outcome.diagnostics.find('\n'))));
  ReportLibraries();
  const uint64_t took_ms = outcome.took_ns / 1'000'000;
  switch (outcome.kind) {
    case ReloadOutcome::Kind::kApplied:
      EPP_LOG_EXEMPT(kInfo, "config", "generation serving",
                     {{"generation", outcome.generation},
                      {"digest", outcome.digest},
                      {"cause", outcome.cause},
                      {"kept", outcome.kept},
                      {"created", outcome.created},
                      {"carried", outcome.carried},
                      {"state_lost", outcome.lost.size()},
                      {"took_ms", took_ms},
                      {"trial_ms", outcome.trial_ns / 1'000'000}});
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

std::vector<std::string> Generations::WatchedFiles() const {
  std::set<std::string> files;
  const std::string& config = command_line_.settings.settings().config_file;
  if (!config.empty() && config != "-") files.insert(config);
  std::lock_guard lock(mutex_);
  for (const config::SourceText* text :
       {current_ ? current_->config().source.get() : nullptr, tried_.get()}) {
    if (text) files.merge(config::IncludedPaths(*text));
  }
  return {files.begin(), files.end()};
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

bool IsRefusal(const ReloadOutcome& outcome) {
  return outcome.kind == ReloadOutcome::Kind::kRefused ||
         std::ranges::any_of(outcome.refused_libraries, &LibraryReport::Refused::former_goes_on);
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
  std::string out = outcome.diagnostics;
  for (const LibraryReport::Refused& library : outcome.refused_libraries) {
    StrAppend(&out, "warning: ", library.why,
              library.former_goes_on ? "; its former build goes on\n" : "\n");
  }
  switch (outcome.kind) {
    case ReloadOutcome::Kind::kApplied:
      StrAppend(&out, "generation ", outcome.generation, " serving after ",
                outcome.took_ns / 1'000'000, " ms; digest ", outcome.digest, "\n", outcome.kept,
                " instances kept with their state, ", outcome.created, " created");
      if (outcome.carried > 0) StrAppend(&out, ", ", outcome.carried, " with carried-over state");
      StrAppend(&out, "\n");
      for (const runtime::LostState& lost : outcome.lost) {
        StrAppend(&out, "state lost: plugin \"", lost.plugin, "\" (", lost.type, "): ", lost.why,
                  "\n");
      }
      return out;
    case ReloadOutcome::Kind::kUnchanged:
      StrAppend(&out, "unchanged: generation ", outcome.generation, " (digest ", outcome.digest,
                ") goes on serving\n");
      return out;
    case ReloadOutcome::Kind::kRefused:
      break;
  }
  StrAppend(&out, "refused; generation ", outcome.generation, " keeps serving\n");
  return out;
}

}  // namespace epp::serve
