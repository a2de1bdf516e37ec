// Documents about a generation, for the admin API.
#pragma once

#include <string>

#include "host/admin/names.h"
#include "host/runtime/generation.h"

namespace epp::serve {

std::string VersionDocument();
std::string ConfigDocument(const runtime::Generation& generation, std::string_view path);
std::string PluginsDocument(const runtime::Generation& generation);
admin::GenerationNames NamesOf(const runtime::Generation& generation);

}  // namespace epp::serve
