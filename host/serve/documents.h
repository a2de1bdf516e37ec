// Documents about a generation, for the admin API.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "host/admin/names.h"
#include "host/config/settings.h"
#include "host/runtime/generation.h"

namespace epp::serve {

std::string VersionDocument();
std::string ConfigDocument(const runtime::Generation& generation, std::string_view path,
                           std::span<const std::string> plugin_dirs,
                           const config::SettingsBuilder& settings);
std::string PluginsDocument(const runtime::Generation& generation);
admin::GenerationNames NamesOf(const runtime::Generation& generation);

}  // namespace epp::serve
