// Any text as an EndpointPickerConfig, against types that declare every kind of parameter. Lines
// "%%% PATH" divide it into the config and files that it may include.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "epp/plugin.hpp"
#include "host/config/diagnostics.h"
#include "host/config/endpoint_picker_config.h"
#include "host/config/includes.h"
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

constexpr std::string_view kDivider = "\n%%% ";

class InMemory final : public epp::config::IncludeReader {
 public:
  // Takes the files off the end of `text`.
  explicit InMemory(std::string_view& text) {
    for (;;) {
      const size_t at = text.rfind(kDivider);
      if (at == std::string_view::npos) return;
      const std::string_view file = text.substr(at + kDivider.size());
      const size_t end = std::min(file.find('\n'), file.size());
      files_[std::string(file.substr(0, end))] = file.substr(std::min(end + 1, file.size()));
      text = text.substr(0, at + 1);
    }
  }

  epp::config::SourceText::Included Read(const std::string& path,
                                         const std::string& within) override {
    // What every reader may rely on.
    if (path.empty() || path.front() == '/' || !path.starts_with(within)) __builtin_trap();
    if (("/" + path + "/").find("/../") != std::string::npos) __builtin_trap();
    const auto at = files_.find(path);
    if (at == files_.end()) return {nullptr, "is not there"};
    return {std::make_shared<const epp::config::SourceText>(
                epp::config::SourceText{path, std::string(at->second)}),
            ""};
  }

 private:
  std::map<std::string, std::string_view> files_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view config_text(reinterpret_cast<const char*>(data), size);
  InMemory files(config_text);
  const auto text = epp::config::ReadIncludes({"fuzz.yaml", std::string(config_text)}, files);
  epp::config::Diagnostics out;
  const epp::config::ResolvedConfig config = epp::config::Resolve(text, Types(), {}, out);
  (void)out.Render();
  (void)out.RenderJson();
  if (out.ok()) {
    // An accepted config is complete.
    if (config.plugins.empty() || config.profiles.empty()) __builtin_trap();
    if (config.digest != epp::config::Digest(*text)) __builtin_trap();
    for (const epp::config::PluginSpec& plugin : config.plugins) (void)plugin.params->Canonical();
  }
  return 0;
}
