// What is wrong with the constant records of a library. See Lint in epp/testing.hpp.
#pragma once

#include <set>

#include "epp/detail/testing_host.hpp"

namespace epp::test {

namespace detail {

inline bool IsName(const char* text, std::string_view extra = "-") {
  if (text == nullptr || *text == '\0') return false;
  return std::all_of(text, text + std::strlen(text), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || extra.find(c) != extra.npos;
  });
}
inline bool IsLine(const char* text) {
  return text != nullptr && *text != '\0' && std::strchr(text, '\n') == nullptr;
}

// Collects faults of one thing.
class Faults {
 public:
  explicit Faults(std::vector<std::string>& out) : out_(out) {}
  void Of(std::string where) { where_ = std::move(where); }
  void Unless(bool good, const std::string& fault) {
    if (!good) out_.push_back(where_ + ": " + fault);
  }

 private:
  std::vector<std::string>& out_;
  std::string where_;
};

// "epp.scorer/1"
inline bool IsInterfaceId(const char* text) {
  const std::string_view id = text ? text : "";
  const size_t slash = id.rfind('/');
  if (slash == id.npos || slash == 0 || slash + 1 == id.size()) return false;
  return std::all_of(id.begin() + slash + 1, id.end(), [](char c) { return c >= '0' && c <= '9'; });
}

inline void LintParam(const epp_param_spec& p, Faults& f) {
  static constexpr std::string_view kUpper = ".ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const epp_value& def = p.default_value;
  f.Unless(p.struct_size >= sizeof(epp_param_spec), "struct_size is too small");
  f.Unless(p.type >= EPP_P_BOOL && p.type <= EPP_P_JSON, "unknown type");
  f.Unless(IsName(p.name, kUpper), "the name is not camelCase or dotted camelCase");
  f.Unless(IsLine(p.doc), "doc is not one line");
  f.Unless(p.min <= p.max, "min is above max");
  f.Unless(p.choice_count == 0 || p.type == EPP_P_STR, "only a string has choices");
  if (EPP_HAS(&p, epp_param_spec, interface_id) && p.interface_id != nullptr) {
    f.Unless(p.type == EPP_P_PLUGIN, "only the name of a plugin can ask for an interface");
    f.Unless(IsInterfaceId(p.interface_id), "its interface is not NAME/NUMBER");
  }
  if (!def.present) return;
  f.Unless(def.type == p.type, "the default has another type");
  double number = p.min;
  if (p.type == EPP_P_I64) number = static_cast<double>(def.v.i64);
  if (p.type == EPP_P_DURATION) number = static_cast<double>(def.v.i64) / 1e9;
  if (p.type == EPP_P_F64) number = def.v.f64;
  f.Unless(number >= p.min && number <= p.max, "the default is out of range");
  if (p.type == EPP_P_STR && p.choice_count != 0) {
    const std::span choices(p.choices, p.choice_count);
    f.Unless(std::any_of(choices.begin(), choices.end(),
                         [&](const char* c) { return View(def.v.str) == c; }),
             "the default is not one of the choices");
  }
}

inline void LintAttribute(const epp_attr_spec& a, const epp_plugin_type& type, bool consumed,
                          Faults& f) {
  f.Unless(a.struct_size >= sizeof(epp_attr_spec), "struct_size is too small");
  f.Unless(a.type >= EPP_T_I64 && a.type <= EPP_T_OPAQUE, "unknown type");
  f.Unless(a.scope == EPP_SCOPE_ENDPOINT || a.scope == EPP_SCOPE_REQUEST, "unknown scope");
  f.Unless(IsLine(a.key), "no key");
  f.Unless((a.type == EPP_T_OPAQUE) == (a.schema != nullptr), "opaque and schema go together");
  f.Unless(consumed || (a.default_producer == nullptr && a.producer_param == nullptr),
           "what is produced names no producer");
  if (a.producer_param == nullptr) return;
  const std::span params(type.params, type.param_count);
  f.Unless(std::any_of(params.begin(), params.end(),
                       [&](const epp_param_spec* p) {
                         return std::string_view(p->name) == a.producer_param &&
                                (p->type == EPP_P_PLUGIN || p->type == EPP_P_STR);
                       }),
           "producer_param is not a parameter that names a plugin");
}

inline void LintType(const epp_plugin_type& t, Faults& f) {
  const std::string where = std::string("type ") + (t.name ? t.name : "?");
  f.Of(where);
  f.Unless(t.struct_size >= sizeof(epp_plugin_type), "struct_size is too small");
  f.Unless(IsName(t.name), "the name is not [a-z0-9-]");
  f.Unless(IsLine(t.doc), "no doc");
  f.Unless(t.stability >= EPP_STABILITY_ALPHA && t.stability <= EPP_STABILITY_STABLE,
           "unknown stability");
  f.Unless(t.create && t.destroy && t.get_interface, "a function is null");
  f.Unless(t.interface_count > 0, "it implements nothing");
  for (const char* alias : std::span(t.aliases, t.alias_count)) {
    f.Unless(IsName(alias), "an alias is not [a-z0-9-]");
  }
  std::set<std::string_view> seen;
  for (const char* id : std::span(t.interfaces, t.interface_count)) {
    f.Unless(IsInterfaceId(id), "an interface is not NAME/NUMBER");
    f.Unless(seen.insert(id ? id : "").second, "an interface is listed twice");
  }
  seen.clear();
  for (const epp_param_spec* p : std::span(t.params, t.param_count)) {
    f.Of(where + ": parameter " + (p->name ? p->name : "?"));
    LintParam(*p, f);
    f.Unless(seen.insert(p->name ? p->name : "").second, "declared twice");
  }
  for (const epp_attr_spec* a : std::span(t.consumes, t.consumes_count)) {
    f.Of(where + ": consumes " + (a->key ? a->key : "?"));
    LintAttribute(*a, t, true, f);
  }
  seen.clear();
  for (const epp_attr_spec* a : std::span(t.produces, t.produces_count)) {
    f.Of(where + ": produces " + (a->key ? a->key : "?"));
    LintAttribute(*a, t, false, f);
    f.Unless(seen.insert(a->key ? a->key : "").second, "declared twice");
  }
}

}  // namespace detail

// What is wrong with the constant records of a library, one line each; empty when nothing is.
inline std::vector<std::string> Lint(const epp_module& m) {
  std::vector<std::string> out;
  detail::Faults f(out);
  f.Of(std::string("library ") + (m.name ? m.name : "?"));
  f.Unless(m.struct_size >= sizeof(epp_module), "struct_size is too small");
  f.Unless(detail::IsName(m.name) && m.name[0] != '-' && std::strlen(m.name) <= 63,
           "the name is not [a-z0-9][a-z0-9-]{0,62}");
  f.Unless(detail::IsLine(m.version) && m.version[0] >= '0' && m.version[0] <= '9',
           "the version is not a semantic version");
  f.Unless(m.abi_major == EPP_ABI_MAJOR, "another ABI major");
  f.Unless(m.abi_min_minor <= m.abi_minor, "needs a higher ABI minor than it was built with");
  f.Unless(m.type_count > 0, "no plugin type");
  std::set<std::string_view> seen;
  for (const epp_plugin_type* t : std::span(m.types, m.type_count)) {
    f.Of("library");
    f.Unless(seen.insert(t->name ? t->name : "").second, "two types have one name");
    detail::LintType(*t, f);
  }
  return out;
}

}  // namespace epp::test
