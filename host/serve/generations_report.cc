// What became of a reload: log, metrics, conditions and history.
#include <sys/stat.h>
#include <unistd.h>

#include <map>

#include "host/base/str_cat.h"
#include "host/loader/sha256.h"
#include "host/serve/generations.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr ConditionSpec kConfigRefused{"config-refused", 0};
constexpr ConditionSpec kPinned{"pinned", 0};
constexpr ConditionSpec kPluginRefused{"plugin-refused", 0};
constexpr ConditionSpec kPluginMissing{"plugin-missing", 0};
constexpr size_t kDigestDigits = 8;

std::vector<UsedLibrary> LibrariesOf(const runtime::Generation& generation) {
  std::map<std::string, std::string> used;
  for (const config::PluginSpec& plugin : generation.config().plugins) {
    const auto& library = plugin.type->library;
    if (library) used.emplace(library->info().name, library->info().digest);
  }
  std::vector<UsedLibrary> out;
  for (const auto& [name, digest] : used) out.push_back({name, digest});
  return out;
}

}  // namespace

// Below the state directory, in one of the config's own: two processes may share the former.
void Generations::OpenHistory() {
  const std::string& state = command_line_.settings.settings().state_dir;
  const std::string path = ConfigPath();
  if (state.empty() || !path.starts_with('/')) return;  // no file that could change
  const bool by_default = command_line_.settings.origin("config.state_dir") == "default";
  // A place that nobody prepared or asked for is not made.
  if (by_default && access(state.c_str(), F_OK) != 0) {
    EPP_LOG_EXEMPT(kInfo, "config", "the history of configurations is kept in memory only",
                   {{"why", StrCat("there is no ", state)}});
    return;
  }
  if (!by_default) mkdir(state.c_str(), 0750);
  history_.Open(StrCat(state, "/history-", loader::Sha256Hex(path).substr(0, kDigestDigits)));
  if (const std::string why = history_.why_in_memory(); !why.empty()) {
    EPP_LOG_EXEMPT(kWarn, "config", "the history of configurations is kept in memory only",
                   {{"why", why}});
  }
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

void Generations::ReportPin() {
  const std::optional<Pin> pin = this->pin();
  platform_->metrics().config_pinned.Set(pin ? 1 : 0);
  std::string text;
  if (pin) {
    text = StrCat("the text of generation ", pin->restored, " serves; ", PinText(*pin));
    if (!pin->reason.empty()) StrAppend(&text, "; ", pin->cause, ": ", pin->reason);
  }
  conditions_->Set(kPinned, pin.has_value(), std::move(text));
}

void Generations::Report(const ReloadOutcome& outcome) {
  using Kind = ReloadOutcome::Kind;
  telemetry::EppMetrics& metrics = platform_->metrics();
  metrics.reloads.With({KindName(outcome.kind)}).Add();
  const bool back = outcome.cause == "rollback" || outcome.cause == "guard";
  const bool decided = outcome.kind == Kind::kApplied || outcome.kind == Kind::kUnchanged ||
                       (outcome.kind == Kind::kRefused && !back);
  if (decided) {
    const bool refused = outcome.kind == Kind::kRefused;
    metrics.last_reload_successful.Set(refused ? 0 : 1);
    conditions_->Set(kConfigRefused, refused,
                     StrCat("the config on disk was refused: ",
                            outcome.diagnostics.substr(0, outcome.diagnostics.find('\n'))));
  }
  ReportPin();
  ReportLibraries();
  const uint64_t took_ms = outcome.took_ns / 1'000'000;
  switch (outcome.kind) {
    case Kind::kApplied:
      EPP_LOG_EXEMPT(kInfo, "config", "generation serving",
                     {{"generation", outcome.generation},
                      {"digest", outcome.digest},
                      {"cause", outcome.cause},
                      {"actor", outcome.actor},
                      {"restored", outcome.restored},
                      {"reason", outcome.reason},
                      {"kept", outcome.kept},
                      {"created", outcome.created},
                      {"carried", outcome.carried},
                      {"state_lost", outcome.lost.size()},
                      {"took_ms", took_ms}});
      break;
    case Kind::kUnchanged:
      EPP_LOG(kDebug, "config", "reload: nothing changed", {{"cause", outcome.cause}});
      break;
    case Kind::kMismatch:
    case Kind::kNotKept:
      EPP_LOG_EXEMPT(
          kWarn, "config", "nothing was tried",
          {{"cause", outcome.cause}, {"actor", outcome.actor}, {"why", outcome.diagnostics}});
      break;
    case Kind::kRefused:
      EPP_LOG_EXEMPT(kError, "config", "config refused, the former generation goes on",
                     {{"generation", outcome.generation},
                      {"digest", outcome.digest},
                      {"cause", outcome.cause},
                      {"actor", outcome.actor},
                      {"errors", outcome.diagnostics}});
      break;
  }
}

void Generations::Remember(const ReloadOutcome& outcome, const config::SourceText* text,
                           const std::string& digest, const runtime::Generation* made) {
  const bool refused = outcome.kind == ReloadOutcome::Kind::kRefused;
  if (made == nullptr && !refused) return;
  Attempt attempt;
  attempt.generation = made ? outcome.generation : 0;
  attempt.serving = outcome.generation;
  attempt.restored = made ? outcome.restored : 0;
  attempt.digest = digest;
  attempt.cause = outcome.cause;
  attempt.actor = outcome.actor;
  attempt.reason = outcome.reason;
  attempt.unix_ns = outcome.unix_ns;
  attempt.took_ns = outcome.took_ns;
  attempt.kept = outcome.kept;
  attempt.created = outcome.created;
  attempt.carried = outcome.carried;
  attempt.lost = outcome.lost;
  attempt.changes = outcome.changes;
  attempt.diagnostics = outcome.diagnostics;
  attempt.files = FilesOf(text, ConfigPath());
  if (made) attempt.libraries = LibrariesOf(*made);
  history_.Add(std::move(attempt));
}

}  // namespace epp::serve
