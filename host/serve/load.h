// What `serve` and `check` do alike: find plugins, read the configuration, build the generation.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "host/async/hub.h"
#include "host/cli/serve_flags.h"
#include "host/config/endpoint_picker_config.h"
#include "host/loader/catalog.h"
#include "host/loader/host_services.h"
#include "host/pool/pool.h"
#include "host/preflight/quarantine.h"
#include "host/runtime/generation.h"
#include "host/runtime/listeners.h"
#include "host/serve/plugin_sinks.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::serve {

// The directory of the plugins that came with this executable.
std::string OwnPluginsDir();

// What the configured directories hold, read and not loaded, less what is in quarantine.
struct PluginFiles {
  loader::FoundLibraries libraries;
  std::vector<preflight::Crash> quarantined;  // why libraries that are there were left out
};
PluginFiles FindPlugins(const config::Settings& settings);

// When a type was unknown: warns of libraries that were refused and may have it.
void NoteRefused(std::span<const loader::RefusedLibrary> refused, config::Diagnostics& out);

// Loads them and adds the host's own types, `builtins`, and stand-ins for what is in quarantine.
loader::Catalog OpenCatalog(const config::Settings& settings, PluginFiles files,
                            std::span<const epp_plugin_type* const> builtins = {});
// All in one.
loader::Catalog OpenCatalog(const config::Settings& settings,
                            std::span<const epp_plugin_type* const> builtins = {});

// The text of the config that the command line names, with the files that it includes; empty for
// the built-in default. Errors: NotFound and others with the path.
absl::StatusOr<std::shared_ptr<const config::SourceText>> ReadConfig(
    const cli::ServeCommandLine& command_line);

// The text of one config file, with the files that it includes. Errors: NotFound with the path.
absl::StatusOr<std::shared_ptr<const config::SourceText>> ReadConfigFile(const std::string& path);

// What a look into the plugin directories found.
struct LibraryReport {
  struct Refused {
    std::string path;
    std::string why;
    bool former_goes_on = false;  // the build that was loaded from there before is still offered
  };
  bool changed = false;  // against what `former` was built from
  std::vector<Refused> refused;
  std::vector<std::string> missing;  // paths of libraries that are gone, but in use
};

// Everything that plugins run in, without a single listener.
class Platform {
 public:
  // `builtins` are further plugin types that are linked into the executable; plugins draw from
  // `random`.
  Platform(const config::Settings& settings, uint32_t workers, bool stream_metrics,
           std::span<const epp_plugin_type* const> builtins = {},
           loader::RandomSource* random = &loader::RandomSource::PerThread());
  // With what was found before.
  Platform(const config::Settings& settings, uint32_t workers, bool stream_metrics,
           PluginFiles files, std::span<const epp_plugin_type* const> builtins = {},
           loader::RandomSource* random = &loader::RandomSource::PerThread());

  // What a generation that only looks on at `live` has apart from it; see runtime::Environment.
  struct Aside {
    const runtime::Generation* live = nullptr;
    loader::HostServices* host = nullptr;
    telemetry::EppMetrics* metrics = nullptr;
  };

  // Resolves and builds; null when `out` has errors. Nothing serves yet. Instances of `former` that
  // the config asks for unchanged are taken over.
  std::unique_ptr<runtime::Generation> Build(uint64_t number,
                                             std::shared_ptr<const config::SourceText> text,
                                             config::Diagnostics& out,
                                             const runtime::Generation* former = nullptr,
                                             const Aside* aside = nullptr);

  // Takes what is found in the plugin directories now. A library that is refused now, or gone
  // although `former` uses it, goes on as it was loaded.
  LibraryReport Rescan(const runtime::Generation& former, PluginFiles files);
  // What the last look found.
  LibraryReport libraries() const;
  // Builds from now on use `builds` (name -> SHA-256) in place of what the directories hold, until
  // the next Rescan. Names that this process has no such build of go to `missing`.
  void UseBuilds(const std::map<std::string, std::string>& builds,
                 std::vector<std::string>& missing);
  // Likewise with this one, which was catalog() before.
  void Use(std::shared_ptr<const loader::Catalog> catalog);
  // What a generation of this text would have as its digest.
  static std::string DigestOf(const config::SourceText& text);

  // Threads: any. What it points to lives as long as the pointer.
  std::shared_ptr<const loader::Catalog> catalog() const;
  pool::Pool& pool() { return pool_; }
  telemetry::EppMetrics& metrics() { return metrics_; }
  async::Hub& hub() { return hub_; }
  telemetry::Registry& registry() { return registry_; }
  uint32_t workers() const { return workers_; }

 private:
  const config::Settings& settings_;
  const uint32_t workers_;
  const std::vector<const epp_plugin_type*> builtins_;
  mutable std::mutex mutex_;
  std::shared_ptr<const loader::Catalog> catalog_;
  LibraryReport libraries_;
  std::shared_ptr<Interner> interner_ = std::make_shared<Interner>();
  telemetry::Registry registry_;
  telemetry::EppMetrics metrics_;
  PluginLog plugin_log_;
  PluginMetrics plugin_metrics_;
  pool::Pool pool_;
  runtime::Listeners listeners_;
  async::Hub hub_;
  loader::HostServices host_;
};

}  // namespace epp::serve
