#include "host/serve/trial.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "host/base/str_cat.h"
#include "host/runtime/state_transfer.h"
#include "host/serve/plugin_states.h"
#include "host/serve/trial_drive.h"

namespace epp::serve {
namespace {

constexpr uint32_t kWorkers = 2;  // the child's

preflight::Trial TrialOf(const cli::ServeCommandLine& command_line,
                         std::shared_ptr<const config::SourceText> text, const PluginFiles& files,
                         const loader::Catalog* serving) {
  preflight::Trial trial;
  trial.settings = command_line.settings.Print();
  trial.own_plugins_dir = OwnPluginsDir();
  trial.config = std::move(text);
  std::set<std::string> found;
  for (const auto& file : files.libraries.files) {
    const loader::LibraryInfo& info = file->info();
    if (!found.insert(info.digest).second) continue;
    absl::StatusOr<std::shared_ptr<const std::string>> bytes = file->Bytes();
    if (!bytes.ok()) continue;  // its copy was removed; the new ones can still be tried alone
    const auto held = std::make_shared<
        std::pair<std::shared_ptr<const loader::LibraryFile>, std::shared_ptr<const std::string>>>(
        file, *std::move(bytes));
    trial.libraries.push_back({info.name, info.path, info.digest, !preflight::IsProven(info.digest),
                               false, held, *held->second});
  }
  for (const preflight::Crash& crash : files.quarantined) {
    trial.quarantined_offers.push_back(crash.offers);
  }
  if (serving == nullptr) return trial;
  for (const auto& library : serving->libraries()) {
    const loader::LibraryInfo& info = library->info();
    if (found.contains(info.digest)) continue;
    auto bytes = library->Bytes();
    if (!bytes.ok()) continue;  // its copy was removed; the new ones can still be tried alone
    const auto held = std::make_shared<const std::string>(*std::move(bytes));
    trial.libraries.push_back({info.name, info.path, info.digest, false, true, held, *held});
  }
  return trial;
}

bool Mentions(const config::SourceText& text, std::string_view type) {
  if (text.text.find(type) != std::string::npos) return true;
  return std::any_of(text.included.begin(), text.included.end(), [&](const auto& file) {
    return file.second.text && file.second.text->text.find(type) != std::string::npos;
  });
}

// What a trial only created, because its config did not name it, was not called yet. By digest: the
// config of the library's first trial, and the types that later ones named.
struct Called {
  std::shared_ptr<const config::SourceText> first;
  std::set<std::string, std::less<>> types;
};
std::map<std::string, Called>& CalledBy() {
  static auto& called = *new std::map<std::string, Called>;
  return called;
}

// Types of mapped libraries that this config names for the first time.
std::vector<std::pair<std::string, std::string>> NewlyNamed(const config::SourceText& text,
                                                            const loader::Catalog* serving) {
  std::vector<std::pair<std::string, std::string>> out;
  if (serving == nullptr) return out;
  for (const auto& library : serving->libraries()) {
    const auto it = CalledBy().find(library->info().digest);
    if (it == CalledBy().end()) continue;
    for (const epp_plugin_type* type : library->types()) {
      if (it->second.types.contains(type->name) || !Mentions(text, type->name)) continue;
      if (it->second.first && Mentions(*it->second.first, type->name)) continue;
      out.emplace_back(library->info().digest, type->name);
    }
  }
  return out;
}

// Instances of every type of a library, with default parameters where there are such.
class Samples {
 public:
  explicit Samples(uint32_t workers)
      : registry_(static_cast<int>(workers)), metrics_(&registry_), host_(Options(workers)) {}

  void Create(const std::shared_ptr<const loader::Library>& library) {
    for (const epp_plugin_type* type : library->types()) {
      config::Diagnostics ignored;
      // Its address must stay: instances point to it.
      auto entry = std::make_unique<loader::TypeEntry>(loader::TypeEntry{type, library});
      const auto spec = config::DefaultInstance(*entry, type->name, "trial", {}, ignored);
      if (!spec) continue;
      auto made = runtime::HeldInstance::Create(*spec, &host_, kWorkers, false);
      // Without what it needs it may refuse; a config that asks for it says so.
      if (made.ok()) held_.push_back(*std::move(made));
      entries_.push_back(std::move(entry));
    }
  }
  void Ask() const {
    for (const auto& held : held_) (void)StateJson(*held->instance());
  }
  void Destroy() {
    while (!held_.empty()) held_.pop_back();
  }

 private:
  loader::HostServicesOptions Options(uint32_t workers) {
    loader::HostServicesOptions options;
    options.worker_count = workers;
    options.log = &log_;
    options.metrics = &metrics_;
    options.interner = &interner_;
    return options;
  }

  telemetry::Registry registry_;
  PluginLog log_;
  PluginMetrics metrics_;
  Interner interner_;
  loader::HostServices host_;
  std::vector<std::unique_ptr<loader::TypeEntry>> entries_;
  std::vector<std::shared_ptr<runtime::HeldInstance>> held_;
};

// What a reload does with what instances have learned.
void CarryState(Platform& platform, const preflight::Trial& trial,
                const runtime::Generation& former) {
  config::Diagnostics ignored;
  const auto next = platform.Build(2, trial.config, ignored);
  if (!next) return;
  next->AttachToPool();
  runtime::StateCarrier carrier(&platform.metrics());
  carrier.Carry(former, *next);
  carrier.Clear();
}

}  // namespace

bool Prove(const cli::ServeCommandLine& command_line,
           const std::shared_ptr<const config::SourceText>& text, const PluginFiles& files,
           const loader::Catalog* serving, config::Diagnostics& out, uint64_t* took_ns) {
  const config::Settings& settings = command_line.settings.settings();
  if (settings.preflight == 0 || !preflight::TrialsAllowed()) return true;
  const auto& found = files.libraries.files;
  const bool proven = std::all_of(found.begin(), found.end(), [](const auto& file) {
    return preflight::IsProven(file->info().digest);
  });
  const auto named = NewlyNamed(*text, serving);
  if (proven && named.empty()) return true;
  preflight::TrialLimits limits;
  limits.time_ns = static_cast<uint64_t>(settings.preflight);
  const preflight::Trial trial = TrialOf(command_line, text, files, serving);
  const uint64_t begin = Clock::Real().mono_ns();
  const bool good = preflight::Run(trial, limits, out);
  if (took_ns != nullptr) *took_ns = Clock::Real().mono_ns() - begin;
  if (!good) {
    NoteRefused(files.libraries.refused, out);
    return false;
  }
  for (const auto& [digest, type] : named) CalledBy()[digest].types.insert(type);
  for (const auto& file : found) {
    preflight::SetProven(file->info().digest);
    CalledBy().try_emplace(file->info().digest, Called{text, {}});
  }
  return true;
}

absl::Status TryOut(const preflight::Trial& trial, config::Diagnostics& out) {
  config::SettingsBuilder builder;
  builder.ApplyFile(
      std::make_shared<const config::SourceText>(config::SourceText{"settings", trial.settings}),
      out);
  if (!out.ok()) return absl::OkStatus();
  config::Settings settings = builder.settings();
  settings.runtime_dir.clear();  // copies in memory leave nothing behind
  settings.max_retired = 0;
  settings.call_budget = 0;

  PluginFiles files;
  for (const std::string& offers : trial.quarantined_offers) {
    files.quarantined.emplace_back().offers = offers;
  }
  std::vector<std::shared_ptr<const loader::LibraryFile>> fresh;
  for (const preflight::TrialLibrary& library : trial.libraries) {
    auto file = loader::LibraryFile::FromMemory(library.name, library.path, library.digest,
                                                std::string(library.bytes));
    if (!file.ok()) return file.status();
    if (library.serving) {
      (void)loader::Library::Load(**file, {});
    } else {
      files.libraries.files.push_back(*file);
      if (library.fresh) fresh.push_back(*file);
    }
  }
  // They live for ever, as in the process that will serve.
  auto& platform = *new Platform(settings, kWorkers, false, std::move(files));
  auto& seconds = *new Samples(kWorkers);
  std::vector<std::shared_ptr<const loader::Library>> copies;
  for (const auto& file : fresh) {
    if (!loader::Library::Load(*file, {}).ok()) continue;  // refused, as it will be there
    auto copy = loader::Library::LoadAgain(*file, {});
    if (!copy.ok()) {
      return absl::FailedPreconditionError(
          StrCat("two builds of it cannot be loaded side by side: ",
                 std::string_view(copy.status().message().data(), copy.status().message().size())));
    }
    copies.push_back(*std::move(copy));
  }
  const auto create_seconds = [&] {
    for (const auto& copy : copies) seconds.Create(copy);
    seconds.Ask();
  };
  create_seconds();
  auto generation = platform.Build(1, trial.config, out);
  if (!generation) return absl::OkStatus();
  Drive(platform, std::move(generation), [&](const runtime::Generation& old) {
    CarryState(platform, trial, old);
    // Both orders: the copies first, and after what they are copies of.
    seconds.Destroy();
    create_seconds();
  });
  seconds.Destroy();
  return absl::OkStatus();
}

}  // namespace epp::serve
