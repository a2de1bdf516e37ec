#include "host/config/params.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "host/base/json_writer.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/base/strings.h"

namespace epp::config {

namespace {

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view Wanted(int32_t type) {
  switch (type) {
    case EPP_P_BOOL:
      return "true or false";
    case EPP_P_I64:
      return "an integer";
    case EPP_P_F64:
      return "a number";
    case EPP_P_STR:
      return "a string";
    case EPP_P_PLUGIN:
      return "the name of a plugin";
    case EPP_P_DURATION:
      return "a duration such as \"250ms\" or \"1m30s\"";
    case EPP_P_STR_LIST:
      return "a list of strings";
    default:
      return "a value";
  }
}

std::string Bound(int32_t type, double value) {
  if (type == EPP_P_DURATION) return StrCat("\"", value, "s\"");
  if (type == EPP_P_I64) return StrCat(static_cast<int64_t>(value));
  return StrCat(value);
}

// ", want an integer in [0, 10]"
std::string Range(const epp_param_spec& spec) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const std::string want = StrCat(", want ", Wanted(spec.type));
  const bool below = spec.min > -kInf && spec.min > -9.2e18;
  const bool above = spec.max < kInf && spec.max < 9.2e18;
  if (below && above) {
    return StrCat(want, " in [", Bound(spec.type, spec.min), ", ", Bound(spec.type, spec.max), "]");
  }
  if (below) return StrCat(want, " >= ", Bound(spec.type, spec.min));
  if (above) return StrCat(want, " <= ", Bound(spec.type, spec.max));
  return want;
}

}  // namespace

class ParamDecoder {
 public:
  ParamDecoder(const epp_plugin_type& type, std::string_view what, Diagnostics& out)
      : type_(type), what_(what), out_(out), values_(std::make_shared<ParamValues>()) {
    for (const epp_param_spec* spec : specs()) {
      values_->values_.push_back(Default(*spec));
      has_secret_ |= (spec->flags & EPP_PARAM_SECRET) != 0;
    }
    values_->marks_.resize(specs().size());
  }

  std::shared_ptr<const ParamValues> Run(const Node* parameters, const Mark& mark) {
    if (parameters && parameters->kind != Node::Kind::kNull) {
      if (parameters->kind == Node::Kind::kMap) {
        Walk(*parameters, "");
      } else if (!(type_.flags & EPP_TYPE_ANY_PARAMS)) {
        out_.Error(parameters->mark, "EPP-CFG-TYPE",
                   StrCat(what_, ": parameters is ", parameters->KindName(), ", want a map"));
      }
    }
    for (size_t i = 0; i < specs().size(); ++i) {
      const epp_param_spec& spec = *specs()[i];
      if ((spec.flags & EPP_PARAM_REQUIRED) && !given_.contains(i)) {
        out_.Error(mark, "EPP-CFG-MISSING",
                   StrCat(what_, ": parameter \"", spec.name, "\" is required"));
      }
    }
    return values_;
  }

 private:
  std::span<const epp_param_spec* const> specs() const { return {type_.params, type_.param_count}; }

  epp_value Default(const epp_param_spec& spec) const {
    epp_value value = spec.default_value;
    value.type = spec.type;
    return value;
  }

  // Exact names first; then, as Go decodes JSON, ignoring case.
  std::optional<size_t> Find(const std::string& path) const {
    for (size_t i = 0; i < specs().size(); ++i) {
      if (specs()[i]->name == path) return i;
    }
    for (size_t i = 0; i < specs().size(); ++i) {
      if (Lower(specs()[i]->name) == Lower(path)) return i;
    }
    return std::nullopt;
  }

  bool IsPrefix(const std::string& path) const {
    const std::string prefix = Lower(path + ".");
    return std::any_of(specs().begin(), specs().end(), [&](const epp_param_spec* spec) {
      return Lower(spec->name).starts_with(prefix);
    });
  }

  void Walk(const Node& map, const std::string& prefix) {
    for (const auto& [key, value] : map.members) {
      const std::string path = prefix + key.text;
      if (const std::optional<size_t> index = Find(path)) {
        Take(*index, key, value);
      } else if (IsPrefix(path)) {
        if (value.kind == Node::Kind::kMap) {
          Walk(value, path + ".");
        } else if (value.kind != Node::Kind::kNull) {
          out_.Error(
              value.mark, "EPP-CFG-TYPE",
              StrCat(what_, ": parameter \"", path, "\" is ", value.KindName(), ", want a map"));
        }
      } else if (!(type_.flags & EPP_TYPE_ANY_PARAMS)) {
        // Perhaps a secret under a mistyped name.
        if (has_secret_) Hide(value);
        Unknown(path, prefix, key);
      }
    }
  }

  void Unknown(const std::string& path, const std::string& prefix, const Node& key) {
    std::vector<std::string> names;
    for (const epp_param_spec* spec : specs()) {
      const std::string_view name = spec->name;
      if (!Lower(name).starts_with(Lower(prefix))) continue;
      const std::string_view rest = name.substr(prefix.size());
      names.emplace_back(rest.substr(0, rest.find('.')));
    }
    const std::string_view near = Nearest(key.text, names);
    std::string hint;
    if (specs().empty()) {
      hint = StrCat(type_.name, " takes no parameters");
    }
    out_.Error(key.mark, "EPP-CFG-UNKNOWN-KEY", StrCat(what_, ": unknown parameter \"", path, "\""),
               near.empty() ? std::string() : StrCat("did you mean \"", near, "\"?"),
               std::move(hint));
  }

  void Take(size_t index, const Node& key, const Node& node) {
    const epp_param_spec& spec = *specs()[index];
    if (spec.flags & EPP_PARAM_SECRET) Hide(node);
    if (!given_.insert(index).second) {
      out_.Error(key.mark, "EPP-CFG-DUPLICATE-KEY",
                 StrCat(what_, ": parameter \"", spec.name, "\" is given twice"));
      return;
    }
    if (spec.flags & EPP_PARAM_DEPRECATED) {
      out_.Warning(key.mark, "EPP-CFG-DEPRECATED",
                   StrCat(what_, ": parameter \"", spec.name, "\" is deprecated"), spec.doc);
    }
    if (spec.flags & EPP_PARAM_IGNORED) return;
    if (node.kind == Node::Kind::kNull) {
      given_.erase(index);  // null leaves the default
      return;
    }
    epp_value& value = values_->values_[index];
    if (!Convert(spec, node, value)) return;
    value.present = 1;
    values_->marks_[index] = node.mark;
  }

  // Keeps a value out of the excerpts of all messages.
  void Hide(const Node& node) {
    Mark mark = node.mark;
    // A scalar of several lines is longer than its mark says; its other lines carry no messages.
    if (node.kind != Node::Kind::kScalar || node.text.size() > mark.length) mark.length = 0;
    out_.Redact(std::move(mark));
    for (const auto& [key, value] : node.members) {
      Hide(key);
      Hide(value);
    }
    for (const Node& item : node.items) Hide(item);
  }

  bool Convert(const epp_param_spec& spec, const Node& node, epp_value& value) {
    switch (spec.type) {
      case EPP_P_BOOL: {
        const std::optional<bool> b = AsBool(node);
        if (!b) return WrongType(spec, node);
        value.v.i64 = *b;
        return true;
      }
      case EPP_P_I64: {
        const std::optional<int64_t> i = AsInt(node);
        if (!i) return WrongType(spec, node);
        value.v.i64 = *i;
        return InRange(spec, node, static_cast<double>(*i));
      }
      case EPP_P_F64: {
        const std::optional<double> f = AsFloat(node);
        if (!f) return WrongType(spec, node);
        value.v.f64 = *f;
        return InRange(spec, node, *f);
      }
      case EPP_P_DURATION: {
        if (!node.IsText()) return WrongType(spec, node);
        const absl::StatusOr<int64_t> ns = ParseGoDurationNs(node.text);
        if (!ns.ok()) return WrongType(spec, node);
        value.v.i64 = *ns;
        // Divided, not multiplied by 1e-9: "300ms" must be exactly 0.3.
        return InRange(spec, node, static_cast<double>(*ns) / 1e9);
      }
      case EPP_P_STR:
      case EPP_P_PLUGIN:
        if (!node.IsText()) return WrongType(spec, node);
        if (!IsChoice(spec, node)) return false;
        value.v.str = Keep(node.text);
        return true;
      case EPP_P_STR_LIST:
        return ConvertList(spec, node, value);
      case EPP_P_JSON:
        value.v.str = Keep(ToJson(node));
        return true;
      default:
        return false;
    }
  }

  bool ConvertList(const epp_param_spec& spec, const Node& node, epp_value& value) {
    if (node.kind != Node::Kind::kList) return WrongType(spec, node);
    std::vector<epp_str>& list = values_->lists_.emplace_back();
    bool texts = true;
    for (const Node& item : node.items) {
      if (!item.IsText()) {
        texts = false;
        out_.Error(item.mark, "EPP-CFG-TYPE",
                   StrCat(what_, ": an item of parameter \"", spec.name, "\" is ", item.KindName(),
                          ", want a string"));
        continue;
      }
      list.push_back(Keep(item.text));
    }
    if (!texts) return false;
    value.v.list.items = list.data();
    value.v.list.count = list.size();
    return true;
  }

  epp_str Keep(std::string text) {
    const std::string& kept = values_->texts_.emplace_back(std::move(text));
    return {kept.data(), kept.size()};
  }

  // What was got, for a message; the text of a secret is never shown.
  std::string Got(const epp_param_spec& spec, const Node& node) const {
    if ((spec.flags & EPP_PARAM_SECRET) || node.kind != Node::Kind::kScalar) {
      return std::string(node.KindName());
    }
    return node.IsText() ? StrCat("\"", node.text, "\"") : node.text;
  }

  bool WrongType(const epp_param_spec& spec, const Node& node) {
    out_.Error(node.mark, "EPP-CFG-TYPE",
               StrCat(what_, ": parameter \"", spec.name, "\" is ", Got(spec, node), ", want ",
                      Wanted(spec.type)));
    return false;
  }

  bool InRange(const epp_param_spec& spec, const Node& node, double value) {
    if (value >= spec.min && value <= spec.max) return true;
    out_.Error(node.mark, "EPP-CFG-RANGE",
               StrCat(what_, ": parameter \"", spec.name, "\" is ", Got(spec, node), Range(spec)),
               value < spec.min ? "below the minimum" : "above the maximum");
    return false;
  }

  bool IsChoice(const epp_param_spec& spec, const Node& node) {
    const std::span<const char* const> choices(spec.choices, spec.choice_count);
    if (choices.empty() || std::find(choices.begin(), choices.end(), node.text) != choices.end()) {
      return true;
    }
    std::string want;
    for (const char* choice : choices)
      StrAppend(&want, want.empty() ? "" : ", ", "\"", choice, "\"");
    out_.Error(node.mark, "EPP-CFG-CHOICE",
               StrCat(what_, ": parameter \"", spec.name, "\" is ", Got(spec, node),
                      ", want one of ", want));
    return false;
  }

  const epp_plugin_type& type_;
  const std::string_view what_;
  Diagnostics& out_;
  std::shared_ptr<ParamValues> values_;
  std::set<size_t> given_;
  bool has_secret_ = false;
};

std::string ParamValues::Canonical() const {
  std::string out;
  JsonWriter w(&out);
  w.BeginArray();
  for (const epp_value& value : values_) {
    if (!value.present) {
      w.Null();
      continue;
    }
    switch (value.type) {
      case EPP_P_F64:
        w.Value(value.v.f64);
        break;
      case EPP_P_STR:
      case EPP_P_PLUGIN:
      case EPP_P_JSON:
        w.Value(value.v.str.size ? std::string_view(value.v.str.data, value.v.str.size) : "");
        break;
      case EPP_P_STR_LIST:
        w.BeginArray();
        for (const epp_str& item : std::span(value.v.list.items, value.v.list.count)) {
          w.Value(item.size ? std::string_view(item.data, item.size) : "");
        }
        w.EndArray();
        break;
      default:
        w.Value(value.v.i64);
    }
  }
  w.EndArray();
  return out;
}

std::shared_ptr<const ParamValues> DecodeParams(const epp_plugin_type& type, const Node* parameters,
                                                std::string_view what, const Mark& mark,
                                                Diagnostics& out) {
  return ParamDecoder(type, what, out).Run(parameters, mark);
}

}  // namespace epp::config
