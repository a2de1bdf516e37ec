// Any text as an EndpointPickerConfig, against types that declare every kind of parameter.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "epp/plugin.hpp"
#include "host/config/diagnostics.h"
#include "host/config/endpoint_picker_config.h"
#include "host/loader/catalog.h"

namespace {

constexpr const char* kModes[] = {"fast", "slow"};
constexpr std::array kParams{
    epp::Bool("flag", false, "doc"),
    epp::Int("count", 1, 0, 100, "doc"),
    epp::Float("ratio", 0.5, 0, 1, "doc"),
    epp::String("mode", "fast", "doc").OneOf(kModes),
    epp::Duration("wait", 1'000'000, 0, 60, "doc"),
    epp::StringList("names", "doc"),
    epp::Plugin("other", nullptr, "doc"),
    epp::Json("anything", "doc"),
    epp::Int("nested.one", 1, 0, 100, "doc").Deprecated(),
    epp::String("nested.two", nullptr, "doc").Secret(),
};
// NOLINTNEXTLINE: filled once
std::array<const epp_param_spec*, kParams.size()> param_list;

constexpr const char* kAll[] = {EPP_FILTER_ID, EPP_SCORER_ID};
constexpr const char* kPicker[] = {EPP_PICKER_ID};
constexpr const char* kHandler[] = {EPP_PROFILE_HANDLER_ID};
constexpr const char* kParser[] = {EPP_PARSER_ID};
constexpr const char* kSource[] = {EPP_SOURCE_ID};
constexpr const char* kScraper[] = {EPP_SCRAPER_ID};

epp_plugin_type Type(const char* name, const char* const* interfaces, uint32_t count = 1) {
  epp_plugin_type type{};
  type.struct_size = sizeof(type);
  type.stability = EPP_STABILITY_BETA;
  type.name = name;
  type.doc = "doc";
  type.interfaces = interfaces;
  type.interface_count = count;
  type.params = param_list.data();
  type.param_count = param_list.size();
  return type;
}

const epp::loader::Catalog& Types() {
  static const epp::loader::Catalog& catalog = *[] {
    for (size_t i = 0; i < kParams.size(); ++i) param_list[i] = &kParams[i].spec;
    static const std::array types{
        Type("queue-scorer", kAll, 2),
        Type("max-score-picker", kPicker),
        Type("single-profile-handler", kHandler),
        Type("openai-parser", kParser),
        Type("anthropic-parser", kParser),
        Type("vllmhttp-parser", kParser),
        Type("passthrough-parser", kParser),
        Type("metrics-data-source", kSource),
        Type("core-metrics-extractor", kScraper),
    };
    auto* made = new epp::loader::Catalog;
    for (const epp_plugin_type& type : types) made->AddBuiltin(&type);
    return made;
  }();
  return catalog;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto text = std::make_shared<const epp::config::SourceText>(
      epp::config::SourceText{"fuzz.yaml", std::string(reinterpret_cast<const char*>(data), size)});
  epp::config::Diagnostics out;
  const epp::config::ResolvedConfig config = epp::config::Resolve(text, Types(), {}, out);
  (void)out.Render();
  (void)out.RenderJson();
  if (out.ok()) {
    // An accepted config is complete.
    if (config.plugins.empty() || config.profiles.empty()) __builtin_trap();
    for (const epp::config::PluginSpec& plugin : config.plugins) (void)plugin.params->Canonical();
  }
  return 0;
}
