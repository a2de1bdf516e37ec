// The plugins of this tree, to build configurations with.
#pragma once

#include <memory>
#include <string>

#include "host/config/settings.h"
#include "host/serve/load.h"

namespace epp::conformance {

struct RealPlugins {
  explicit RealPlugins(bool experimental)
      : settings(SettingsFor(experimental)), platform(settings, 1, false) {}

  std::unique_ptr<runtime::Generation> Build(std::string name, std::string text,
                                             config::Diagnostics& out) {
    return platform.Build(1,
                          std::make_shared<config::SourceText>(
                              config::SourceText{std::move(name), std::move(text), {}}),
                          out);
  }
  bool Has(std::string_view type) const { return platform.catalog()->Find(type) != nullptr; }

  const config::Settings settings;
  serve::Platform platform;

 private:
  static config::Settings SettingsFor(bool experimental) {
    config::Settings settings = config::SettingsBuilder().settings();
    settings.plugin_dirs = {EPP_TEST_PLUGINS};
    settings.allow_experimental = experimental;
    return settings;
  }
};

}  // namespace epp::conformance
