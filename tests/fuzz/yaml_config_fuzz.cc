// The scheduling config, from text to plugins to create. What is accepted must be usable as it is;
// what is not must have an error.
#include <cstdlib>
#include <set>

#include "host/config/document.h"
#include "host/config/test_catalog.h"

namespace {

using epp::config::Diagnostics;
using epp::config::PluginSpec;
using epp::config::ResolvedConfig;

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckResolved(const ResolvedConfig& config) {
  std::set<std::string> names;
  for (const PluginSpec& plugin : config.plugins) {
    Require(names.insert(plugin.name).second);
    Require(plugin.type && plugin.params);
    Require(plugin.params->view().size() == plugin.type->type->param_count);
    Require(!plugin.params->Canonical().empty());
  }
  const auto implements = [&](size_t plugin, const char* id) {
    return plugin < config.plugins.size() && config.plugins[plugin].type->Implements(id);
  };
  Require(implements(config.profile_handler, EPP_PROFILE_HANDLER_ID));
  Require(!config.profiles.empty());
  for (const auto& profile : config.profiles) {
    size_t pickers = 0;
    for (const auto& entry : profile.entries) {
      Require(entry.plugin < config.plugins.size());
      pickers += implements(entry.plugin, EPP_PICKER_ID);
    }
    Require(pickers == 1);
  }
  Require(!config.parsers.empty());
  for (const size_t parser : config.parsers) Require(implements(parser, EPP_PARSER_ID));
  Require(!config.sources.empty());
  for (const auto& source : config.sources) {
    Require(implements(source.source, EPP_SOURCE_ID));
    for (const size_t e : source.extractors) Require(implements(e, EPP_SCRAPER_ID));
  }
  Require(config.digest.size() == 64);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto* const catalog = new epp::loader::Catalog(epp::config::test::RealNames());
  const auto source = epp::config::test::Text({reinterpret_cast<const char*>(data), size});

  Diagnostics parsing;
  const auto root = epp::config::ParseDocument(source, parsing);
  Require(root.has_value() == parsing.ok());
  if (root) {
    // Canonical JSON is a document of the same meaning.
    const std::string json = epp::config::ToJson(*root);
    Diagnostics again;
    const auto second = epp::config::ParseDocument(epp::config::test::Text(json), again);
    if (second) Require(epp::config::ToJson(*second) == json);
  }

  Diagnostics out;
  const ResolvedConfig config =
      epp::config::Resolve(source, *catalog, {.allow_experimental = size % 2 == 0}, out);
  if (out.ok()) CheckResolved(config);
  // Rendering reads the text at every mark.
  Require(out.Render(true).empty() == out.all().empty());
  Require(!out.RenderJson().empty());
  return 0;
}
