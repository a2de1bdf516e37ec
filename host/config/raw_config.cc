#include "host/config/raw_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <set>
#include <span>
#include <string_view>

#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/base/strings.h"

namespace epp::config {
namespace {

// Of every list in the schema. Checks compare entries with each other.
constexpr size_t kMaxListItems = 1024;

// Of requests that a shadow is asked about, where the config does not say.
constexpr double kDefaultSample = 0.1;

// Keys of the schema by the object that they belong to, for "this key belongs to ...".
struct KnownKey {
  std::string_view key;
  std::string_view where;
};
constexpr std::array kElsewhere = {
    KnownKey{"pluginRef", "an entry of schedulingProfiles[].plugins"},
    KnownKey{"weight", "an entry of schedulingProfiles[].plugins"},
    KnownKey{"parameters", "an entry of plugins"},
    KnownKey{"extractors", "an entry of dataLayer.sources"},
    KnownKey{"sources", "dataLayer"},
    KnownKey{"injectDefaults", "dataLayer"},
    KnownKey{"discovery", "dataLayer"},
    KnownKey{"parsers", "requestHandler"},
    KnownKey{"maxBytes", "flowControl"},
    KnownKey{"maxRequests", "flowControl"},
    KnownKey{"priorityBands", "flowControl"},
    KnownKey{"defaultRequestTTL", "flowControl"},
    KnownKey{"enableEviction", "flowControl"},
    KnownKey{"include", "epp"},
    KnownKey{"shadow", "epp"},
    KnownKey{"$remove", "an entry of plugins, schedulingProfiles or a profile's plugins"},
    KnownKey{"grpc_listen", "the settings file, [serve]"},
    KnownKey{"workers", "the settings file, [serve]"},
};

class Decoder {
 public:
  Decoder(std::shared_ptr<const SourceText> source, Diagnostics& out)
      : source_(std::move(source)), out_(out) {}

  RawConfig Run(const Node& root) {
    RawConfig config;
    if (root.kind == Node::Kind::kNull) return config;
    if (!IsMap(root, "the document")) return config;
    CheckKeys(root, "EndpointPickerConfig",
              {"apiVersion", "kind", "featureGates", "plugins", "schedulingProfiles", "dataLayer",
               "flowControl", "requestHandler", "saturationDetector", "parser", "epp"});
    Version(root);
    Gates(root, config);
    Plugins(root, config);
    Profiles(root, config);
    DataLayer(root, config);
    FlowControl(root, config);
    RequestHandler(root, config);
    Deprecated(root, config);
    Ours(root, config);
    FindPlaceholders(root);
    return config;
  }

 private:
  void Error(const Mark& mark, const char* code, std::string message, std::string caret = {},
             std::string hint = {}) {
    out_.Error(mark, code, std::move(message), std::move(caret), std::move(hint));
  }

  bool IsMap(const Node& node, std::string_view what) {
    if (node.kind == Node::Kind::kMap) return true;
    Error(node.mark, "EPP-CFG-TYPE", StrCat(what, " is ", node.KindName(), ", want a map"));
    return false;
  }

  void CheckKeys(const Node& map, std::string_view what,
                 std::initializer_list<std::string_view> known) {
    for (const auto& [key, value] : map.members) {
      if (std::find(known.begin(), known.end(), key.text) != known.end()) continue;
      std::string caret;
      const std::string_view near = Nearest(key.text, std::span(known.begin(), known.size()));
      if (!near.empty()) {
        caret = StrCat("did you mean \"", near, "\"?");
      } else {
        for (const KnownKey& other : kElsewhere) {
          if (other.key == key.text) caret = StrCat("this key belongs to ", other.where);
        }
      }
      Error(key.mark, "EPP-CFG-UNKNOWN-KEY", StrCat(what, ": unknown key \"", key.text, "\""),
            std::move(caret));
    }
  }

  // The member, unless it is absent or null.
  static const Node* Member(const Node& map, std::string_view name) {
    const Node* node = map.Find(name);
    return node && node->kind != Node::Kind::kNull ? node : nullptr;
  }

  std::optional<std::string> Text(const Node& map, std::string_view name, std::string_view what) {
    const Node* node = Member(map, name);
    if (node == nullptr) return std::nullopt;
    if (!node->IsText()) {
      Error(node->mark, "EPP-CFG-TYPE",
            StrCat(what, ".", name, " is ", node->KindName(), ", want a string"),
            node->kind == Node::Kind::kScalar ? "quote it" : "");
      return std::nullopt;
    }
    return node->text;
  }

  std::optional<bool> Bool(const Node& map, std::string_view name, std::string_view what) {
    const Node* node = Member(map, name);
    if (node == nullptr) return std::nullopt;
    const std::optional<bool> value = AsBool(*node);
    if (!value) {
      Error(node->mark, "EPP-CFG-TYPE",
            StrCat(what, ".", name, " is ", node->KindName(), ", want true or false"));
    }
    return value;
  }

  const std::vector<Node>* List(const Node& map, std::string_view name, std::string_view what) {
    const Node* node = Member(map, name);
    if (node == nullptr) return nullptr;
    if (node->kind != Node::Kind::kList) {
      Error(node->mark, "EPP-CFG-TYPE",
            StrCat(what, ".", name, " is ", node->KindName(), ", want a list"));
      return nullptr;
    }
    if (node->items.size() > kMaxListItems) {
      Error(node->mark, "EPP-CFG-TOO-MANY",
            StrCat(what, ".", name, " has ", node->items.size(), " entries, want at most ",
                   kMaxListItems));
      return nullptr;
    }
    return &node->items;
  }

  void Quantity(const Node& map, std::string_view name, std::string_view what) {
    const Node* node = Member(map, name);
    if (node == nullptr) return;
    const bool scalar = node->kind == Node::Kind::kScalar;
    if (!scalar || !ParseQuantity(node->text).ok()) {
      Error(node->mark, "EPP-CFG-QUANTITY",
            StrCat(what, ".", name, " is ",
                   scalar ? StrCat("\"", node->text, "\"") : std::string(node->KindName()),
                   ", want a quantity such as 500, \"1k\" or \"10Gi\", not negative"));
    }
  }

  void Duration(const Node& map, std::string_view name, std::string_view what,
                bool may_be_negative = false) {
    const std::optional<std::string> text = Text(map, name, what);
    if (!text) return;
    const absl::StatusOr<int64_t> ns = ParseGoDurationNs(*text);
    if (!ns.ok() || (*ns < 0 && !may_be_negative)) {
      Error(map.Find(name)->mark, "EPP-CFG-DURATION",
            StrCat(what, ".", name, " is \"", *text,
                   "\", want a duration such as \"90s\" or \"1m30s\"",
                   may_be_negative ? "" : ", not negative"));
    }
  }

  // {pluginRef: NAME}
  std::optional<Reference> Ref(const Node& node, std::string_view what,
                               std::initializer_list<std::string_view> known = {"pluginRef"}) {
    if (!IsMap(node, what)) return std::nullopt;
    CheckKeys(node, what, known);
    const std::optional<std::string> name = Text(node, "pluginRef", what);
    if (!name || name->empty()) {
      if (!Member(node, "pluginRef") || name) {
        Error(node.mark, "EPP-CFG-MISSING", StrCat(what, " has no pluginRef"));
      }
      return std::nullopt;
    }
    return Reference{*name, node.Find("pluginRef")->mark};
  }

  // {pluginRef: NAME}, where no name means the default one.
  std::optional<Reference> Detector(const Node& node, std::string_view what) {
    if (!IsMap(node, what)) return std::nullopt;
    CheckKeys(node, what, {"pluginRef"});
    const std::optional<std::string> name = Text(node, "pluginRef", what);
    if (!name || name->empty()) return std::nullopt;
    return Reference{*name, node.Find("pluginRef")->mark};
  }

  void Version(const Node& root) {
    if (const auto version = Text(root, "apiVersion", "config")) {
      const Mark& mark = root.Find("apiVersion")->mark;
      if (*version == "inference.networking.x-k8s.io/v1alpha1") {
        out_.Warning(mark, "EPP-CFG-DEPRECATED",
                     StrCat("apiVersion \"", *version, "\" is deprecated"),
                     "want llm-d.ai/v1alpha1");
      } else if (*version != "llm-d.ai/v1alpha1" && *version != "llm-d.ai/v1") {
        Error(mark, "EPP-CFG-API-VERSION",
              StrCat("no kind is registered for apiVersion \"", *version, "\""),
              "want llm-d.ai/v1alpha1");
      }
    }
    if (const auto kind = Text(root, "kind", "config"); kind && *kind != "EndpointPickerConfig") {
      Error(root.Find("kind")->mark, "EPP-CFG-KIND",
            StrCat("no kind \"", *kind, "\" is registered"), "want EndpointPickerConfig");
    }
  }

  void Gates(const Node& root, RawConfig& config) {
    const std::vector<Node>* gates = List(root, "featureGates", "config");
    if (gates == nullptr) return;
    for (const Node& gate : *gates) {
      if (!gate.IsText()) {
        Error(gate.mark, "EPP-CFG-TYPE",
              StrCat("a feature gate is ", gate.KindName(), ", want a string"));
        continue;
      }
      const size_t eq = gate.text.find('=');
      const std::string name = gate.text.substr(0, eq);
      bool value = true;
      if (eq != std::string::npos) {
        std::string text = gate.text.substr(eq + 1);
        text = text.substr(0, text.find('='));
        text.erase(0, text.find_first_not_of(' '));
        text.erase(text.find_last_not_of(' ') + 1);
        for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        if (text == "1" || text == "t" || text == "true") {
          value = true;
        } else if (text == "0" || text == "f" || text == "false") {
          value = false;
        } else {
          Error(gate.mark, "EPP-CFG-GATE",
                StrCat("feature gate \"", name, "\" is \"", text, "\", want true or false"));
          continue;
        }
      }
      if (name == "flowControl") {
        config.flow_control_gate = value;
      } else if (name != "haPopulateNonLeaderDatastore") {
        Error(gate.mark, "EPP-CFG-GATE", StrCat("unknown feature gate \"", name, "\""),
              "want flowControl or haPopulateNonLeaderDatastore");
      }
    }
  }

  void Plugins(const Node& root, RawConfig& config) {
    const std::vector<Node>* plugins = List(root, "plugins", "config");
    if (plugins == nullptr) return;
    std::set<std::string> names;
    for (const Node& node : *plugins) {
      if (!IsMap(node, "an entry of plugins")) continue;
      CheckKeys(node, "plugin", {"name", "type", "parameters"});
      RawPlugin plugin;
      plugin.mark = node.mark;
      const std::optional<std::string> type = Text(node, "type", "plugin");
      const std::optional<std::string> name = Text(node, "name", "plugin");
      const bool named = name && !name->empty();
      if (!type || type->empty()) {
        if (!Member(node, "type") || type) {
          Error(node.mark, "EPP-CFG-NO-TYPE",
                named ? StrCat("plugin \"", *name, "\" has no type")
                      : std::string("a plugin has no type"));
        }
        if (!named) continue;
      } else {
        plugin.type = {*type, node.Find("type")->mark};
      }
      plugin.name = named ? *name : *type;
      if (const Node* parameters = node.Find("parameters")) plugin.parameters = *parameters;
      if (!names.insert(plugin.name).second) {
        Error(named ? node.Find("name")->mark : plugin.type.mark, "EPP-CFG-DUPLICATE-NAME",
              StrCat("two plugins are named \"", plugin.name, "\""),
              named ? "" : "its type is its name: give it one");
        continue;
      }
      config.plugins.push_back(std::move(plugin));
    }
  }

  void Profiles(const Node& root, RawConfig& config) {
    const std::vector<Node>* profiles = List(root, "schedulingProfiles", "config");
    if (profiles == nullptr) return;
    config.has_profiles = !profiles->empty();
    std::set<std::string> names;
    for (const Node& node : *profiles) {
      if (!IsMap(node, "an entry of schedulingProfiles")) continue;
      CheckKeys(node, "profile", {"name", "plugins"});
      RawProfile profile;
      profile.mark = node.mark;
      const std::optional<std::string> name = Text(node, "name", "profile");
      if (!name || name->empty()) {
        if (!Member(node, "name") || name) {
          Error(node.mark, "EPP-CFG-MISSING", "a profile has no name");
        }
        continue;
      }
      profile.name = *name;
      profile.mark = node.Find("name")->mark;
      if (!names.insert(profile.name).second) {
        Error(profile.mark, "EPP-CFG-DUPLICATE-NAME",
              StrCat("two profiles are named \"", profile.name, "\""));
        continue;
      }
      const std::string what = StrCat("profile \"", profile.name, "\"");
      if (const std::vector<Node>* entries = List(node, "plugins", what)) {
        for (const Node& entry : *entries) {
          const std::optional<Reference> plugin =
              Ref(entry, StrCat(what, ": an entry"), {"pluginRef", "weight"});
          if (!plugin) continue;
          RawProfileEntry& added = profile.entries.emplace_back();
          added.plugin = *plugin;
          if (const Node* weight = Member(entry, "weight")) {
            added.weight = AsFloat(*weight);
            if (!added.weight) {
              Error(weight->mark, "EPP-CFG-TYPE",
                    StrCat(what, ": weight is ", weight->KindName(), ", want a number"));
            }
          }
        }
      }
      config.profiles.push_back(std::move(profile));
    }
  }

  void DataLayer(const Node& root, RawConfig& config) {
    const Node* data = Member(root, "dataLayer");
    if (data == nullptr || !IsMap(*data, "dataLayer")) return;
    CheckKeys(*data, "dataLayer",
              {"injectDefaults", "sources", "discovery", "peerDiscovery",
               "crossReplicaSyncerPluginRef", "crossReplicaSyncInterval"});
    config.inject_data_defaults = Bool(*data, "injectDefaults", "dataLayer").value_or(true);
    if (const std::vector<Node>* sources = List(*data, "sources", "dataLayer")) {
      for (const Node& node : *sources) {
        const std::optional<Reference> plugin =
            Ref(node, "dataLayer.sources: an entry", {"pluginRef", "extractors"});
        if (!plugin) continue;
        RawSource& source = config.sources.emplace_back();
        source.plugin = *plugin;
        if (const std::vector<Node>* extractors = List(node, "extractors", "dataLayer.sources")) {
          for (const Node& extractor : *extractors) {
            if (const auto ref = Ref(extractor, "an extractor")) source.extractors.push_back(*ref);
          }
        }
      }
    }
    if (const Node* discovery = Member(*data, "discovery")) {
      config.discovery = Ref(*discovery, "dataLayer.discovery");
    }
    if (const Node* peers = Member(*data, "peerDiscovery")) Ref(*peers, "dataLayer.peerDiscovery");
    if (const auto syncer = Text(*data, "crossReplicaSyncerPluginRef", "dataLayer")) {
      Error(data->Find("crossReplicaSyncerPluginRef")->mark, "EPP-CFG-WRONG-KIND",
            StrCat("crossReplicaSyncerPluginRef names \"", *syncer,
                   "\", but no plugin type synchronises replicas"));
    }
    // Not positive means the default.
    Duration(*data, "crossReplicaSyncInterval", "dataLayer", true);
  }

  void Band(const Node& band, const std::string& what, RawConfig& config) {
    if (!IsMap(band, what)) return;
    CheckKeys(band, what,
              {"priority", "maxBytes", "maxRequests", "fairnessPolicyRef", "orderingPolicyRef"});
    if (const Node* priority = Member(band, "priority"); priority && !AsInt(*priority)) {
      Error(priority->mark, "EPP-CFG-TYPE",
            StrCat(what, ".priority is ", priority->KindName(), ", want an integer"));
    }
    Quantity(band, "maxBytes", what);
    Quantity(band, "maxRequests", what);
    for (const char* name : {"fairnessPolicyRef", "orderingPolicyRef"}) {
      if (const auto ref = Text(band, name, what)) {
        config.flow_control_references.push_back({*ref, band.Find(name)->mark});
      }
    }
  }

  void FlowControl(const Node& root, RawConfig& config) {
    const Node* flow = Member(root, "flowControl");
    if (flow == nullptr || !IsMap(*flow, "flowControl")) return;
    CheckKeys(*flow, "flowControl",
              {"maxBytes", "maxRequests", "defaultRequestTTL", "noEndpointRequestTTL",
               "defaultPriorityBand", "defaultNegativePriorityBand", "priorityBands",
               "usageLimitPolicyPluginRef", "saturationDetector", "enableEviction"});
    Quantity(*flow, "maxBytes", "flowControl");
    Quantity(*flow, "maxRequests", "flowControl");
    Duration(*flow, "defaultRequestTTL", "flowControl");
    Duration(*flow, "noEndpointRequestTTL", "flowControl");
    Bool(*flow, "enableEviction", "flowControl");
    for (const char* name : {"defaultPriorityBand", "defaultNegativePriorityBand"}) {
      if (const Node* band = Member(*flow, name)) Band(*band, StrCat("flowControl.", name), config);
    }
    std::set<int64_t> priorities;
    if (const std::vector<Node>* bands = List(*flow, "priorityBands", "flowControl")) {
      for (const Node& band : *bands) {
        Band(band, "flowControl.priorityBands: an entry", config);
        if (band.kind != Node::Kind::kMap) continue;
        const Node* priority = Member(band, "priority");
        const std::optional<int64_t> value =
            priority ? AsInt(*priority) : std::optional<int64_t>(0);
        if (value && !priorities.insert(*value).second) {
          Error(priority ? priority->mark : band.mark, "EPP-CFG-DUPLICATE-NAME",
                StrCat("two priority bands have priority ", *value));
        }
      }
    }
    if (const auto policy = Text(*flow, "usageLimitPolicyPluginRef", "flowControl")) {
      config.flow_control_references.push_back(
          {*policy, flow->Find("usageLimitPolicyPluginRef")->mark});
    }
    if (const Node* detector = Member(*flow, "saturationDetector")) {
      config.saturation_detector = Detector(*detector, "flowControl.saturationDetector");
    }
    const bool has_more =
        std::any_of(flow->members.begin(), flow->members.end(), [](const auto& member) {
          return member.first.text != "saturationDetector" && member.first.text != "enableEviction";
        });
    if (!config.flow_control_gate && has_more) {
      out_.Warning(flow->mark, "EPP-CFG-FLOW-OFF",
                   "flowControl is ignored: the feature gate flowControl is off", "",
                   "featureGates: [flowControl]");
    }
  }

  void RequestHandler(const Node& root, RawConfig& config) {
    const Node* handler = Member(root, "requestHandler");
    if (handler == nullptr || !IsMap(*handler, "requestHandler")) return;
    CheckKeys(*handler, "requestHandler", {"parsers"});
    if (const std::vector<Node>* parsers = List(*handler, "parsers", "requestHandler")) {
      for (const Node& node : *parsers) {
        if (const auto ref = Ref(node, "requestHandler.parsers: an entry")) {
          config.parsers.push_back(*ref);
        }
      }
    }
  }

  // Old places of the parser and the saturation detector; the new place wins.
  void Deprecated(const Node& root, RawConfig& config) {
    const auto key_mark = [&](std::string_view name) {
      for (const auto& [key, value] : root.members) {
        if (key.text == name) return key.mark;
      }
      return root.mark;
    };
    if (const Node* detector = Member(root, "saturationDetector")) {
      out_.Warning(key_mark("saturationDetector"), "EPP-CFG-DEPRECATED",
                   "top-level \"saturationDetector\" is deprecated, want "
                   "flowControl.saturationDetector",
                   "moved in llm-d.ai/v1alpha1");
      const std::optional<Reference> ref = Detector(*detector, "saturationDetector");
      if (!config.saturation_detector) config.saturation_detector = ref;
    }
    if (const Node* parser = Member(root, "parser")) {
      out_.Warning(key_mark("parser"), "EPP-CFG-DEPRECATED",
                   "top-level \"parser\" is deprecated, want requestHandler.parsers",
                   "moved in llm-d.ai/v1alpha1");
      const std::optional<Reference> ref = Ref(*parser, "parser");
      if (config.parsers.empty() && ref) config.parsers.push_back(*ref);
    }
  }

  // What llm-d-router does not know stands under one key.
  void Ours(const Node& root, RawConfig& config) {
    const Node* epp = Member(root, "epp");
    if (epp == nullptr || !IsMap(*epp, "epp")) return;
    CheckKeys(*epp, "epp", {"include", "shadow"});
    const Node* shadow = Member(*epp, "shadow");
    if (shadow == nullptr || !IsMap(*shadow, "epp.shadow")) return;
    CheckKeys(*shadow, "epp.shadow", {"file", "sample"});
    RawShadow raw;
    raw.sample = Share(*shadow, "sample", "epp.shadow").value_or(kDefaultSample);
    const std::optional<std::string> file = Text(*shadow, "file", "epp.shadow");
    if (!file || file->empty()) {
      if (!Member(*shadow, "file") || file) {
        Error(shadow->mark, "EPP-CFG-MISSING", "epp.shadow has no file");
      }
      return;
    }
    raw.file = {*file, shadow->Find("file")->mark};
    config.shadow = std::move(raw);
  }

  // A part of the whole, as 5% or 0.05.
  std::optional<double> Share(const Node& map, std::string_view name, std::string_view what) {
    const Node* node = Member(map, name);
    if (node == nullptr) return std::nullopt;
    std::optional<double> share = AsFloat(*node);
    if (!share && node->IsText() && node->text.ends_with('%')) {
      const char* const end = node->text.data() + node->text.size() - 1;
      double percent = 0;
      const auto [at, error] = std::from_chars(node->text.data(), end, percent);
      if (error == std::errc() && at == end) share = percent / 100;
    }
    if (share && *share > 0 && *share <= 1) return share;
    Error(node->mark, "EPP-CFG-RANGE",
          StrCat(what, ".", name, " is ",
                 node->kind == Node::Kind::kScalar ? StrCat("\"", node->text, "\"")
                                                   : std::string(node->KindName()),
                 ", want a share such as 5% or 0.05, more than 0% and at most 100%"));
    return std::nullopt;
  }

  // The samples of llm-d-router carry placeholders that a deployment script was to fill.
  void FindPlaceholders(const Node& node) {
    if (node.kind == Node::Kind::kScalar) {
      const size_t begin = node.text.find("${");
      const size_t end = node.text.find('}', begin);
      if (begin != std::string::npos && end != std::string::npos) {
        // Only the placeholder: what stands around it may be a secret.
        out_.Warning(
            node.mark, "EPP-CFG-UNSUBSTITUTED",
            StrCat("\"", node.text.substr(begin, end - begin + 1), "\" looks like a placeholder"),
            "nothing is substituted here");
      }
    }
    for (const auto& [key, value] : node.members) FindPlaceholders(value);
    for (const Node& item : node.items) FindPlaceholders(item);
  }

  const std::shared_ptr<const SourceText> source_;
  Diagnostics& out_;
};

}  // namespace

RawConfig DecodeConfig(const Node& root, const std::shared_ptr<const SourceText>& source,
                       Diagnostics& out) {
  return Decoder(source, out).Run(root);
}

}  // namespace epp::config
