// by-label: keeps endpoints by the value of one label; and the role filters of disaggregated
// serving, which are by-label with a fixed label and values.
//
//   keep[i] = label is absent ? allowsNoLabel or "" is valid : value is valid
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view kRoleLabel = "llm-d.ai/role";

// One label and the values that stay. Immovable: the attribute's key points into it.
class LabelRule {
 public:
  LabelRule(std::string_view label, bool keep_absent) : key_("label/"), keep_absent_(keep_absent) {
    key_ += label;
    attribute_ = epp::Needs({key_.c_str(), EPP_T_SYMBOL});
  }
  LabelRule(const LabelRule&) = delete;
  LabelRule& operator=(const LabelRule&) = delete;

  void Allow(epp::Host host, std::string_view value) {
    valid_.push_back(host.Intern(value));
    keep_absent_ |= value.empty();  // an absent label reads as ""
  }

  std::span<const epp_attr_spec* const> attributes() const { return attributes_; }

  // Column 0 is the label: a symbol, 0 where the endpoint has no such label.
  void Apply(const epp::Candidates& in, epp::Keep& keep) const {
    const auto value = in.column<uint32_t>(0);
    for (size_t i = 0; i < in.size(); ++i) {
      const uint32_t v = value[i];
      keep.SetIf(i, v == 0 ? keep_absent_ : Valid(v));
    }
  }

 private:
  bool Valid(uint32_t symbol) const {
    return std::find(valid_.begin(), valid_.end(), symbol) != valid_.end();
  }

  std::string key_;
  epp::Attribute attribute_;
  std::array<const epp_attr_spec*, 1> attributes_{&attribute_.spec};
  std::vector<uint32_t> valid_;
  bool keep_absent_;
};

// What the four types share. Derived supplies the names and Create.
class LabelFilter {
 public:
  explicit LabelFilter(std::unique_ptr<LabelRule> rule) : rule_(std::move(rule)) {}

  std::span<const epp_attr_spec* const> Consumes() const { return rule_->attributes(); }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status Filter(const epp::Call&, const epp::Candidates& in, epp::Keep& keep) const {
    rule_->Apply(in, keep);
    return {};
  }

 protected:
  static std::unique_ptr<LabelRule> Roles(epp::Host host, bool keep_absent,
                                          std::initializer_list<std::string_view> roles) {
    auto rule = std::make_unique<LabelRule>(kRoleLabel, keep_absent);
    for (const std::string_view role : roles) rule->Allow(host, role);
    return rule;
  }

 private:
  std::unique_ptr<LabelRule> rule_;
};

class ByLabel : public LabelFilter {
 public:
  static constexpr const char* kName = "by-label";
  static constexpr const char* kDoc = "Keeps endpoints whose label has one of the given values.";
  static constexpr const char* kDeprecated = "use label-selector-filter";
  static constexpr std::array kParams{
      epp::String("label", nullptr, "Name of the label.").Required(),
      epp::StringList("validValues", "Values that stay; \"\" also means an absent label."),
      epp::Bool("allowsNoLabel", false, "Keep endpoints without the label.")};
  using LabelFilter::LabelFilter;

  static epp::Result<ByLabel> Create(const epp::Context& ctx) {
    if (ctx.str(0).empty()) return epp::Status::Invalid("label: got \"\", want a label name");
    if (ctx.list(1).empty() && !ctx.flag(2)) {
      return epp::Status::Invalid("validValues: got none, want some unless allowsNoLabel is true");
    }
    auto rule = std::make_unique<LabelRule>(ctx.str(0), ctx.flag(2));
    for (const epp_str value : ctx.list(1)) rule->Allow(ctx.host(), epp::View(value));
    return ByLabel(std::move(rule));
  }
};

class DecodeFilter : public LabelFilter {
 public:
  static constexpr const char* kName = "decode-filter";
  static constexpr const char* kDoc = "Keeps endpoints that decode, and those without a role.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  using LabelFilter::LabelFilter;

  static epp::Result<DecodeFilter> Create(const epp::Context& ctx) {
    return DecodeFilter(
        Roles(ctx.host(), true, {"decode", "prefill-decode", "both", "encode-prefill-decode"}));
  }
};

class PrefillFilter : public LabelFilter {
 public:
  static constexpr const char* kName = "prefill-filter";
  static constexpr const char* kDoc = "Keeps endpoints that prefill.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  using LabelFilter::LabelFilter;

  static epp::Result<PrefillFilter> Create(const epp::Context& ctx) {
    return PrefillFilter(
        Roles(ctx.host(), false,
              {"prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"}));
  }
};

class EncodeFilter : public LabelFilter {
 public:
  static constexpr const char* kName = "encode-filter";
  static constexpr const char* kDoc = "Keeps endpoints that encode.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  using LabelFilter::LabelFilter;

  static epp::Result<EncodeFilter> Create(const epp::Context& ctx) {
    return EncodeFilter(
        Roles(ctx.host(), false, {"encode", "encode-prefill", "encode-prefill-decode"}));
  }
};

}  // namespace

EPP_LIBRARY("by-label", "0.1.0", ByLabel, DecodeFilter, PrefillFilter, EncodeFilter)
