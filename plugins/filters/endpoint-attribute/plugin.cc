// endpoint-attribute-filter: keeps endpoints by comparing one of their attributes with a number.
//
//   keep[i] = value[i] OPERATOR threshold; without a value: onMissing is Pass
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace {

constexpr const char* kTypes[] = {"threshold"};
constexpr const char* kOperators[] = {"LessThan",           "LessThanOrEqual", "GreaterThan",
                                      "GreaterThanOrEqual", "Equal",           "NotEqual"};
constexpr const char* kMissing[] = {"Pass", "Fail"};

// What is no custom metric, hence no f64: integers of our own plugins and of the host.
constexpr std::array kIntegers{
    epp::attr::kWaitingQueueSize, epp::attr::kRunningRequestsSize,   epp::attr::kMaxActiveModels,
    epp::attr::kCacheBlockSize,   epp::attr::kCacheNumBlocks,        epp::attr::kInflightRequests,
    epp::attr::kInflightTokens,   epp::attr::kUncachedRequestTokens, epp::attr::kMetricsAge};

int32_t TypeOf(std::string_view key) {
  const bool integer = std::any_of(kIntegers.begin(), kIntegers.end(),
                                   [&](const auto& kind) { return key == kind.key; });
  return integer ? EPP_T_I64 : EPP_T_F64;
}

class EndpointAttributeFilter {
 public:
  static constexpr const char* kName = "endpoint-attribute-filter";
  static constexpr const char* kDoc =
      "Keeps endpoints by comparing one of their attributes with a number.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      epp::String("attribute", nullptr, "Key of the attribute.").Required(),
      epp::String("producer", nullptr,
                  "Its producer; core-metrics-extractor if absent, none if \"\"."),
      epp::String("onMissing", "Pass", "What happens to endpoints without a value.")
          .OneOf(kMissing),
      epp::Bool("fallbackOnEmpty", false, "Keep everyone rather than nobody."),
      epp::String("algorithm.type", nullptr, "How the value is judged.").Required().OneOf(kTypes),
      epp::String("algorithm.threshold.operator", nullptr, "What must hold of value and threshold.")
          .Required()
          .OneOf(kOperators),
      epp::Float("algorithm.threshold.value", 0, -epp::detail::kInf, epp::detail::kInf,
                 "The threshold.")
          .Unset()
          .Required()};
  enum Index { kAttribute, kProducer, kOnMissing, kFallback, kType, kOperator, kValue };

  static epp::Result<EndpointAttributeFilter> Create(const epp::Context& ctx) {
    const std::string_view key = ctx.str(kAttribute);
    if (key.empty()) return epp::Status::Invalid("attribute: got \"\", want a key");
    if (const size_t slash = key.find('/'); slash != key.npos && !ctx.has(kProducer)) {
      return epp::Status::Invalid("attribute: got \"" + std::string(key) +
                                  "\", want it split into attribute \"" +
                                  std::string(key.substr(0, slash)) + "\" and producer \"" +
                                  std::string(key.substr(slash + 1)) +
                                  "\" (or producer \"\" if the slash is part of the key)");
    }
    if (key.starts_with("label/") && ctx.str(kProducer).empty()) {
      return epp::Status::Invalid("attribute: got \"" + std::string(key) +
                                  "\", want a number; label-selector-filter reads labels");
    }
    return std::make_unique<EndpointAttributeFilter>(ctx);
  }

  explicit EndpointAttributeFilter(const epp::Context& ctx)
      : key_(ctx.str(kAttribute)),
        producer_(ctx.has(kProducer) ? ctx.str(kProducer) : epp::attr::kCore),
        operator_(ctx.str(kOperator)),
        threshold_(ctx.f64(kValue)),
        pass_missing_(ctx.str(kOnMissing) == kMissing[0]),
        fallback_(ctx.flag(kFallback)),
        attribute_(epp::Needs({key_.c_str(), TypeOf(key_), EPP_SCOPE_ENDPOINT,
                               producer_.empty() ? nullptr : producer_.c_str()})) {}

  const std::array<const epp_attr_spec*, 1>& Consumes() const { return consumes_; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status Filter(const epp::Call&, const epp::Candidates& in, epp::Keep& keep) const {
    const bool any = attribute_.spec.type == EPP_T_I64 ? Compare(in.column<int64_t>(0), in, keep)
                                                       : Compare(in.column<double>(0), in, keep);
    if (!any && fallback_) keep.All();
    return {};
  }

 private:
  // False when nobody stays. The operator is chosen once a call.
  template <class T>
  bool Compare(const epp::Column<T>& values, const epp::Candidates& in, epp::Keep& keep) const {
    const auto with = [&](auto holds) {
      bool any = false;
      for (size_t i = 0; i < in.size(); ++i) {
        const auto value = static_cast<double>(values[i]);
        const bool known = values.has(i) && !std::isnan(value);
        const bool stays = known ? holds(value, threshold_) : pass_missing_;
        keep.SetIf(i, stays);
        any |= stays;
      }
      return any;
    };
    if (operator_ == "LessThan") return with(std::less<>());
    if (operator_ == "LessThanOrEqual") return with(std::less_equal<>());
    if (operator_ == "GreaterThan") return with(std::greater<>());
    if (operator_ == "GreaterThanOrEqual") return with(std::greater_equal<>());
    if (operator_ == "Equal") return with(std::equal_to<>());
    return with(std::not_equal_to<>());
  }

  const std::string key_;
  const std::string producer_;  // empty: none
  const std::string operator_;  // one of kOperators
  const double threshold_;
  const bool pass_missing_;
  const bool fallback_;
  const epp::Attribute attribute_;  // its texts are key_ and producer_
  const std::array<const epp_attr_spec*, 1> consumes_{&attribute_.spec};
};

}  // namespace

EPP_LIBRARY("endpoint-attribute-filter", "0.1.0", EndpointAttributeFilter)
