// Values of epp/testing.hpp: attributes of endpoints and requests, and parameters.
#pragma once

#include <chrono>
#include <cmath>
#include <cstddef>
#include <deque>
#include <functional>
#include <initializer_list>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "epp/detail/testing_host.hpp"

namespace epp::test {

// ---- Attributes -------------------------------------------------------------------------------

// The value of an attribute, or none. Numbers convert to what the attribute is declared as; a
// symbol is given as its text.
class Cell {
 public:
  using Texts = std::vector<std::string>;

  // NOLINTBEGIN(google-explicit-constructor): a list of plain values should read as one
  Cell() = default;
  Cell(std::nullopt_t) {}
  template <std::integral T>
  Cell(T v) : v_(static_cast<int64_t>(v)) {}
  template <std::floating_point T>
  Cell(T v) : v_(static_cast<double>(v)) {}
  Cell(const char* symbol) : v_(std::string(symbol)) {}
  Cell(std::string_view symbol) : v_(std::string(symbol)) {}
  Cell(std::string symbol) : v_(std::move(symbol)) {}
  Cell(Texts symbols) : v_(std::move(symbols)) {}
  Cell(const void* opaque) : v_(opaque) {}
  template <class T>
  Cell(const std::optional<T>& v) {
    if (v) *this = Cell(*v);
  }
  // NOLINTEND(google-explicit-constructor)

  bool has() const { return v_.index() != 0; }
  // As an integer, a number, a text, a list or a pointer; 0 or empty when it is none.
  int64_t i64() const {
    if (const auto* d = std::get_if<double>(&v_)) return static_cast<int64_t>(*d);
    return Get<int64_t>();
  }
  double f64() const {
    if (const auto* i = std::get_if<int64_t>(&v_)) return static_cast<double>(*i);
    return Get<double>();
  }
  std::string text() const { return Get<std::string>(); }
  Texts texts() const { return Get<Texts>(); }
  const void* opaque() const { return Get<const void*>(); }
  bool is_number() const { return v_.index() == 1 || v_.index() == 2; }
  bool is_text() const { return v_.index() == 3; }

  friend bool operator==(const Cell& a, const Cell& b) {
    if (a.is_number() && b.is_number()) return a.f64() == b.f64();
    return a.v_ == b.v_;
  }
  friend std::ostream& operator<<(std::ostream& os, const Cell& c) {
    switch (c.v_.index()) {
      case 0:
        return os << "none";
      case 1:
        return os << std::get<1>(c.v_);
      case 2:
        return os << std::get<2>(c.v_);
      case 3:
        return os << '"' << std::get<3>(c.v_) << '"';
      case 4: {
        os << '[';
        for (const std::string& s : std::get<4>(c.v_)) os << '"' << s << "\",";
        return os << ']';
      }
      default:
        return os << std::get<5>(c.v_);
    }
  }

 private:
  template <class T>
  T Get() const {
    const T* v = std::get_if<T>(&v_);
    return v ? *v : T{};
  }
  std::variant<std::monostate, int64_t, double, std::string, Texts, const void*> v_;
};

// Names an attribute: one of epp::attr, or "key", or "key/producer".
class AttributeName {
 public:
  // NOLINTBEGIN(google-explicit-constructor)
  AttributeName(const AttributeKind& kind) : text_(kind.key) {}
  AttributeName(const char* key) : text_(key) {}
  AttributeName(std::string_view key) : text_(key) {}
  AttributeName(const std::string& key) : text_(key) {}
  // NOLINTEND(google-explicit-constructor)
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// ---- Parameters -------------------------------------------------------------------------------

// What a config could say for a parameter. A duration is text ("250ms") or a std::chrono duration.
class ParamValue {
 public:
  // NOLINTBEGIN(google-explicit-constructor)
  ParamValue(bool v) : v_(v) {}
  template <std::integral T>
  ParamValue(T v) : v_(static_cast<int64_t>(v)) {}
  template <std::floating_point T>
  ParamValue(T v) : v_(static_cast<double>(v)) {}
  ParamValue(const char* v) : v_(std::string(v)) {}
  ParamValue(std::string_view v) : v_(std::string(v)) {}
  ParamValue(std::string v) : v_(std::move(v)) {}
  ParamValue(std::vector<std::string> v) : v_(std::move(v)) {}
  template <class R, class P>
  ParamValue(std::chrono::duration<R, P> v)
      : v_(std::chrono::duration_cast<std::chrono::nanoseconds>(v)) {}
  // NOLINTEND(google-explicit-constructor)

  std::variant<bool, int64_t, double, std::string, std::vector<std::string>,
               std::chrono::nanoseconds>
      v_;
};

struct ParamSetting {
  std::string name;
  ParamValue value;
};

// The parameters block of an instance: {{"idleBelow", 4}, {"window", "250ms"}}.
class Params {
 public:
  Params() = default;
  Params(std::initializer_list<ParamSetting> settings) : settings_(settings) {}
  void Set(std::string name, ParamValue value) {
    settings_.push_back({std::move(name), std::move(value)});
  }
  const std::vector<ParamSetting>& settings() const { return settings_; }
  const ParamValue* Find(std::string_view name) const {
    for (const ParamSetting& s : settings_) {
      if (s.name == name) return &s.value;
    }
    return nullptr;
  }

 private:
  std::vector<ParamSetting> settings_;
};

// "1m30s", "250ms", "-2h", "0" to nanoseconds.
inline std::optional<int64_t> ParseDuration(std::string_view text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 6e10}, {"h", 3.6e12}};
  if (text == "0") return 0;
  double sign = 1;
  if (text.starts_with('-') || text.starts_with('+')) {
    sign = text[0] == '-' ? -1 : 1;
    text.remove_prefix(1);
  }
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    size_t digits = 0;
    while (digits < text.size() &&
           (text[digits] == '.' || (text[digits] >= '0' && text[digits] <= '9'))) {
      ++digits;
    }
    if (digits == 0) return std::nullopt;
    const double number = std::strtod(std::string(text.substr(0, digits)).c_str(), nullptr);
    text.remove_prefix(digits);
    double scale = 0;
    size_t length = 0;
    for (const auto& [unit, ns] : kUnits) {
      if (text.starts_with(unit) && unit.size() > length) {
        scale = ns;
        length = unit.size();
      }
    }
    if (length == 0) return std::nullopt;
    text.remove_prefix(length);
    total += number * scale;
  }
  return static_cast<int64_t>(sign * total);
}

// The values that create gets, decoded as the host decodes them: defaults, types, ranges, choices
// and required ones are checked, unknown names refused, all errors reported together.
class DecodedParams {
 public:
  DecodedParams(const epp_plugin_type& type, const Params& params) {
    const std::span specs(type.params, type.param_count);
    for (const epp_param_spec* spec : specs) {
      const ParamValue* given = params.Find(spec->name);
      epp_value value = spec->default_value;
      value.type = spec->type;
      if (given) {
        value = Decode(*spec, *given);
      } else if (spec->flags & EPP_PARAM_REQUIRED) {
        Error(*spec, "is not set and is required");
      }
      values_.push_back(value);
    }
    for (const ParamSetting& s : params.settings()) {
      const bool known = std::any_of(specs.begin(), specs.end(), [&](const epp_param_spec* spec) {
        return s.name == spec->name;
      });
      if (!known && !(type.flags & EPP_TYPE_ANY_PARAMS)) {
        errors_ += (errors_.empty() ? "" : "; ") + ("unknown parameter \"" + s.name + "\"");
      }
    }
  }
  Status status() const { return errors_.empty() ? Status() : Status::Invalid(errors_); }
  const epp_value* values() const { return values_.data(); }

  // Who produces what the type consumes: what the parameter says, else the default; may be empty.
  std::string Producer(const epp_plugin_type& type, const epp_attr_spec& spec) const {
    for (uint32_t i = 0; spec.producer_param && i < type.param_count; ++i) {
      const epp_value& v = values_[i];
      if (std::string_view(type.params[i]->name) == spec.producer_param && v.present &&
          v.v.str.size) {
        return std::string(View(v.v.str));
      }
    }
    return spec.default_producer ? spec.default_producer : "";
  }

 private:
  void Error(const epp_param_spec& spec, const std::string& what) {
    errors_ += errors_.empty() ? "" : "; ";
    errors_ += "parameter \"" + std::string(spec.name) + "\" " + what;
  }
  epp_str Keep(std::string text) {
    texts_.push_back(std::move(text));
    return Str(texts_.back());
  }
  void CheckRange(const epp_param_spec& spec, double v) {
    if (v >= spec.min && v <= spec.max) return;
    char text[96];
    std::snprintf(text, sizeof(text), "is %.15g, want [%.15g, %.15g]", v, spec.min, spec.max);
    Error(spec, text);
  }
  epp_value Decode(const epp_param_spec& spec, const ParamValue& given) {
    epp_value out{spec.type, 1, {0}};
    const auto* flag = std::get_if<bool>(&given.v_);
    const auto* number = std::get_if<int64_t>(&given.v_);
    const auto* real = std::get_if<double>(&given.v_);
    const auto* text = std::get_if<std::string>(&given.v_);
    const auto* list = std::get_if<std::vector<std::string>>(&given.v_);
    const auto* span = std::get_if<std::chrono::nanoseconds>(&given.v_);
    switch (spec.type) {
      case EPP_P_BOOL:
        if (!flag) break;
        out.v.i64 = *flag;
        return out;
      case EPP_P_I64:
        if (!number) break;
        CheckRange(spec, static_cast<double>(*number));
        out.v.i64 = *number;
        return out;
      case EPP_P_F64:
        if (!number && !real) break;
        out.v.f64 = real ? *real : static_cast<double>(*number);
        CheckRange(spec, out.v.f64);
        return out;
      case EPP_P_DURATION: {
        const auto parsed = span   ? std::optional<int64_t>(span->count())
                            : text ? ParseDuration(*text)
                                   : std::nullopt;
        if (!parsed) break;
        CheckRange(spec, static_cast<double>(*parsed) / 1e9);
        out.v.i64 = *parsed;
        return out;
      }
      case EPP_P_STR: {
        if (!text) break;
        const std::span choices(spec.choices, spec.choice_count);
        if (!choices.empty() && std::find(choices.begin(), choices.end(), *text) == choices.end()) {
          Error(spec, "is \"" + *text + "\", which is not one of its choices");
        }
        out.v.str = Keep(*text);
        return out;
      }
      case EPP_P_PLUGIN:
      case EPP_P_JSON:
        if (!text) break;
        out.v.str = Keep(*text);
        return out;
      case EPP_P_STR_LIST: {
        if (!list) break;
        std::vector<epp_str>& items = lists_.emplace_back();
        for (const std::string& s : *list) items.push_back(Keep(s));
        out.v.list = {items.data(), items.size()};
        return out;
      }
      default:
        break;
    }
    static constexpr const char* kWant[] = {
        "a value",    "true or false",   "an integer",           "a number", "a text",
        "a duration", "a list of texts", "the name of a plugin", "JSON text"};
    Error(spec, std::string("has the wrong type, want ") +
                    (spec.type > 0 && spec.type <= EPP_P_JSON ? kWant[spec.type] : kWant[0]));
    return out;
  }

  std::vector<epp_value> values_;
  std::deque<std::string> texts_;
  std::deque<std::vector<epp_str>> lists_;
  std::string errors_;
};

}  // namespace epp::test
