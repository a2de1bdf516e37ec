#include "host/serve/load.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <fstream>
#include <set>
#include <sstream>

#include "host/base/str_cat.h"
#include "host/config/includes.h"
#include "host/pool/file_discovery.h"

namespace epp::serve {
namespace {

// A sanitizer slows plugins down that are fast enough.
#ifdef EPP_HOST_SANITIZED
constexpr uint64_t kBudgetFactor = 5;
#else
constexpr uint64_t kBudgetFactor = 1;
#endif

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

telemetry::EppMetricsOptions MetricsOptions(const config::Settings& settings, uint32_t workers,
                                            bool stream_metrics) {
  telemetry::EppMetricsOptions options;
  options.workers = static_cast<int>(workers);
  options.old_names = settings.old_names;
  options.stream_metrics = stream_metrics;
  options.build_ref = EPP_VERSION;
  return options;
}

loader::HostServicesOptions HostOptions(uint32_t workers, PluginLog* log, PluginMetrics* metrics,
                                        Interner* interner, loader::RandomSource* random,
                                        loader::ListenerSource* listeners,
                                        loader::ExtensionSource* extensions) {
  loader::HostServicesOptions options;
  options.listeners = listeners;
  options.worker_count = workers;
  options.log = log;
  options.metrics = metrics;
  options.interner = interner;
  options.random = random;
  options.extensions = extensions;
  return options;
}

loader::LoadOptions OptionsFor(const config::Settings& settings) {
  loader::LoadOptions options;
  options.runtime_dir = settings.runtime_dir;
  options.allowed_digests = settings.plugin_digests;
  options.allow_unlisted = settings.allow_unlisted;
  options.own_dir = OwnPluginsDir();
  options.max_retired = static_cast<size_t>(settings.max_retired);
  return options;
}

std::set<std::string> Digests(const loader::Catalog& catalog) {
  std::set<std::string> out;
  for (const auto& library : catalog.libraries()) out.insert(library->info().digest);
  return out;
}

LibraryReport ReportOf(const loader::Catalog& catalog) {
  LibraryReport report;
  for (const loader::RefusedLibrary& refused : catalog.refused()) {
    report.refused.push_back({refused.path, std::string(refused.why.message())});
  }
  return report;
}

}  // namespace

std::string OwnPluginsDir() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
  if (n <= 0) return EPP_INSTALLED_PLUGINS;
  std::string exe(path, static_cast<size_t>(n));
  // .../bin/epp beside .../lib/epp/plugins, in a build tree and below a prefix alike.
  const std::string root = exe.substr(0, exe.rfind('/', exe.rfind('/') - 1));
  for (const std::string& dir :
       {StrCat(root, "/lib/epp/plugins"), std::string(EPP_INSTALLED_PLUGINS)}) {
    if (access(dir.c_str(), R_OK | X_OK) == 0) return dir;
  }
  return StrCat(root, "/lib/epp/plugins");
}

namespace {

void AddHostTypes(loader::Catalog& catalog, std::span<const epp_plugin_type* const> builtins) {
  catalog.AddBuiltin(pool::FileDiscoveryType());
  catalog.AddBuiltin(pool::MulticlusterFileDiscoveryType());
  for (const epp_plugin_type* type : builtins) catalog.AddBuiltin(type);
}

}  // namespace

PluginFiles FindPlugins(const config::Settings& settings) {
  std::vector<std::string> dirs = settings.plugin_dirs;
  if (dirs.empty()) dirs.push_back(OwnPluginsDir());
  PluginFiles files;
  files.libraries = loader::FindLibraries(dirs, OptionsFor(settings));
  if (!settings.quarantine) return files;
  const std::vector<preflight::Crash> crashes =
      preflight::ReadQuarantine(preflight::QuarantineFile(settings.state_dir));
  if (crashes.empty()) return files;
  files.libraries.RefuseIf([&](const loader::LibraryFile& file) {
    const std::string& digest = file.info().digest;
    // What runs here already does not get safer by leaving it.
    if (loader::Library::IsMapped(digest)) return absl::OkStatus();
    // The last crash says most.
    const auto crash = std::find_if(crashes.rbegin(), crashes.rend(),
                                    [&](const auto& c) { return c.digest == digest; });
    if (crash == crashes.rend()) return absl::OkStatus();
    files.quarantined.push_back(*crash);
    return absl::FailedPreconditionError(
        StrCat(preflight::Describe(*crash), " [EPP-LOAD-QUARANTINED]"));
  });
  return files;
}

void NoteRefused(std::span<const loader::RefusedLibrary> refused, config::Diagnostics& out) {
  const auto& all = out.all();
  if (std::none_of(all.begin(), all.end(),
                   [](const auto& d) { return d.code == "EPP-CFG-UNKNOWN-TYPE"; })) {
    return;
  }
  for (const loader::RefusedLibrary& library : refused) {
    const std::string_view why(library.why.message().data(), library.why.message().size());
    out.Warning({}, "EPP-LOAD-REFUSED", StrCat(library.path, ": ", why));
  }
}

loader::Catalog OpenCatalog(const config::Settings& settings,
                            std::span<const epp_plugin_type* const> builtins) {
  return OpenCatalog(settings, FindPlugins(settings), builtins);
}

loader::Catalog OpenCatalog(const config::Settings& settings, PluginFiles files,
                            std::span<const epp_plugin_type* const> builtins) {
  loader::Catalog catalog = loader::Catalog::Load(std::move(files.libraries), OptionsFor(settings));
  AddHostTypes(catalog, builtins);
  for (const epp_plugin_type* type : preflight::StandIns(files.quarantined)) {
    if (catalog.Find(type->name) == nullptr) catalog.AddBuiltin(type);
  }
  return catalog;
}

absl::StatusOr<std::shared_ptr<const config::SourceText>> ReadConfigFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(StrCat(path, ": cannot be read: ", std::strerror(errno)));
  std::string content(kMaxConfigBytes + 1, '\0');
  in.read(content.data(), static_cast<std::streamsize>(content.size()));
  // A directory opens, but does not read; its "empty text" must not mean the default config.
  if (in.bad()) return absl::NotFoundError(StrCat(path, ": cannot be read: not a file"));
  content.resize(static_cast<size_t>(in.gcount()));
  config::IncludedFiles files(path);
  return config::ReadIncludes({path, std::move(content)}, files);
}

absl::StatusOr<std::shared_ptr<const config::SourceText>> ReadConfig(
    const cli::ServeCommandLine& command_line) {
  config::SourceText text;
  const std::string& path = command_line.settings.settings().config_file;
  if (!command_line.flags.config_text.empty()) {
    text = {"--config-text", command_line.flags.config_text};
  } else if (path.empty()) {
    text = {"", ""};
  } else if (path == "-") {
    std::ostringstream all;
    all << std::cin.rdbuf();
    text = {"<stdin>", all.str()};
  } else {
    return ReadConfigFile(path);
  }
  return std::make_shared<const config::SourceText>(std::move(text));
}

Platform::Platform(const config::Settings& settings, uint32_t workers, bool stream_metrics,
                   std::span<const epp_plugin_type* const> builtins, loader::RandomSource* random)
    : Platform(settings, workers, stream_metrics, FindPlugins(settings), builtins, random) {}

Platform::Platform(const config::Settings& settings, uint32_t workers, bool stream_metrics,
                   PluginFiles files, std::span<const epp_plugin_type* const> builtins,
                   loader::RandomSource* random)
    : settings_(settings),
      workers_(workers),
      builtins_(builtins.begin(), builtins.end()),
      catalog_(std::make_shared<const loader::Catalog>(
          OpenCatalog(settings, std::move(files), builtins_))),
      libraries_(ReportOf(*catalog_)),
      registry_(static_cast<int>(workers)),
      metrics_(&registry_, MetricsOptions(settings, workers, stream_metrics)),
      plugin_metrics_(&registry_),
      pool_(std::make_shared<pool::AttributeRegistry>(), interner_, &Clock::Real(),
            {.stale_after_ns = static_cast<uint64_t>(settings.stale_after)}),
      hub_(workers),
      host_(HostOptions(workers, &plugin_log_, &plugin_metrics_, interner_.get(), random,
                        &listeners_, &hub_)) {}

std::shared_ptr<const loader::Catalog> Platform::catalog() const {
  std::lock_guard lock(mutex_);
  return catalog_;
}

LibraryReport Platform::Rescan(const runtime::Generation& former, PluginFiles files) {
  loader::Catalog fresh = OpenCatalog(settings_, std::move(files), builtins_);
  LibraryReport report = ReportOf(fresh);
  std::set<std::string> used;
  for (const auto& held : former.held()) {
    const auto& library = held->instance()->type().library;
    if (library != nullptr) used.insert(library->info().digest);
  }
  const std::set<std::string> found = Digests(fresh);
  for (const auto& library : catalog()->libraries()) {
    const loader::LibraryInfo& info = library->info();
    if (found.contains(info.digest)) continue;
    const auto refused =
        std::ranges::find(report.refused, info.path, &LibraryReport::Refused::path);
    const bool gone = access(info.path.c_str(), F_OK) != 0;
    if (refused == report.refused.end() && !(gone && used.contains(info.digest))) continue;
    // Another library may offer its types by now; that one is meant to be used.
    if (!fresh.Add(library).ok()) continue;
    if (refused != report.refused.end()) {
      refused->former_goes_on = true;
    } else {
      report.missing.push_back(info.path);
    }
  }
  report.changed = Digests(fresh) != Digests(former.catalog());
  std::lock_guard lock(mutex_);
  catalog_ = std::make_shared<const loader::Catalog>(std::move(fresh));
  libraries_ = report;
  return report;
}

LibraryReport Platform::libraries() const {
  std::lock_guard lock(mutex_);
  return libraries_;
}

void Platform::UseBuilds(const std::map<std::string, std::string>& builds,
                         std::vector<std::string>& missing) {
  loader::Catalog catalog = loader::Catalog::WithBuilds(*this->catalog(), builds, missing);
  AddHostTypes(catalog, builtins_);
  Use(std::make_shared<const loader::Catalog>(std::move(catalog)));
}

void Platform::Use(std::shared_ptr<const loader::Catalog> catalog) {
  std::lock_guard lock(mutex_);
  catalog_ = std::move(catalog);
}

std::string Platform::DigestOf(const config::SourceText& text) { return config::Digest(text); }

std::unique_ptr<runtime::Generation> Platform::Build(uint64_t number,
                                                     std::shared_ptr<const config::SourceText> text,
                                                     config::Diagnostics& out,
                                                     const runtime::Generation* former,
                                                     const Aside* aside) {
  const std::shared_ptr<const loader::Catalog> catalog = this->catalog();
  config::ResolvedConfig config = config::Resolve(
      std::move(text), *catalog, {.allow_experimental = settings_.allow_experimental}, out);
  if (!out.ok()) {
    NoteRefused(catalog->refused(), out);
    return nullptr;
  }
  return runtime::Generation::Build(
      number, std::move(config),
      {.catalog = catalog,
       .host = aside ? aside->host : &host_,
       .pool = &pool_,
       .metrics = aside ? aside->metrics : &metrics_,
       .workers = workers_,
       .own_plugins_dir = OwnPluginsDir(),
       .live = aside ? aside->live : nullptr,
       .call_budget_ns = kBudgetFactor * static_cast<uint64_t>(settings_.call_budget)},
      former, out);
}

}  // namespace epp::serve
