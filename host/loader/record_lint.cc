#include "host/loader/record_lint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "host/base/str_cat.h"
#include "host/loader/refusal.h"

namespace epp::loader {
namespace {

constexpr uint32_t kMaxTypes = 256;
constexpr uint32_t kMaxEntries = 256;
constexpr uint64_t kMaxText = 4096;

absl::Status Bad(std::string_view what) { return Refuse("EPP-ABI-RECORD", what); }

bool IsParamName(std::string_view name) {
  bool start = true;
  for (const char c : name) {
    if (start ? !absl::ascii_isalpha(c) : !(absl::ascii_isalnum(c) || c == '_' || c == '.')) {
      return false;
    }
    start = c == '.';
  }
  return !name.empty() && !start && name.size() <= 128;
}

bool IsPrintable(std::string_view text) {
  return std::ranges::all_of(text, [](unsigned char c) { return c > ' ' && c != 0x7f; });
}

class Lint {
 public:
  explicit Lint(const Image& image) : image_(image) {}

  absl::Status Module(const epp_module* m, const epp_abi_note& note, std::string_view file_name);

 private:
  absl::Status Type(const epp_plugin_type* t);
  absl::Status Param(const epp_plugin_type& t, const epp_param_spec* p);
  absl::Status Default(const epp_param_spec& p) const;
  absl::Status Attribute(const epp_plugin_type& t, const epp_attr_spec* a, bool consumed);

  absl::Status Fail(std::string_view what) const { return Bad(StrCat(where_, what)); }

  // A struct that starts with its size: all of the known part must be there.
  template <class T>
  absl::Status Struct(const T* p, std::string_view what) const {
    if (p == nullptr) return Fail(StrCat(what, " is null"));
    if (!image_.HasData(p, sizeof(uint32_t)) || reinterpret_cast<uintptr_t>(p) % alignof(T) != 0) {
      return Fail(StrCat(what, " lies outside the library"));
    }
    if (p->struct_size < sizeof(T)) {
      return Fail(StrCat(what, " has ", p->struct_size, " bytes, want at least ", sizeof(T)));
    }
    if (!image_.HasData(p, sizeof(T))) {
      return Fail(StrCat(what, " lies outside the library"));
    }
    return absl::OkStatus();
  }

  template <class T>
  absl::Status Array(const T* p, uint32_t count, uint32_t max, std::string_view what) const {
    if (count > max) return Fail(StrCat(what, ": ", count, " entries, want at most ", max));
    if (count == 0) return absl::OkStatus();
    if (!image_.HasData(p, uint64_t{count} * sizeof(T)) ||
        reinterpret_cast<uintptr_t>(p) % alignof(T) != 0) {
      return Fail(StrCat(what, " lie outside the library"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string_view> Text(const char* p, std::string_view what) const {
    if (p == nullptr) return Fail(StrCat(what, " is null"));
    const int64_t size = image_.StringLength(p, kMaxText);
    if (size < 0) return Fail(StrCat(what, " is no terminated string inside the library"));
    return std::string_view(p, static_cast<size_t>(size));
  }
  absl::Status OptionalText(const char* p, std::string_view what) const {
    return p == nullptr ? absl::OkStatus() : Text(p, what).status();
  }

  const Image& image_;
  std::string where_ = "module record: ";
  std::set<std::string, std::less<>> params_;
};

absl::Status Lint::Module(const epp_module* m, const epp_abi_note& note,
                          std::string_view file_name) {
  if (absl::Status s = Struct(m, "the record"); !s.ok()) return s;
  if (m->abi_major != note.abi_major || m->abi_minor != note.abi_minor ||
      m->abi_min_minor != note.abi_min_minor || m->flags != note.flags) {
    return Refuse("EPP-ABI-NOTE", StrCat("the ABI note says ", note.abi_major, ".", note.abi_minor,
                                         " (needs ", note.abi_min_minor, ", flags ", note.flags,
                                         "), the record says ", m->abi_major, ".", m->abi_minor,
                                         " (needs ", m->abi_min_minor, ", flags ", m->flags, ")"));
  }
  const absl::StatusOr<std::string_view> name = Text(m->name, "name");
  if (!name.ok()) return name.status();
  if (*name != file_name) {
    return Fail(StrCat("name is \"", *name, "\", want the file's, \"", file_name, "\""));
  }
  if (absl::Status s = Text(m->version, "version").status(); !s.ok()) return s;
  if (absl::Status s = Text(m->toolchain, "toolchain").status(); !s.ok()) return s;
  if (m->type_count == 0) return Fail("offers no plugin type");
  if (absl::Status s = Array(m->types, m->type_count, kMaxTypes, "types"); !s.ok()) return s;
  std::set<std::string_view> names;
  for (uint32_t i = 0; i < m->type_count; ++i) {
    where_ = StrCat("type ", i, ": ");
    const epp_plugin_type* type = m->types[i];
    if (absl::Status s = Type(type); !s.ok()) return s;
    if (!names.insert(type->name).second) return Fail("its name is used twice");
    for (uint32_t k = 0; k < type->alias_count; ++k) {
      if (!names.insert(type->aliases[k]).second) return Fail("its alias is used twice");
    }
  }
  return absl::OkStatus();
}

absl::Status Lint::Type(const epp_plugin_type* t) {
  if (absl::Status s = Struct(t, "the type"); !s.ok()) return s;
  const absl::StatusOr<std::string_view> name = Text(t->name, "name");
  if (!name.ok()) return name.status();
  if (!IsPluginName(*name)) {
    return Fail(StrCat("name is ", Quoted(*name), ", want [a-z0-9-]"));
  }
  where_ = StrCat("type \"", *name, "\": ");
  if (absl::Status s = Text(t->doc, "doc").status(); !s.ok()) return s;
  if (absl::Status s = OptionalText(t->deprecated, "deprecated"); !s.ok()) return s;
  if (t->stability < EPP_STABILITY_ALPHA || t->stability > EPP_STABILITY_STABLE) {
    return Fail(StrCat("stability is ", t->stability, ", want 1, 2 or 3"));
  }
  const auto strings = [&](const char* const* list, uint32_t count, std::string_view what,
                           bool (*good)(std::string_view)) {
    if (absl::Status s = Array(list, count, kMaxEntries, what); !s.ok()) return s;
    for (uint32_t i = 0; i < count; ++i) {
      const absl::StatusOr<std::string_view> text = Text(list[i], what);
      if (!text.ok()) return text.status();
      if (text->empty() || !good(*text)) {
        return Fail(StrCat(what, ": ", Quoted(*text), " is no good name"));
      }
    }
    return absl::OkStatus();
  };
  if (absl::Status s = strings(t->aliases, t->alias_count, "aliases", IsPluginName); !s.ok()) {
    return s;
  }
  if (absl::Status s = strings(t->interfaces, t->interface_count, "interfaces", IsPrintable);
      !s.ok()) {
    return s;
  }

  params_.clear();
  if (absl::Status s = Array(t->params, t->param_count, kMaxEntries, "params"); !s.ok()) return s;
  for (uint32_t i = 0; i < t->param_count; ++i) {
    if (absl::Status s = Param(*t, t->params[i]); !s.ok()) return s;
  }
  // "a" beside "a.b" would be a value and an object at once.
  for (const std::string& name : params_) {
    for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
      if (params_.contains(std::string_view(name).substr(0, dot))) {
        return Fail(StrCat("parameter \"", name, "\" lies inside another parameter"));
      }
    }
  }
  if (absl::Status s = Array(t->consumes, t->consumes_count, kMaxEntries, "consumes"); !s.ok()) {
    return s;
  }
  for (uint32_t i = 0; i < t->consumes_count; ++i) {
    if (absl::Status s = Attribute(*t, t->consumes[i], true); !s.ok()) return s;
  }
  if (absl::Status s = Array(t->produces, t->produces_count, kMaxEntries, "produces"); !s.ok()) {
    return s;
  }
  for (uint32_t i = 0; i < t->produces_count; ++i) {
    if (absl::Status s = Attribute(*t, t->produces[i], false); !s.ok()) return s;
  }

  if (!image_.HasCode(reinterpret_cast<const void*>(t->create)) ||
      !image_.HasCode(reinterpret_cast<const void*>(t->destroy)) ||
      !image_.HasCode(reinterpret_cast<const void*>(t->get_interface))) {
    return Fail("create, destroy or get_interface is no function of the library");
  }
  return absl::OkStatus();
}

absl::Status Lint::Param(const epp_plugin_type& t, const epp_param_spec* p) {
  if (absl::Status s = Struct(p, "a parameter"); !s.ok()) return s;
  const absl::StatusOr<std::string_view> name = Text(p->name, "a parameter's name");
  if (!name.ok()) return name.status();
  if (!IsParamName(*name)) {
    return Fail(StrCat("parameter name ", Quoted(*name), ", want camelCase parts joined by dots"));
  }
  const std::string where = where_;
  where_ = StrCat("type \"", t.name, "\": parameter \"", *name, "\": ");
  if (!params_.emplace(*name).second) return Fail("declared twice");
  if (absl::Status s = Text(p->doc, "doc").status(); !s.ok()) return s;
  if (p->type < EPP_P_BOOL || p->type > EPP_P_JSON) {
    return Fail(StrCat("type is ", p->type, ", want 1 to 8"));
  }
  if (p->choice_count != 0 && p->type != EPP_P_STR) return Fail("only text can have choices");
  if (absl::Status s = Array(p->choices, p->choice_count, kMaxEntries, "choices"); !s.ok()) {
    return s;
  }
  for (uint32_t i = 0; i < p->choice_count; ++i) {
    if (absl::Status s = Text(p->choices[i], "a choice").status(); !s.ok()) return s;
  }
  if (std::isnan(p->min) || std::isnan(p->max) || p->min > p->max) {
    return Fail("min is above max");
  }
  if (EPP_HAS(p, epp_param_spec, interface_id) && p->interface_id != nullptr) {
    if (p->type != EPP_P_PLUGIN) return Fail("only a plugin's name can ask for an interface");
    if (absl::Status s = Text(p->interface_id, "interface_id").status(); !s.ok()) return s;
  }
  if (absl::Status s = Default(*p); !s.ok()) return s;
  where_ = where;
  return absl::OkStatus();
}

absl::Status Lint::Default(const epp_param_spec& p) const {
  const epp_value& v = p.default_value;
  if (v.present == 0) return absl::OkStatus();
  if (v.type != p.type) {
    return Fail(StrCat("the default's type is ", v.type, ", want ", p.type));
  }
  switch (p.type) {
    case EPP_P_STR:
    case EPP_P_PLUGIN:
    case EPP_P_JSON:
      if (v.v.str.size != 0 && !image_.HasData(v.v.str.data, v.v.str.size)) {
        return Fail("the default lies outside the library");
      }
      if (p.choice_count != 0) {
        const std::string_view text(v.v.str.data, v.v.str.size);
        const std::span<const char* const> choices(p.choices, p.choice_count);
        if (std::ranges::none_of(choices, [&](const char* c) { return text == c; })) {
          return Fail("the default is none of the choices");
        }
      }
      return absl::OkStatus();
    case EPP_P_STR_LIST:
      if (v.v.list.count > kMaxEntries ||
          (v.v.list.count != 0 &&
           !image_.HasData(v.v.list.items, v.v.list.count * sizeof(epp_str)))) {
        return Fail("the default lies outside the library");
      }
      for (uint64_t i = 0; i < v.v.list.count; ++i) {
        const epp_str& item = v.v.list.items[i];
        if (item.size != 0 && !image_.HasData(item.data, item.size)) {
          return Fail("the default lies outside the library");
        }
      }
      return absl::OkStatus();
    case EPP_P_F64:
      if (std::isnan(v.v.f64)) return Fail("the default is not a number");
      return absl::OkStatus();
    default:
      return absl::OkStatus();
  }
}

absl::Status Lint::Attribute(const epp_plugin_type& t, const epp_attr_spec* a, bool consumed) {
  if (absl::Status s = Struct(a, "an attribute"); !s.ok()) return s;
  const absl::StatusOr<std::string_view> key = Text(a->key, "an attribute's key");
  if (!key.ok()) return key.status();
  const auto fail = [&](std::string_view what) {
    return Bad(StrCat("type \"", t.name, "\": attribute ", Quoted(*key), ": ", what));
  };
  if (key->empty() || !IsPrintable(*key)) return fail("its key is empty or unprintable");
  if (a->type < EPP_T_I64 || a->type > EPP_T_OPAQUE) {
    return fail(StrCat("type is ", a->type, ", want 1 to 6"));
  }
  if (a->scope != EPP_SCOPE_ENDPOINT && a->scope != EPP_SCOPE_REQUEST) {
    return fail(StrCat("scope is ", a->scope, ", want 1 or 2"));
  }
  if (absl::Status s = OptionalText(a->schema, "an attribute's schema"); !s.ok()) return s;
  if (a->type == EPP_T_OPAQUE && a->schema == nullptr) return fail("opaque without a schema");
  if (absl::Status s = OptionalText(a->default_producer, "a default producer"); !s.ok()) return s;
  if (absl::Status s = OptionalText(a->producer_param, "a producer parameter"); !s.ok()) return s;
  if (consumed && a->producer_param != nullptr && !params_.contains(a->producer_param)) {
    return fail(StrCat("\"", a->producer_param, "\" is no parameter of the type"));
  }
  return absl::OkStatus();
}

}  // namespace

Image::Image(uint64_t base, std::span<const ElfSegment> segments) {
  for (const ElfSegment& s : segments) {
    if (!s.readable) continue;
    parts_.push_back({base + s.address, base + s.address + s.memory_bytes, s.executable});
  }
}

bool Image::HasData(const void* p, uint64_t size) const {
  const auto at = reinterpret_cast<uintptr_t>(p);
  return std::ranges::any_of(parts_, [&](const Part& part) {
    return at >= part.begin && at < part.end && part.end - at >= size;
  });
}

bool Image::HasCode(const void* p) const {
  const auto at = reinterpret_cast<uintptr_t>(p);
  return std::ranges::any_of(
      parts_, [&](const Part& part) { return part.code && at >= part.begin && at < part.end; });
}

int64_t Image::StringLength(const char* p, uint64_t max) const {
  const auto at = reinterpret_cast<uintptr_t>(p);
  for (const Part& part : parts_) {
    if (at < part.begin || at >= part.end) continue;
    const uint64_t room = std::min<uint64_t>(part.end - at, max);
    const size_t size = strnlen(p, room);
    return size == room ? -1 : static_cast<int64_t>(size);
  }
  return -1;
}

bool IsPluginName(std::string_view name) {
  return !name.empty() && name.size() <= 63 && name[0] != '-' &&
         std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

absl::Status LintRecord(const epp_module* module, const Image& image, const epp_abi_note& note,
                        std::string_view file_name) {
  return Lint(image).Module(module, note, file_name);
}

}  // namespace epp::loader
