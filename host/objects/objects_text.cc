#include "host/objects/objects_text.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include "absl/time/time.h"
#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "host/base/utf8.h"
#include "host/config/split_documents.h"

namespace epp::objects {
namespace {

using config::Node;

constexpr std::string_view kObjectiveKind = "InferenceObjective";
constexpr std::string_view kRewriteKind = "InferenceModelRewrite";
constexpr std::string_view kVersion = "llm-d.ai/v1alpha2";
constexpr std::string_view kLegacyVersion = "inference.networking.x-k8s.io/v1alpha2";
constexpr std::string_view kPoolGroup = "inference.networking.k8s.io";
constexpr size_t kMaxNameBytes = 253;
constexpr size_t kMaxModelBytes = 4096;
constexpr int64_t kMaxWeight = 1'000'000;

std::string Shown(std::string_view text) { return MiddleEllipsis(utf8::Sanitise(text), 64); }

// What a value is, for messages.
std::string Got(const Node& node) {
  return node.kind == Node::Kind::kScalar ? StrCat("\"", Shown(node.text), "\"")
                                          : std::string(node.KindName());
}

class Reader {
 public:
  Reader(const PoolIdentity& pool, config::Diagnostics& out, ObjectsText& to)
      : pool_(pool), out_(out), to_(to) {}

  void ReadDocument(const Node& root) {
    if (root.kind != Node::Kind::kMap) return;
    const Node* kind = root.Find("kind");
    if (kind == nullptr || kind->kind != Node::Kind::kScalar) return;
    if (kind->text == "List" || kind->text == "InferenceObjectiveList" ||
        kind->text == "InferenceModelRewriteList") {
      const Node* items = root.Find("items");
      if (items == nullptr || items->kind != Node::Kind::kList) return;
      for (const Node& item : items->items) {
        const Node* of = item.Find("kind");
        if (of != nullptr && of->text != "List") ReadDocument(item);
      }
      return;
    }
    if (kind->text == kObjectiveKind) ReadObject(root, Kind::kObjective, *kind);
    if (kind->text == kRewriteKind) ReadObject(root, Kind::kRewrite, *kind);
  }

 private:
  void ReadObject(const Node& root, Kind kind, const Node& kind_node) {
    const size_t errors = out_.errors();
    Object object;
    object.kind = kind;
    object.mark = kind_node.mark;
    where_ = std::string(KindName(kind));
    const Node* metadata = Map(root, "metadata", true);
    if (metadata) object.name = ReadName(*metadata);
    if (!object.name.empty()) where_ = StrCat(KindName(kind), " \"", Shown(object.name), "\"");
    object.legacy = ReadVersion(root);
    if (metadata) {
      const Node* name_space = metadata->Find("namespace");
      if (name_space && !pool_.name_space.empty() && name_space->text != pool_.name_space) {
        object.ours = false;
      }
      const Node* deletion = metadata->Find("deletionTimestamp");
      if (deletion && deletion->kind != Node::Kind::kNull) object.ours = false;
    }
    if (const Node* spec = Map(root, "spec", true)) {
      if (!ReadPoolRef(*spec)) object.ours = false;
      if (kind == Kind::kObjective) {
        ReadObjective(*spec, object.objective);
      } else {
        ReadRewrite(*spec, object.rewrite);
      }
    }
    if (metadata && kind == Kind::kRewrite) {
      object.rewrite.created_unix_s = ReadCreation(*metadata);
    }
    object.objective.name = object.rewrite.name = object.name;
    object.refused = out_.errors() != errors;
    if (object.name.empty()) {
      to_.nameless = true;
    } else {
      to_.objects.push_back(std::move(object));
    }
  }

  void Error(const Node& at, std::string_view code, std::string_view message,
             std::string hint = {}) {
    out_.Error(at.mark, std::string(code), StrCat(where_, ": ", message), "", std::move(hint));
  }
  void Warning(const Node& at, std::string_view code, std::string_view message) {
    out_.Warning(at.mark, std::string(code), StrCat(where_, ": ", message));
  }

  // A member that must be a map if it is there.
  const Node* Map(const Node& parent, std::string_view name, bool required,
                  std::string_view prefix = "") {
    const Node* node = parent.Find(name);
    if (node == nullptr || node->kind == Node::Kind::kNull) {
      if (required) {
        Error(parent, "EPP-OBJ-MISSING", StrCat("\"", prefix, name, "\" is missing"));
      }
      return nullptr;
    }
    if (node->kind == Node::Kind::kMap) return node;
    Error(*node, "EPP-OBJ-TYPE", StrCat(prefix, name, " is ", node->KindName(), ", want a map"));
    return nullptr;
  }

  // A member that must be a list if it is there; null means none.
  const Node* List(const Node& parent, std::string_view name, std::string_view path) {
    const Node* node = parent.Find(name);
    if (node == nullptr || node->kind == Node::Kind::kNull) return nullptr;
    if (node->kind == Node::Kind::kList) return node;
    Error(*node, "EPP-OBJ-TYPE", StrCat(path, " is ", node->KindName(), ", want a list"));
    return nullptr;
  }

  // A string member of 1 to `max` bytes; nothing, and an error when it is required, otherwise.
  std::optional<std::string> String(const Node& parent, std::string_view name,
                                    std::string_view path, bool required, size_t max) {
    const Node* node = parent.Find(name);
    if (node == nullptr || node->kind == Node::Kind::kNull) {
      if (required) Error(parent, "EPP-OBJ-MISSING", StrCat("\"", path, "\" is missing"));
      return std::nullopt;
    }
    if (!node->IsText()) {
      Error(*node, "EPP-OBJ-TYPE",
            StrCat(path, " is ", node->KindName(), " (", Got(*node), "), want a string"),
            node->kind == Node::Kind::kScalar ? "put it in quotes" : "");
    } else if (node->text.empty() || node->text.size() > max) {
      Error(*node, "EPP-OBJ-VALUE",
            StrCat(path, " has ", node->text.size(), " bytes, want 1 to ", max));
    } else {
      return node->text;
    }
    return std::nullopt;
  }

  std::optional<int32_t> Integer(const Node& parent, std::string_view name, std::string_view path,
                                 int64_t min, int64_t max) {
    const Node* node = parent.Find(name);
    if (node == nullptr || node->kind == Node::Kind::kNull) return std::nullopt;
    const std::optional<int64_t> value = AsInt(*node);
    if (!value) {
      Error(*node, "EPP-OBJ-TYPE", StrCat(path, " is ", Got(*node), ", want an integer"));
    } else if (*value < min || *value > max) {
      Error(*node, "EPP-OBJ-VALUE", StrCat(path, " is ", *value, ", want ", min, " to ", max));
    } else {
      return static_cast<int32_t>(*value);
    }
    return std::nullopt;
  }

  void Unknown(const Node& map, std::span<const std::string_view> known, std::string_view prefix) {
    for (const auto& [key, value] : map.members) {
      if (std::ranges::find(known, key.text) != known.end()) continue;
      const std::string_view nearest = Nearest(key.text, known);
      Warning(key, "EPP-OBJ-UNKNOWN-KEY",
              StrCat("unknown key \"", prefix, Shown(key.text), "\", ignored",
                     nearest.empty() ? "" : StrCat("; did you mean \"", nearest, "\"?")));
    }
  }

  std::string ReadName(const Node& metadata) {
    return String(metadata, "name", "metadata.name", true, kMaxNameBytes).value_or("");
  }

  // True for the older group.
  bool ReadVersion(const Node& root) {
    const Node* version = root.Find("apiVersion");
    if (version && version->text == kVersion) return false;
    if (version && version->text == kLegacyVersion) return true;
    Error(version ? *version : root, "EPP-OBJ-VERSION",
          StrCat("apiVersion is ", version ? Got(*version) : "missing", ", want ", kVersion, " or ",
                 kLegacyVersion));
    return false;
  }

  // Seconds; 0 without one.
  int64_t ReadCreation(const Node& metadata) {
    const Node* node = metadata.Find("creationTimestamp");
    if (node == nullptr || node->kind == Node::Kind::kNull) return 0;
    absl::Time time;
    std::string error;
    if (node->kind != Node::Kind::kScalar ||
        !absl::ParseTime(absl::RFC3339_full,
                         absl::string_view(node->text.data(), node->text.size()), &time, &error)) {
      Error(*node, "EPP-OBJ-VALUE",
            StrCat("metadata.creationTimestamp is ", Got(*node),
                   ", want a time such as \"2026-01-31T12:00:00Z\""));
      return 0;
    }
    return absl::ToUnixSeconds(time);
  }

  // Whether it names the pool.
  bool ReadPoolRef(const Node& spec) {
    const Node* ref = Map(spec, "poolRef", true, "spec.");
    if (ref == nullptr) return true;
    static constexpr std::string_view kKnown[] = {"group", "kind", "name"};
    Unknown(*ref, kKnown, "spec.poolRef.");
    const auto name = String(*ref, "name", "spec.poolRef.name", true, kMaxNameBytes);
    const auto group = String(*ref, "group", "spec.poolRef.group", false, kMaxNameBytes);
    (void)String(*ref, "kind", "spec.poolRef.kind", false, kMaxNameBytes);
    if (pool_.name.empty()) return true;
    const std::string_view wanted = pool_.group.empty() ? kPoolGroup : pool_.group;
    return name == pool_.name && group.value_or(std::string(kPoolGroup)) == wanted;
  }

  void ReadObjective(const Node& spec, Objective& to) {
    static constexpr std::string_view kKnown[] = {"priority", "poolRef"};
    Unknown(spec, kKnown, "spec.");
    to.priority = Integer(spec, "priority", "spec.priority", std::numeric_limits<int32_t>::min(),
                          std::numeric_limits<int32_t>::max());
  }

  void ReadRewrite(const Node& spec, ModelRewrite& to) {
    static constexpr std::string_view kKnown[] = {"poolRef", "rules"};
    Unknown(spec, kKnown, "spec.");
    const Node* rules = List(spec, "rules", "spec.rules");
    if (rules == nullptr) return;
    for (size_t i = 0; i < rules->items.size(); ++i) {
      ReadRule(rules->items[i], StrCat("spec.rules[", i, "]"), to);
    }
  }

  void ReadRule(const Node& node, const std::string& path, ModelRewrite& to) {
    if (node.kind != Node::Kind::kMap) {
      return Error(node, "EPP-OBJ-TYPE", StrCat(path, " is ", node.KindName(), ", want a map"));
    }
    static constexpr std::string_view kKnown[] = {"matches", "targets"};
    Unknown(node, kKnown, StrCat(path, "."));
    Rule rule;
    if (const Node* matches = List(node, "matches", StrCat(path, ".matches"))) {
      rule.generic = matches->items.empty();
      for (size_t i = 0; i < matches->items.size(); ++i) {
        ReadMatch(matches->items[i], StrCat(path, ".matches[", i, "]"), rule);
      }
      if (!rule.generic && rule.models.empty()) {
        Warning(*matches, "EPP-OBJ-VALUE",
                StrCat(path, ".matches names no model, so the rule never applies"));
      }
    }
    const Node* targets = List(node, "targets", StrCat(path, ".targets"));
    if (targets == nullptr || targets->items.empty()) {
      return Error(targets ? *targets : node, "EPP-OBJ-MISSING",
                   StrCat(path, ".targets has nothing, want at least one"));
    }
    size_t weighted = 0;
    for (size_t i = 0; i < targets->items.size(); ++i) {
      ReadTarget(targets->items[i], StrCat(path, ".targets[", i, "]"), rule);
      weighted += !rule.targets.empty() && rule.targets.back().weight > 0;
    }
    if (weighted > 0 && weighted < targets->items.size()) {
      Warning(*targets, "EPP-OBJ-VALUE",
              StrCat(path, ".targets: only those with a weight are ever chosen, ",
                     targets->items.size() - weighted, " have none"));
    }
    to.rules.push_back(std::move(rule));
  }

  void ReadMatch(const Node& node, const std::string& path, Rule& to) {
    if (node.kind != Node::Kind::kMap) {
      return Error(node, "EPP-OBJ-TYPE", StrCat(path, " is ", node.KindName(), ", want a map"));
    }
    static constexpr std::string_view kKnown[] = {"model"};
    Unknown(node, kKnown, StrCat(path, "."));
    const Node* model = Map(node, "model", false, StrCat(path, "."));
    if (model == nullptr) return;
    static constexpr std::string_view kModelKeys[] = {"type", "value"};
    Unknown(*model, kModelKeys, StrCat(path, ".model."));
    const auto type = String(*model, "type", StrCat(path, ".model.type"), false, kMaxModelBytes);
    if (type && *type != "Exact") {
      Error(*model->Find("type"), "EPP-OBJ-VALUE",
            StrCat(path, ".model.type is \"", Shown(*type), "\", want Exact"));
    }
    auto value = String(*model, "value", StrCat(path, ".model.value"), true, kMaxModelBytes);
    if (value) to.models.push_back(*std::move(value));
  }

  void ReadTarget(const Node& node, const std::string& path, Rule& to) {
    if (node.kind != Node::Kind::kMap) {
      return Error(node, "EPP-OBJ-TYPE", StrCat(path, " is ", node.KindName(), ", want a map"));
    }
    static constexpr std::string_view kKnown[] = {"modelRewrite", "weight"};
    Unknown(node, kKnown, StrCat(path, "."));
    Target target;
    target.model = String(node, "modelRewrite", StrCat(path, ".modelRewrite"), true, kMaxModelBytes)
                       .value_or("");
    target.weight = Integer(node, "weight", StrCat(path, ".weight"), 1, kMaxWeight).value_or(0);
    to.targets.push_back(std::move(target));
  }

  const PoolIdentity& pool_;
  config::Diagnostics& out_;
  ObjectsText& to_;
  std::string where_;
};

}  // namespace

std::string_view KindName(Kind kind) {
  return kind == Kind::kObjective ? kObjectiveKind : kRewriteKind;
}

bool MentionsObjects(std::string_view text) {
  return text.find(kObjectiveKind) != std::string_view::npos ||
         text.find(kRewriteKind) != std::string_view::npos;
}

ObjectsText ParseObjects(const std::shared_ptr<const config::SourceText>& source,
                         const PoolIdentity& pool, config::Diagnostics& out) {
  ObjectsText objects;
  Reader reader(pool, out, objects);
  for (const config::DocumentPart& part : config::SplitDocuments(source->text)) {
    if (!MentionsObjects(part.text)) continue;
    config::Diagnostics unreadable;
    if (const std::optional<Node> root = config::ParsePart(source, part, unreadable)) {
      reader.ReadDocument(*root);
      continue;
    }
    objects.nameless = true;
    for (const config::Diagnostic& d : unreadable.all()) {
      out.Error(d.mark, "EPP-OBJ-SYNTAX", d.message, d.caret, d.hint);
    }
  }
  return objects;
}

}  // namespace epp::objects
