// endpoint-attribute-scorer: scores endpoints by one number that something else provides.
//
//   n[i]     = clamp((v[i] - min) / (max - min), 0, 1)
//   score[i] = n[i]        linear_higher_is_better
//            = 1 - n[i]    linear_lower_is_better
//            = 0           no value
//
// min and max are fixed, or those of the candidates that have a value; all of them equal: 1.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "plugins/common/scorer_attributes.hpp"

namespace {

constexpr std::string_view kLowerIsBetter = "linear_lower_is_better";
constexpr const char* kAlgorithms[] = {"linear_lower_is_better", "linear_higher_is_better"};
constexpr double kMaxNumber = 1e300;  // so that a range is finite

struct Bounds {
  double min;
  double max;
};

// Immovable: the attribute's key and producer point into it.
class EndpointAttributeScorer {
 public:
  static constexpr const char* kName = "endpoint-attribute-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by one numeric attribute, scaled over a fixed range or the candidates.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kParams{
      epp::String("attributeKey", nullptr, "Name of the attribute.").Required(),
      epp::String(
          "producer", nullptr,
          "Who produces it, core-metrics-extractor if not set; \"\": a key without producer."),
      epp::String("algorithm.type", nullptr, "Which end of the scale is good.")
          .OneOf(kAlgorithms)
          .Required(),
      epp::Float("algorithm.normalization.fixedRange.min", 0, -kMaxNumber, kMaxNumber,
                 "Value at the lower end of the scale; 0 if only max is set.")
          .Unset(),
      epp::Float("algorithm.normalization.fixedRange.max", 0, -kMaxNumber, kMaxNumber,
                 "Value at the upper end of the scale; 0 if only min is set.")
          .Unset(),
      epp::Json("algorithm.normalization.adaptiveRange",
                "{}: scale over the candidates; the default without fixedRange.")};
  enum Param { kKey, kProducer, kAlgorithm, kMin, kMax, kAdaptive };

  static epp::Result<EndpointAttributeScorer> Create(const epp::Context& ctx) {
    const std::string_view key = ctx.str(kKey);
    if (key.empty()) return epp::Status::Invalid("attributeKey: got \"\", want a name");
    const size_t slash = key.find('/');
    if (slash != key.npos && !ctx.has(kProducer)) {
      return epp::Status::Invalid(
          "attributeKey: got \"" + std::string(key) + "\", want producer: \"" +
          std::string(key.substr(slash + 1)) +
          "\" in a parameter of its own, or producer: \"\" if the / is part "
          "of the name");
    }
    if (key.starts_with("label/") && ctx.str(kProducer).empty()) {
      return epp::Status::Invalid("attributeKey: got \"" + std::string(key) +
                                  "\", want a number; header-label-affinity-scorer reads labels");
    }
    std::optional<Bounds> fixed;
    if (ctx.has(kMin) || ctx.has(kMax)) {
      fixed = {ctx.has(kMin) ? ctx.f64(kMin) : 0, ctx.has(kMax) ? ctx.f64(kMax) : 0};
      if (ctx.has(kAdaptive)) {
        return epp::Status::Invalid(
            "algorithm.normalization: got fixedRange and adaptiveRange, want one of them");
      }
      if (!(fixed->min < fixed->max)) {
        return epp::Status::Invalid("algorithm.normalization.fixedRange: got min " +
                                    std::to_string(fixed->min) + " and max " +
                                    std::to_string(fixed->max) + ", want min below max");
      }
    }
    if (ctx.has(kAdaptive) && ctx.str(kAdaptive) != "{}") {
      return epp::Status::Invalid("algorithm.normalization.adaptiveRange: got " +
                                  std::string(ctx.str(kAdaptive)) + ", want {}");
    }
    return std::make_unique<EndpointAttributeScorer>(
        key, ctx.has(kProducer) ? ctx.str(kProducer) : epp::attr::kCore,
        ctx.str(kAlgorithm) == kLowerIsBetter, fixed);
  }

  EndpointAttributeScorer(std::string_view key, std::string_view producer, bool lower_is_better,
                          std::optional<Bounds> fixed)
      : key_(key), producer_(producer), lower_is_better_(lower_is_better), fixed_(fixed) {}
  EndpointAttributeScorer(const EndpointAttributeScorer&) = delete;
  EndpointAttributeScorer& operator=(const EndpointAttributeScorer&) = delete;

  const std::array<const epp_attr_spec*, 1>& Consumes() const { return consumes_; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    if (attribute_.spec.type == EPP_T_I64) {
      Rate(in.column<int64_t>(0), out);
    } else {
      Rate(in.column<double>(0), out);
    }
    return {};
  }

 private:
  template <class T>
  static std::optional<double> ValueOf(const epp::Column<T>& column, size_t i) {
    const auto value = static_cast<double>(column[i]);
    if (!column.has(i) || !std::isfinite(value)) return std::nullopt;
    return value;
  }

  template <class T>
  static Bounds Over(const epp::Column<T>& column, size_t n) {
    Bounds bounds{HUGE_VAL, -HUGE_VAL};
    for (size_t i = 0; i < n; ++i) {
      const std::optional<double> value = ValueOf(column, i);
      if (!value) continue;
      bounds.min = std::min(bounds.min, *value);
      bounds.max = std::max(bounds.max, *value);
    }
    return bounds;
  }

  template <class T>
  void Rate(const epp::Column<T>& column, std::span<double> out) const {
    const Bounds bounds = fixed_ ? *fixed_ : Over(column, out.size());
    // Halves, because the difference of two doubles may not fit one.
    const double range = bounds.max / 2 - bounds.min / 2;
    for (size_t i = 0; i < out.size(); ++i) {
      const std::optional<double> value = ValueOf(column, i);
      if (!value) continue;
      if (!(range > 0)) {
        out[i] = 1.0;
        continue;
      }
      const double n = std::clamp((*value / 2 - bounds.min / 2) / range, 0.0, 1.0);
      out[i] = lower_is_better_ ? 1.0 - n : n;
    }
  }

  const std::string key_;
  const std::string producer_;  // empty: none
  const bool lower_is_better_;
  const std::optional<Bounds> fixed_;
  const epp::Attribute attribute_ =
      epp::Needs({key_.c_str(), epp::common::NumberType(key_), EPP_SCOPE_ENDPOINT,
                  producer_.empty() ? nullptr : producer_.c_str()});
  const std::array<const epp_attr_spec*, 1> consumes_{&attribute_.spec};
};

}  // namespace

EPP_LIBRARY("endpoint-attribute-scorer", "0.1.0", EndpointAttributeScorer)
