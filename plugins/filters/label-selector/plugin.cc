// label-selector-filter: keeps endpoints that match a Kubernetes LabelSelector.
//
//   keep[i] = every term holds for endpoint i; no terms: true
//
//   matchLabels {k: v}   value of k is v
//   In                   k is present and its value is listed
//   NotIn                k is absent, or its value is not listed
//   Exists               k is present
//   DoesNotExist         k is absent
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/common/json.hpp"

namespace {

enum class Op { kIn, kNotIn, kExists, kDoesNotExist };

constexpr std::array<std::pair<std::string_view, Op>, 4> kOps{
    {{"In", Op::kIn},
     {"NotIn", Op::kNotIn},
     {"Exists", Op::kExists},
     {"DoesNotExist", Op::kDoesNotExist}}};

struct Term {
  uint32_t column;
  Op op;
  std::vector<uint32_t> values;  // symbols

  // label: the symbol of the value, 0 when absent.
  bool Holds(uint32_t label) const {
    switch (op) {
      case Op::kIn:
        return Lists(label);
      case Op::kNotIn:
        return !Lists(label);
      case Op::kExists:
        return label != 0;
      case Op::kDoesNotExist:
        return label == 0;
    }
    return false;
  }

 private:
  bool Lists(uint32_t label) const {
    return std::find(values.begin(), values.end(), label) != values.end();
  }
};

// An expression as written.
struct Expression {
  std::string key;
  std::string op;
  std::vector<std::string> values;
};

bool IsAlnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// 1 to 63 of [-A-Za-z0-9_.], a letter or digit at both ends.
bool IsLabelName(std::string_view s) {
  const auto allowed = [](char c) { return IsAlnum(c) || c == '-' || c == '_' || c == '.'; };
  return !s.empty() && s.size() <= 63 && IsAlnum(s.front()) && IsAlnum(s.back()) &&
         std::all_of(s.begin(), s.end(), allowed);
}

// A name, or a DNS subdomain, '/' and a name.
bool IsLabelKey(std::string_view s) {
  const size_t slash = s.find('/');
  if (slash == s.npos) return IsLabelName(s);
  const std::string_view prefix = s.substr(0, slash);
  const auto allowed = [](char c) {
    return (IsAlnum(c) && !(c >= 'A' && c <= 'Z')) || c == '-' || c == '.';
  };
  return !prefix.empty() && prefix.size() <= 253 && IsAlnum(prefix.front()) &&
         IsAlnum(prefix.back()) && std::all_of(prefix.begin(), prefix.end(), allowed) &&
         IsLabelName(s.substr(slash + 1));
}

std::string Quoted(std::string_view s) { return '"' + std::string(s) + '"'; }

// Field names match without regard to case, as they do in the other parameters.
bool SameName(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

bool ReadExpression(epp::common::JsonReader& in, Expression* out) {
  return in.Object([&](const std::string& field) {
    if (SameName(field, "key")) return in.String(&out->key);
    if (SameName(field, "operator")) return in.String(&out->op);
    if (!SameName(field, "values")) {
      return in.Fail("unknown field " + Quoted(field) + ", want key, operator or values");
    }
    if (in.Null()) return true;
    return in.Array([&] { return in.String(&out->values.emplace_back()); });
  });
}

class LabelSelectorFilter {
 public:
  static constexpr const char* kName = "label-selector-filter";
  static constexpr const char* kDoc = "Keeps endpoints that match a Kubernetes LabelSelector.";
  static constexpr std::array kAliases{"by-label-selector"};
  static constexpr std::array kParams{
      epp::Json("matchLabels", "Labels and the values that they must have."),
      epp::Json("matchExpressions",
                "List of {key, operator, values}; operator is In, NotIn, Exists or DoesNotExist.")};

  static epp::Result<LabelSelectorFilter> Create(const epp::Context& ctx) {
    auto filter = std::make_unique<LabelSelectorFilter>();
    epp::Status status = filter->ReadLabels(ctx.host(), ctx.str(0));
    if (status.ok()) status = filter->ReadExpressions(ctx.host(), ctx.str(1));
    if (!status.ok()) return status;
    filter->Bind();
    return filter;
  }

  std::span<const epp_attr_spec* const> Consumes() const { return spec_pointers_; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status Filter(const epp::Call&, const epp::Candidates& in, epp::Keep& keep) const {
    for (size_t i = 0; i < in.size(); ++i) {
      const bool match = std::all_of(terms_.begin(), terms_.end(), [&](const Term& t) {
        return t.Holds(in.column<uint32_t>(t.column)[i]);
      });
      keep.SetIf(i, match);
    }
    return {};
  }

 private:
  epp::Status ReadLabels(epp::Host host, std::string_view json) {
    epp::common::JsonReader in(json);
    if (json.empty() || in.Null()) return {};
    epp::Status status;
    in.Object([&](const std::string& key) {
      Expression e{key, "In", {""}};
      if (!in.String(&e.values[0])) return false;
      if (status.ok()) status = Add(host, e);
      return true;
    });
    if (!in.Done()) return epp::Status::Invalid("matchLabels: " + in.error());
    if (!status.ok()) return epp::Status::Invalid("matchLabels: " + std::string(status.message()));
    return {};
  }

  epp::Status ReadExpressions(epp::Host host, std::string_view json) {
    epp::common::JsonReader in(json);
    if (json.empty() || in.Null()) return {};
    std::vector<Expression> expressions;
    in.Array([&] { return ReadExpression(in, &expressions.emplace_back()); });
    if (!in.Done()) return epp::Status::Invalid("matchExpressions: " + in.error());
    for (size_t i = 0; i < expressions.size(); ++i) {
      const epp::Status status = Add(host, expressions[i]);
      if (!status.ok()) {
        return epp::Status::Invalid("matchExpressions[" + std::to_string(i) +
                                    "]: " + std::string(status.message()));
      }
    }
    return {};
  }

  epp::Status Add(epp::Host host, const Expression& e) {
    if (!IsLabelKey(e.key)) {
      return epp::Status::Invalid("key: got " + Quoted(e.key) + ", want a label name");
    }
    const auto op = std::find_if(kOps.begin(), kOps.end(),
                                 [&](const auto& known) { return known.first == e.op; });
    if (op == kOps.end()) {
      return epp::Status::Invalid("operator: got " + Quoted(e.op) +
                                  ", want In, NotIn, Exists or DoesNotExist");
    }
    const bool takes_values = op->second == Op::kIn || op->second == Op::kNotIn;
    if (takes_values == e.values.empty()) {
      return epp::Status::Invalid(std::string("values: want ") + (takes_values ? "some" : "none") +
                                  " with operator " + e.op);
    }
    Term term{ColumnOf(e.key), op->second, {}};
    for (const std::string& value : e.values) {
      if (!value.empty() && !IsLabelName(value)) {
        return epp::Status::Invalid("value: got " + Quoted(value) + ", want a label value");
      }
      term.values.push_back(host.Intern(value));
    }
    terms_.push_back(std::move(term));
    return {};
  }

  uint32_t ColumnOf(const std::string& label) {
    const std::string key = "label/" + label;
    const auto at = std::find(keys_.begin(), keys_.end(), key);
    const auto column = static_cast<uint32_t>(at - keys_.begin());
    if (at == keys_.end()) keys_.push_back(key);
    return column;
  }

  // Declares one attribute a label. After this keys_ and specs_ do not change.
  void Bind() {
    specs_.reserve(keys_.size());
    for (const std::string& key : keys_) {
      specs_.push_back(epp::Needs({key.c_str(), EPP_T_SYMBOL}).spec);
      spec_pointers_.push_back(&specs_.back());
    }
  }

  std::vector<Term> terms_;
  std::vector<std::string> keys_;  // "label/NAME", by column
  std::vector<epp_attr_spec> specs_;
  std::vector<const epp_attr_spec*> spec_pointers_;
};

}  // namespace

EPP_LIBRARY("label-selector-filter", "0.1.0", LabelSelectorFilter)
