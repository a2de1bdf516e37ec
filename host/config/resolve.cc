// From a decoded config to plugins to create: references followed, defaults injected, kinds
// checked.
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "host/config/endpoint_picker_config.h"
#include "host/config/includes.h"
#include "host/config/params.h"
#include "host/config/raw_config.h"

namespace epp::config {

const char* const kDefaultConfig = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: queue-scorer
  - type: kv-cache-utilization-scorer
  - type: prefix-cache-scorer
  - type: metrics-data-source
  - type: core-metrics-extractor
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: queue-scorer, weight: 2}
      - {pluginRef: kv-cache-utilization-scorer, weight: 2}
      - {pluginRef: prefix-cache-scorer, weight: 3}
dataLayer:
  sources:
    - pluginRef: metrics-data-source
      extractors: [{pluginRef: core-metrics-extractor}]
)";

namespace {

using loader::TypeEntry;

// Errors after so many get no list of what is defined: nobody will see it, and making it is dear.
constexpr size_t kSuggestUntil = 100;

constexpr std::array kDefaultParsers = {"openai-parser", "anthropic-parser", "vllmhttp-parser",
                                        "passthrough-parser"};
constexpr std::string_view kMetricsSource = "metrics-data-source";
constexpr std::string_view kCoreExtractor = "core-metrics-extractor";

std::string HexSha256(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    out += kHex[digest[i] >> 4];
    out += kHex[digest[i] & 0xf];
  }
  return out;
}

std::string Quoted(std::string_view name, std::string_view type) {
  return StrCat("\"", name, "\" (", type, ")");
}

class Resolver {
 public:
  Resolver(const loader::Catalog& catalog, const ResolveOptions& options, Diagnostics& out)
      : catalog_(catalog), options_(options), out_(out) {}

  ResolvedConfig Run(const RawConfig& raw, std::shared_ptr<const SourceText> text) {
    start_ = {text, 0, 0, 0};
    result_.flow_control_gate = raw.flow_control_gate;
    Shadow(raw);
    result_.digest = Digest(*text);
    result_.source = text;
    Plugins(raw);
    Profiles(raw);
    Handler();
    Pickers();
    Parsers(raw);
    DataLayer(raw);
    FlowControl(raw);
    Stability();
    OrderByReferences();
    return std::move(result_);
  }

 private:
  std::vector<PluginSpec>& plugins() { return result_.plugins; }

  void Shadow(const RawConfig& raw) {
    if (!raw.shadow) return;
    const std::string& config = start_.source->name;
    const size_t slash = config.rfind('/') + 1;  // 0 when there is none
    result_.shadow = {StrCat(std::string_view(config).substr(0, slash), raw.shadow->file.name),
                      raw.shadow->sample};
  }

  std::optional<size_t> Find(std::string_view name) const {
    for (size_t i = 0; i < result_.plugins.size(); ++i) {
      if (result_.plugins[i].name == name) return i;
    }
    return std::nullopt;
  }

  void Undefined(const Reference& ref, const std::string& what, std::string_view interface_id) {
    std::vector<std::string> names;
    std::string want;
    for (const PluginSpec& plugin : plugins()) {
      if (out_.errors() > kSuggestUntil) break;
      if (!plugin.injected.empty()) continue;
      if (!interface_id.empty() && !plugin.type->Implements(interface_id)) continue;
      names.push_back(plugin.name);
    }
    std::sort(names.begin(), names.end());
    for (size_t i = 0; i < names.size() && i < 8; ++i) {
      StrAppend(&want, i ? ", " : "", "\"", names[i], "\"");
    }
    const std::string_view near = Nearest(ref.name, names);
    out_.Error(ref.mark, "EPP-CFG-UNDEFINED-REF",
               StrCat(what, " \"", ref.name, "\" is not defined",
                      want.empty() ? std::string() : StrCat(", want one of ", want)),
               near.empty() ? std::string() : StrCat("did you mean \"", near, "\"?"));
  }

  // An instance that nothing in the config declares; its position.
  std::optional<size_t> Inject(std::string_view type_name, const std::string& why,
                               const Mark& mark) {
    const TypeEntry* type = catalog_.Find(type_name);
    if (type == nullptr) {
      out_.Error(mark, "EPP-CFG-UNKNOWN-TYPE",
                 StrCat("plugin type \"", type_name, "\" is not available (", why, ")"), "",
                 "epp plugins lists what is");
      return std::nullopt;
    }
    if (declared_.contains(type_name)) {
      if (!Find(type_name)) return std::nullopt;  // what is wrong with it was reported
      out_.Error(mark, "EPP-CFG-DUPLICATE-NAME",
                 StrCat("a plugin of another type is named \"", type_name,
                        "\", which is needed for ", why),
                 "", "give that plugin another name");
      return std::nullopt;
    }
    declared_.insert(std::string(type_name));
    std::optional<PluginSpec> spec =
        DefaultInstance(*type, std::string(type_name), why, mark, out_);
    if (!spec) return std::nullopt;
    plugins().push_back(std::move(*spec));
    return plugins().size() - 1;
  }

  void Plugins(const RawConfig& raw) {
    std::vector<std::string_view> known;
    for (const TypeEntry* type : catalog_.types()) known.push_back(type->name());
    for (const RawPlugin& plugin : raw.plugins) {
      declared_.insert(plugin.name);
      if (plugin.type.name.empty()) continue;  // reported
      bool via_alias = false;
      const TypeEntry* type = catalog_.Find(plugin.type.name, &via_alias);
      if (type == nullptr) {
        const std::string_view near = Nearest(plugin.type.name, known);
        out_.Error(plugin.type.mark, "EPP-CFG-UNKNOWN-TYPE",
                   StrCat("plugin \"", plugin.name, "\": type \"", plugin.type.name,
                          "\" is not registered"),
                   near.empty() ? std::string() : StrCat("did you mean \"", near, "\"?"),
                   "epp plugins lists the types that are");
        continue;
      }
      if (via_alias) {
        out_.Warning(plugin.type.mark, "EPP-CFG-DEPRECATED",
                     StrCat("plugin type \"", plugin.type.name, "\" is deprecated, want \"",
                            type->name(), "\""));
      } else if (type->type->deprecated) {
        out_.Warning(plugin.type.mark, "EPP-CFG-DEPRECATED",
                     StrCat("plugin type \"", plugin.type.name,
                            "\" is deprecated: ", type->type->deprecated));
      }
      PluginSpec spec;
      spec.name = plugin.name;
      spec.type = type;
      spec.mark = plugin.type.mark;
      spec.params =
          DecodeParams(*type->type, plugin.parameters ? &*plugin.parameters : nullptr,
                       StrCat("plugin ", Quoted(plugin.name, plugin.type.name)), spec.mark, out_);
      plugins().push_back(std::move(spec));
    }
  }

  void Profiles(const RawConfig& raw) {
    if (!raw.has_profiles) {
      // Everything that can take part, in the order of the config.
      ProfileSpec profile{"default", {}, start_};
      for (size_t i = 0; i < plugins().size(); ++i) {
        const TypeEntry& type = *plugins()[i].type;
        if (type.Implements(EPP_FILTER_ID) || type.Implements(EPP_SCORER_ID) ||
            type.Implements(EPP_PICKER_ID)) {
          profile.entries.push_back({i, 1.0, plugins()[i].mark});
        }
      }
      result_.profiles.push_back(std::move(profile));
    }
    for (const RawProfile& raw_profile : raw.profiles) {
      ProfileSpec profile{raw_profile.name, {}, raw_profile.mark};
      for (const RawProfileEntry& entry : raw_profile.entries) {
        const std::optional<size_t> plugin = Find(entry.plugin.name);
        if (plugin) {
          profile.entries.push_back({*plugin, entry.weight.value_or(1.0), entry.plugin.mark});
        } else if (!declared_.contains(entry.plugin.name)) {
          Undefined(entry.plugin, StrCat("profile \"", raw_profile.name, "\": plugin"), "");
        }
      }
      result_.profiles.push_back(std::move(profile));
    }
    for (const ProfileSpec& profile : result_.profiles) {
      const ProfileEntry* first = nullptr;
      for (const ProfileEntry& entry : profile.entries) {
        if (!plugins()[entry.plugin].type->Implements(EPP_PICKER_ID)) continue;
        if (first) {
          out_.Error(entry.mark, "EPP-CFG-TWO-PICKERS",
                     StrCat("profile \"", profile.name, "\" has two pickers, \"",
                            plugins()[first->plugin].name, "\" and \"",
                            plugins()[entry.plugin].name, "\""));
        }
        first = &entry;
      }
    }
  }

  void Handler() {
    std::vector<size_t> handlers;
    for (size_t i = 0; i < plugins().size(); ++i) {
      if (plugins()[i].type->Implements(EPP_PROFILE_HANDLER_ID)) handlers.push_back(i);
    }
    if (handlers.size() > 1) {
      out_.Error(plugins()[handlers[1]].mark, "EPP-CFG-HANDLER-COUNT",
                 StrCat("two profile handlers, \"", plugins()[handlers[0]].name, "\" and \"",
                        plugins()[handlers[1]].name, "\", want one"));
      return;
    }
    if (handlers.size() == 1) {
      result_.profile_handler = handlers[0];
      return;
    }
    if (result_.profiles.size() > 1) {
      out_.Error(result_.profiles[1].mark, "EPP-CFG-HANDLER-COUNT",
                 StrCat(result_.profiles.size(), " profiles and no profile handler"), "",
                 "declare one, for example disagg-profile-handler or header-profile-handler");
      return;
    }
    if (const auto handler = Inject("single-profile-handler", "the profile handler", start_)) {
      result_.profile_handler = *handler;
    }
  }

  void Pickers() {
    std::optional<size_t> picker;
    for (size_t i = 0; i < plugins().size() && !picker; ++i) {
      if (plugins()[i].type->Implements(EPP_PICKER_ID)) picker = i;
    }
    for (ProfileSpec& profile : result_.profiles) {
      const bool has = std::any_of(profile.entries.begin(), profile.entries.end(),
                                   [&](const ProfileEntry& entry) {
                                     return plugins()[entry.plugin].type->Implements(EPP_PICKER_ID);
                                   });
      if (has) continue;
      if (!picker) picker = Inject("max-score-picker", "the picker", profile.mark);
      if (!picker) return;
      profile.entries.push_back({*picker, 1.0, profile.mark});
    }
  }

  void Parsers(const RawConfig& raw) {
    std::vector<Reference> wanted = raw.parsers;
    const bool defaults = wanted.empty();
    if (defaults) {
      for (const char* type : kDefaultParsers) wanted.push_back({type, start_});
    }
    for (const Reference& ref : wanted) {
      std::optional<size_t> parser = Find(ref.name);
      if (!parser && !declared_.contains(ref.name)) {
        if (defaults || catalog_.Find(ref.name)) {
          parser =
              Inject(ref.name, defaults ? "a default parser" : "named by requestHandler", ref.mark);
        } else {
          Undefined(ref, "parser", EPP_PARSER_ID);
        }
      }
      if (!parser) continue;
      if (!plugins()[*parser].type->Implements(EPP_PARSER_ID)) {
        WrongKind(ref, *parser, "a parser");
        continue;
      }
      const bool again = std::any_of(
          result_.parsers.begin(), result_.parsers.end(),
          [&](size_t other) { return plugins()[other].type == plugins()[*parser].type; });
      if (again) {
        out_.Warning(
            ref.mark, "EPP-CFG-DUPLICATE-PARSER",
            StrCat("a second parser of type \"", plugins()[*parser].type->name(), "\" is skipped"));
        continue;
      }
      result_.parsers.push_back(*parser);
    }
  }

  void WrongKind(const Reference& ref, size_t plugin, std::string_view want) {
    out_.Error(ref.mark, "EPP-CFG-WRONG-KIND",
               StrCat("plugin ", Quoted(plugins()[plugin].name, plugins()[plugin].type->name()),
                      " is not ", want));
  }

  // A declared plugin of the interface, or an error.
  std::optional<size_t> Declared(const Reference& ref, const std::string& what,
                                 const char* interface_id, std::string_view kind) {
    const std::optional<size_t> plugin = Find(ref.name);
    if (!plugin) {
      if (!declared_.contains(ref.name)) Undefined(ref, what, interface_id);
      return std::nullopt;
    }
    if (!plugins()[*plugin].type->Implements(interface_id)) {
      WrongKind(ref, *plugin, kind);
      return std::nullopt;
    }
    return plugin;
  }

  void DataLayer(const RawConfig& raw) {
    bool has_metrics = false;
    for (const RawSource& raw_source : raw.sources) {
      const auto source =
          Declared(raw_source.plugin, "data source", EPP_SOURCE_ID, "a data source");
      if (!source) continue;
      has_metrics |= plugins()[*source].type->name() == kMetricsSource;
      DataSourceSpec spec{*source, {}, raw_source.plugin.mark};
      std::map<std::string_view, size_t> types;
      for (const Reference& ref : raw_source.extractors) {
        const auto extractor = Declared(ref, "extractor", EPP_SCRAPER_ID, "an extractor");
        if (!extractor) continue;
        if (!types.emplace(plugins()[*extractor].type->name(), *extractor).second) {
          out_.Error(
              ref.mark, "EPP-CFG-DUPLICATE-EXTRACTOR",
              StrCat("data source \"", raw_source.plugin.name, "\" has two extractors of type \"",
                     plugins()[*extractor].type->name(), "\""));
          continue;
        }
        spec.extractors.push_back(*extractor);
      }
      result_.sources.push_back(std::move(spec));
    }
    if (raw.inject_data_defaults && !has_metrics) {
      const std::optional<size_t> source = OfType(kMetricsSource);
      const std::optional<size_t> extractor = OfType(kCoreExtractor);
      if (source && extractor) result_.sources.push_back({*source, {*extractor}, start_});
    }
    if (result_.sources.empty() && out_.ok()) {
      out_.Error(start_, "EPP-CFG-NO-SOURCE", "data layer enabled but no data sources configured",
                 "", "remove dataLayer.injectDefaults: false, or declare a source");
    }
    if (raw.discovery) {
      result_.discovery =
          Declared(*raw.discovery, "discovery", kDiscoveryInterface, "a discovery plugin");
    }
  }

  // The instance of a type that the data layer needs: a declared one, or a new one.
  std::optional<size_t> OfType(std::string_view type) {
    for (size_t i = 0; i < plugins().size(); ++i) {
      if (plugins()[i].type->name() == type) return i;
    }
    return Inject(type, "the default data source", start_);
  }

  // Flow control has no plugins here; its references must at least name something declared, or one
  // of the defaults that llm-d-router adds.
  void FlowControl(const RawConfig& raw) {
    if (raw.flow_control_gate) {
      out_.Error(start_, "EPP-CFG-FLOW-UNAVAILABLE",
                 "feature gate flowControl is on, but flow control is not available", "",
                 "turn the gate off: requests are then admitted at once");
    }
    static constexpr std::array kDefaults = {"fcfs-ordering-policy",
                                             "global-strict-fairness-policy",
                                             "static-usage-limit-policy", "utilization-detector"};
    // With the gate off only the detector is read.
    std::vector<Reference> refs;
    if (raw.flow_control_gate) refs = raw.flow_control_references;
    if (raw.saturation_detector) refs.push_back(*raw.saturation_detector);
    for (const Reference& ref : refs) {
      const bool known = declared_.contains(ref.name) ||
                         std::find(kDefaults.begin(), kDefaults.end(), ref.name) != kDefaults.end();
      if (!known) Undefined(ref, "flow control: plugin", "");
    }
  }

  void Stability() {
    if (options_.allow_experimental) return;
    std::vector<const PluginSpec*> alpha;
    for (const PluginSpec& plugin : plugins()) {
      if (plugin.type->type->stability == EPP_STABILITY_ALPHA) alpha.push_back(&plugin);
    }
    for (const PluginSpec* plugin : alpha) {
      out_.Error(
          plugin->mark, "EPP-CFG-EXPERIMENTAL",
          StrCat("plugin ", Quoted(plugin->name, plugin->type->name()), " is experimental (alpha)"),
          "", "start with --allow-experimental-plugins to use it");
    }
  }

  // Creation order: a plugin after those that its parameters name. Everything else keeps the order
  // of the config.
  void OrderByReferences() {
    const size_t n = plugins().size();
    std::vector<std::vector<size_t>> before(n);
    for (size_t i = 0; i < n; ++i) {
      const PluginSpec& plugin = plugins()[i];
      const std::span<const epp_value> values = plugin.params->view();
      for (size_t p = 0; p < values.size(); ++p) {
        const epp_value& value = values[p];
        if (value.type != EPP_P_PLUGIN || !value.present || value.v.str.size == 0) continue;
        const std::string_view name(value.v.str.data, value.v.str.size);
        const epp_param_spec& spec = *plugin.type->type->params[p];
        const char* const wanted =
            EPP_HAS(&spec, epp_param_spec, interface_id) ? spec.interface_id : nullptr;
        const Mark& given = plugin.params->mark(p);
        const Mark& mark = given.source ? given : plugin.mark;
        const std::string what = StrCat("plugin ", Quoted(plugin.name, plugin.type->name()),
                                        ": parameter \"", spec.name, "\": plugin");
        if (const std::optional<size_t> other = Find(name)) {
          before[i].push_back(*other);
          const PluginSpec& named = plugins()[*other];
          if (wanted != nullptr && !named.type->Implements(wanted)) {
            out_.Error(mark, "EPP-CFG-WRONG-KIND",
                       StrCat(what, " ", Quoted(named.name, named.type->name()),
                              " does not implement ", wanted));
          }
        } else if ((given.source || wanted != nullptr) && !declared_.contains(name)) {
          // What the config says must exist. What a default means is the plugin's business, unless
          // it says what the named plugin must be.
          Undefined({std::string(name), mark}, what, wanted ? wanted : "");
        }
      }
    }
    if (!out_.ok()) return;
    std::vector<size_t> order;
    std::vector<uint8_t> state(n, 0);
    for (size_t i = 0; i < n; ++i) {
      if (!Visit(i, before, state, order)) return;
    }
    Permute(order);
  }

  bool Visit(size_t at, const std::vector<std::vector<size_t>>& before, std::vector<uint8_t>& state,
             std::vector<size_t>& order) {
    if (state[at] == 2) return true;
    if (state[at] == 1) {
      out_.Error(plugins()[at].mark, "EPP-CFG-CYCLE",
                 StrCat("plugin \"", plugins()[at].name,
                        "\" refers to itself, directly or through others: the graph is not a DAG"));
      return false;
    }
    state[at] = 1;
    for (const size_t other : before[at]) {
      if (!Visit(other, before, state, order)) return false;
    }
    state[at] = 2;
    order.push_back(at);
    return true;
  }

  void Permute(const std::vector<size_t>& order) {
    std::vector<size_t> position(order.size());
    std::vector<PluginSpec> sorted;
    for (size_t i = 0; i < order.size(); ++i) {
      position[order[i]] = i;
      sorted.push_back(std::move(plugins()[order[i]]));
    }
    plugins() = std::move(sorted);
    for (ProfileSpec& profile : result_.profiles) {
      for (ProfileEntry& entry : profile.entries) entry.plugin = position[entry.plugin];
    }
    result_.profile_handler = position[result_.profile_handler];
    for (size_t& parser : result_.parsers) parser = position[parser];
    for (DataSourceSpec& source : result_.sources) {
      source.source = position[source.source];
      for (size_t& extractor : source.extractors) extractor = position[extractor];
    }
    if (result_.discovery) result_.discovery = position[*result_.discovery];
  }

  const loader::Catalog& catalog_;
  const ResolveOptions& options_;
  Diagnostics& out_;
  Mark start_;
  ResolvedConfig result_;
  std::set<std::string, std::less<>> declared_;  // names, of unusable plugins too
};

}  // namespace

namespace {

bool IsEmpty(const SourceText& text) {
  return text.text.find_first_not_of(" \t\r\n") == std::string::npos;
}

}  // namespace

std::string Digest(const SourceText& text) {
  if (IsEmpty(text)) return HexSha256(kDefaultConfig);
  if (text.included.empty()) return HexSha256(text.text);
  std::string all = StrCat(text.text.size(), "\n", text.text);
  for (const auto& [path, included] : text.included) {
    const std::string_view content = included.text ? included.text->text : included.error;
    StrAppend(&all, path, "\n", included.text ? "=" : "!", content.size(), "\n", content);
  }
  return HexSha256(all);
}

ResolvedConfig Resolve(std::shared_ptr<const SourceText> text, const loader::Catalog& catalog,
                       const ResolveOptions& options, Diagnostics& out) {
  if (IsEmpty(*text)) {
    text = std::make_shared<const SourceText>(
        SourceText{"(built-in default configuration)", kDefaultConfig});
  }
  const std::optional<Node> root = Compose(text, out);
  if (!root) return {};
  const RawConfig raw = DecodeConfig(*root, text, out);
  return Resolver(catalog, options, out).Run(raw, text);
}

std::optional<PluginSpec> DefaultInstance(const loader::TypeEntry& type, std::string name,
                                          std::string why, const Mark& mark, Diagnostics& out) {
  const size_t errors = out.errors();
  PluginSpec spec;
  spec.name = std::move(name);
  spec.type = &type;
  spec.mark = mark;
  spec.injected = std::move(why);
  spec.params = DecodeParams(
      *type.type, nullptr,
      StrCat("plugin ", Quoted(spec.name, type.name()), ", added as ", spec.injected), mark, out);
  if (out.errors() > errors) return std::nullopt;
  return spec;
}

}  // namespace epp::config
