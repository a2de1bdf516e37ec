#include "host/serve/generations.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "host/base/str_cat.h"
#include "host/config/includes.h"
#include "host/runtime/generation_diff.h"
#include "host/runtime/outline.h"
#include "host/serve/documents.h"
#include "host/serve/trial.h"
#include "host/serve/triggers.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr size_t kDigestDigits = 8;
// In place of digests: no state that was accepted.
constexpr const char* kUntried = "untried";

// As long as an answer may take.
constexpr uint64_t kServiceDrainNs = 600'000'000'000;

std::string_view View(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
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

// All digests in order.
std::string Digests(const loader::Catalog& catalog) {
  std::set<std::string> digests;
  for (const auto& library : catalog.libraries()) digests.insert(library->info().digest);
  std::string out;
  for (const std::string& digest : digests) StrAppend(&out, digest, " ");
  return out;
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
      history_(static_cast<size_t>(command_line.settings.settings().config_history)),
      carrier_(&platform->metrics()),
      draining_(conditions, &platform->metrics()) {
  OpenHistory();
  last_number_ = history_.last_generation();
}

Generations::~Generations() {
  services_.StopAll();
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
  services_.Look(clock_->mono_ns());
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
  seen_ = {first->config().digest, Digests(first->catalog())};
  Remember(outcome, first->config().source.get(), first->config().digest, first.get());
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
  if (absl::Status status = services_.Start(*next); !status.ok()) return status;
  if (absl::Status status = scraper_->SetSources(SourcesOf(next)); !status.ok()) {
    if (former != nullptr) services_.Retire(*former, clock_->mono_ns());
    return status;
  }
  // Last, so that little is learned by the old ones that the new ones miss.
  if (former != nullptr) *state = carrier_.Carry(*former, *next);
  serving_->Publish(std::shared_ptr<const request::Serving>(next, &next->serving()));
  draining_.Came(next.get(), clock_->mono_ns());
  services_.Retire(*next, clock_->mono_ns() + kServiceDrainNs);
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

ReloadOutcome Generations::Reload(const ReloadRequest& request, bool may_wait) {
  const uint64_t begin = clock_->mono_ns();
  ReloadOutcome outcome;
  outcome.cause = request.cause;
  outcome.actor = request.actor;
  outcome.reason = request.reason;
  outcome.unix_ns = clock_->unix_ns();
  const std::shared_ptr<const runtime::Generation> former = current();
  outcome.generation = outcome.former = former->serving().number;
  outcome.digest = former->config().digest.substr(0, kDigestDigits);

  config::Diagnostics diagnostics;
  const auto text = ReadConfig(command_line_);
  if (text.ok()) {
    std::lock_guard lock(mutex_);
    tried_ = *text;
  }
  // Nothing new is loaded here before a child has tried it.
  PluginFiles files = FindPlugins(command_line_.settings.settings());
  config::Diagnostics findings;
  const bool proven = text.ok() && Prove(command_line_, *text, files, platform_->catalog().get(),
                                         findings, &outcome.trial_ns);
  LibraryReport libraries;
  if (proven) libraries = platform_->Rescan(*former, std::move(files));
  outcome.refused_libraries = std::move(libraries.refused);
  DiskState disk = Disk(text);
  if (!proven) disk.libraries = kUntried;
  if (!request.asked && proven && NothingNew(disk, *former)) {
    outcome.kind = ReloadOutcome::Kind::kUnchanged;
    outcome.unsettled = may_wait && Unsettled(outcome);
    if (!outcome.unsettled) ReportLibraries();
    EPP_LOG(kDebug, "config", "reload: nothing new on disk", {{"cause", outcome.cause}});
    return outcome;
  }
  Trial trial;
  if (text.ok()) {
    trial.text = *text;
  } else if (!request.rollback_to) {
    diagnostics.Error({}, "EPP-CFG-READ", std::string(View(text.status())));
  }
  // What lies on disk does not stand in the way back.
  if (!proven && text.ok() && !request.rollback_to) {
    diagnostics = std::move(findings);
    outcome.digest = disk.config.substr(0, kDigestDigits);
  }
  std::unique_ptr<runtime::Generation> built;
  std::string digest = disk.config;
  const auto scanned = platform_->catalog();
  if (diagnostics.ok() &&
      Choose(request, disk, libraries.changed, *former, trial, diagnostics, outcome)) {
    if (trial.target) digest = trial.target->digest;
    outcome.digest = digest.substr(0, kDigestDigits);
    built = platform_->Build(last_number_ + 1, trial.text, diagnostics, former.get());
  }
  if (may_wait && !built && Unsettled(outcome)) {
    outcome.unsettled = true;
    return outcome;
  }
  std::shared_ptr<runtime::Generation> next;
  if (built) {
    outcome.kept = built->kept_instances();
    outcome.created = built->instances().size() - outcome.kept;
    outcome.changes = runtime::ChangeLines(runtime::Compare(runtime::OutlineOf(former->config()),
                                                            runtime::OutlineOf(built->config())));
    next = Own(std::move(built));
    runtime::StateReport state;
    if (const absl::Status status = Swap(next, former.get(), &state); status.ok()) {
      outcome.kind = ReloadOutcome::Kind::kApplied;
      outcome.generation = ++last_number_;
      outcome.carried = state.carried;
      outcome.lost = std::move(state.lost);
      if (running_) outcome.running = running_();
    } else {
      next = nullptr;
      diagnostics.Error(
          {},
          status.code() == absl::StatusCode::kUnavailable ? "EPP-CFG-SERVICE" : "EPP-CFG-SOURCE",
          std::string(View(status)));
    }
  }
  outcome.diagnostics += diagnostics.Render();
  outcome.errors = diagnostics.errors();
  outcome.took_ns = clock_->mono_ns() - begin;
  if (!next && request.rollback_to) platform_->Use(scanned);
  SetPin(request, trial, disk, outcome);
  outcome.pin = pin();
  Report(outcome);
  Remember(outcome, trial.text.get(), digest, next.get());
  return outcome;
}

bool Generations::Choose(const ReloadRequest& request, const DiskState& disk,
                         bool libraries_changed, const runtime::Generation& former, Trial& trial,
                         config::Diagnostics& diagnostics, ReloadOutcome& outcome) {
  const uint64_t serving = former.serving().number;
  if (!request.expect.empty() && !disk.config.starts_with(request.expect)) {
    outcome.kind = ReloadOutcome::Kind::kMismatch;
    outcome.digest = disk.config.substr(0, kDigestDigits);
    outcome.diagnostics =
        StrCat("the text on disk has digest ", outcome.digest, ", want ", request.expect,
               "; nothing was tried, generation ", serving, " keeps serving\n");
    return false;
  }
  if (request.rollback_to) {
    const uint64_t number = *request.rollback_to;
    trial.target = number == 0 ? history_.Before(serving) : history_.Find(number);
    if (!trial.target) {
      outcome.kind = ReloadOutcome::Kind::kNotKept;
      outcome.diagnostics =
          number == 0 ? StrCat("no generation before ", serving, " that differs from it is kept")
                      : StrCat("generation ", number, " is not kept");
      StrAppend(&outcome.diagnostics, "; kept: ", history_.KeptGenerations(),
                " ([config] history = ", command_line_.settings.settings().config_history, ")\n");
      return false;
    }
    const auto now = history_.Find(serving);
    if (now && now->SameContent(*trial.target)) {
      outcome.kind = ReloadOutcome::Kind::kUnchanged;
      return false;
    }
    outcome.restored = trial.target->generation;
    trial.text = SourceOf(*trial.target);
    UseFormerBuilds(*trial.target, diagnostics);
    return true;
  }
  if (!request.force && !libraries_changed && disk.config == former.config().digest) {
    outcome.kind = ReloadOutcome::Kind::kUnchanged;
    return false;
  }
  if (trial.text->text.find_first_not_of(" \t\r\n") == std::string::npos &&
      disk.config != former.config().digest) {
    // Half of a rewrite in place, most likely, and no wish for the built-in default.
    diagnostics.Error({trial.text, 1, 1}, "EPP-CFG-EMPTY",
                      "the file is empty, want an EndpointPickerConfig", "",
                      "a restart would take the built-in default");
    return false;
  }
  return true;
}

// A rollback brings back the code, too, as long as this process has it.
void Generations::UseFormerBuilds(const Attempt& target, config::Diagnostics& diagnostics) {
  std::map<std::string, std::string> builds;
  for (const UsedLibrary& library : target.libraries) builds.emplace(library.name, library.digest);
  std::vector<std::string> missing;
  platform_->UseBuilds(builds, missing);
  for (const std::string& name : missing) {
    diagnostics.Warning({}, "EPP-CFG-BUILD-GONE",
                        StrCat("library ", name, ": the build of generation ", target.generation,
                               " (digest ", builds[name].substr(0, kDigestDigits),
                               ") is not in this process, the file on disk is used"));
  }
}

DiskState Generations::Disk(
    const absl::StatusOr<std::shared_ptr<const config::SourceText>>& text) const {
  return {text.ok() ? Platform::DigestOf(**text) : "", Digests(*platform_->catalog())};
}

// Are the files those of the last attempt? Or did the text become what serves anyhow, while a
// rollback keeps former builds of libraries?
bool Generations::NothingNew(const DiskState& disk, const runtime::Generation& former) {
  if (disk == seen_) return true;
  const bool only_builds = disk.libraries == seen_.libraries &&
                           disk.libraries != Digests(former.catalog()) &&
                           disk.config == former.config().digest;
  {
    std::lock_guard lock(mutex_);
    if (!pin_ || !only_builds) return false;
    pin_->file_digest.clear();
  }
  seen_ = disk;
  ReportPin();
  return true;
}

void Generations::SetPin(const ReloadRequest& request, const Trial& trial, const DiskState& disk,
                         const ReloadOutcome& outcome) {
  using Kind = ReloadOutcome::Kind;
  if (outcome.kind == Kind::kMismatch || outcome.kind == Kind::kNotKept) return;
  if (request.rollback_to && outcome.kind != Kind::kApplied) return;
  seen_ = disk;
  std::optional<Pin> pin;
  if (request.rollback_to) {
    const bool other_text = disk.config != trial.target->digest;
    if (other_text || disk.libraries != Digests(*platform_->catalog())) {
      pin = Pin{.generation = outcome.generation,
                .restored = outcome.restored,
                .path = ConfigPath(),
                .file_digest = other_text ? disk.config.substr(0, kDigestDigits) : "",
                .cause = request.cause,
                .actor = request.actor,
                .reason = request.reason,
                .since_unix_ns = outcome.unix_ns};
      if (other_text && disk.config.empty()) pin->file_digest = "unreadable";
    }
  }
  std::lock_guard lock(mutex_);
  pin_ = std::move(pin);
}

std::string Generations::ConfigPath() const {
  const std::string& file = command_line_.settings.settings().config_file;
  if (file.empty()) return command_line_.flags.config_text.empty() ? "" : "--config-text";
  std::error_code ignored;
  const std::filesystem::path path = std::filesystem::absolute(file, ignored);
  return file == "-" || ignored ? file : path.string();
}

// Would it refuse what was written a moment ago?
bool Generations::Unsettled(const ReloadOutcome& outcome) const {
  const bool refused = outcome.kind == ReloadOutcome::Kind::kRefused;
  if (refused && std::ranges::any_of(WatchedFiles(), ChangedLately)) return true;
  return std::ranges::any_of(outcome.refused_libraries, [](const LibraryReport::Refused& library) {
    return ChangedLately(library.path);
  });
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
  if (current_ && current_->config().shadow) files.insert(current_->config().shadow->file);
  return {files.begin(), files.end()};
}

std::optional<Pin> Generations::pin() const {
  std::lock_guard lock(mutex_);
  return pin_;
}

}  // namespace epp::serve
