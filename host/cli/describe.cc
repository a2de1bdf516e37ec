#include "host/cli/describe.h"

#include <algorithm>
#include <span>
#include <utility>

#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/cli/type_text.h"

namespace epp::cli {
namespace {

std::string Weight(double weight) {
  std::string text;
  AppendJsonDouble(weight, &text);
  return text;
}

std::string Quoted(std::string_view text) {
  std::string out;
  AppendJsonString(text, &out);
  return out;
}

void Join(std::string* list, std::string_view separator, std::string_view item) {
  if (!list->empty()) *list += separator;
  *list += item;
}

std::string Origin(const config::PluginSpec& plugin) {
  if (!plugin.injected.empty()) return StrCat("injected: ", plugin.injected);
  return plugin.mark.source ? StrCat(plugin.mark.source->name, ":", plugin.mark.line) : "declared";
}

// Flat, by the declared (dotted) names. The text of a secret is never shown.
void AppendParameters(const config::PluginSpec& plugin, std::string* out) {
  if (!plugin.params) return;
  const epp_plugin_type& type = *plugin.type->type;
  const std::span<const epp_value> values = plugin.params->view();
  bool first = true;
  for (uint32_t i = 0; i < type.param_count && i < values.size(); ++i) {
    const epp_param_spec& spec = *type.params[i];
    if (!values[i].present || (spec.flags & EPP_PARAM_IGNORED)) continue;
    // An old name that nobody uses; printed, it would be a use.
    if ((spec.flags & EPP_PARAM_DEPRECATED) && !plugin.params->mark(i).source) continue;
    if (std::exchange(first, false)) *out += "  parameters:\n";
    StrAppend(out, "    ", spec.name, ": ",
              spec.flags & EPP_PARAM_SECRET ? "(redacted)" : FormatValue(values[i]), "\n");
  }
}

// As a file beside the config would say it.
void AppendShadow(const config::ResolvedConfig& config, std::string* out) {
  if (!config.shadow) return;
  std::string_view file = config.shadow->file;
  const std::string& own = config.source->name;
  file.remove_prefix(std::min(own.rfind('/') + 1, file.size()));  // 0 when there is none
  StrAppend(out, "epp:\n  shadow: {file: ", Quoted(file),
            ", sample: ", Weight(config.shadow->sample), "}\n");
}

}  // namespace

std::string DescribeInstances(const config::ResolvedConfig& config) {
  const auto injected = std::count_if(config.plugins.begin(), config.plugins.end(),
                                      [](const auto& plugin) { return !plugin.injected.empty(); });
  return StrCat(config.plugins.size() - static_cast<size_t>(injected), " declared + ", injected,
                " injected instances");
}

std::vector<std::string> DescribeProfiles(const config::ResolvedConfig& config) {
  std::vector<std::string> lines;
  for (const config::ProfileSpec& profile : config.profiles) {
    std::string filters;
    std::string scorers;
    std::string picker;
    for (const config::ProfileEntry& entry : profile.entries) {
      const config::PluginSpec& plugin = config.plugins[entry.plugin];
      if (plugin.type->Implements(EPP_FILTER_ID)) Join(&filters, ", ", plugin.name);
      if (plugin.type->Implements(EPP_SCORER_ID)) {
        Join(&scorers, ", ", StrCat(plugin.name, " x", Weight(entry.weight)));
      }
      if (plugin.type->Implements(EPP_PICKER_ID)) picker = plugin.name;
    }
    std::string line = StrCat("profile ", profile.name, ": ", filters);
    if (!filters.empty() && !scorers.empty()) line += "; ";
    line += scorers;
    if (!filters.empty() || !scorers.empty()) line += ' ';
    StrAppend(&line, "-> ", picker);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string PrintEffective(const config::ResolvedConfig& config) {
  std::string out = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";
  AppendShadow(config, &out);
  out += "plugins:\n";
  for (const config::PluginSpec& plugin : config.plugins) {
    StrAppend(&out, "- name: ", Quoted(plugin.name), "  # ", Origin(plugin), "\n");
    StrAppend(&out, "  type: ", plugin.type->name(), "\n");
    AppendParameters(plugin, &out);
  }
  out += "schedulingProfiles:\n";
  for (const config::ProfileSpec& profile : config.profiles) {
    StrAppend(&out, "- name: ", Quoted(profile.name), "\n  plugins:\n");
    for (const config::ProfileEntry& entry : profile.entries) {
      StrAppend(&out, "  - pluginRef: ", Quoted(config.plugins[entry.plugin].name), "\n");
      if (config.plugins[entry.plugin].type->Implements(EPP_SCORER_ID)) {
        StrAppend(&out, "    weight: ", Weight(entry.weight), "\n");
      }
    }
  }
  const auto name = [&](size_t plugin) { return Quoted(config.plugins[plugin].name); };
  StrAppend(&out, "# profile handler: ", name(config.profile_handler), "\n");
  if (!config.parsers.empty()) {
    out += "requestHandler:\n  parsers:\n";
    for (const size_t parser : config.parsers)
      StrAppend(&out, "  - pluginRef: ", name(parser), "\n");
  }
  if (config.sources.empty() && !config.discovery) return out;
  out += "dataLayer:\n";
  if (config.discovery)
    StrAppend(&out, "  discovery: {pluginRef: ", name(*config.discovery), "}\n");
  if (!config.sources.empty()) out += "  sources:\n";
  for (const config::DataSourceSpec& source : config.sources) {
    StrAppend(&out, "  - pluginRef: ", name(source.source), "\n    extractors:\n");
    for (const size_t extractor : source.extractors) {
      StrAppend(&out, "    - pluginRef: ", name(extractor), "\n");
    }
  }
  return out;
}

std::string JoinSome(const std::vector<std::string>& names, size_t most) {
  std::string out;
  for (size_t i = 0; i < std::min(names.size(), most); ++i) Join(&out, ", ", names[i]);
  if (names.size() > most) StrAppend(&out, " and ", names.size() - most, " more");
  return out;
}

}  // namespace epp::cli
