// utilization-filter: keeps endpoints whose load is within limits.
//
//   keep[i] = every metric of endpoint i <= its maxValue; a metric without a value is 0
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/common/json.hpp"
#include "plugins/common/text.hpp"

namespace {

using epp::common::Quoted;
using epp::common::SameName;

constexpr const char* kLoadParam = "inFlightLoadProducerName";

struct Metric {
  std::string_view name;
  epp::Attribute attribute;
  double limit;  // of maxValue
};

constexpr double kAny = std::numeric_limits<double>::max();
constexpr std::array kMetrics{
    Metric{"active-requests", epp::Needs(epp::attr::kInflightRequests).From(kLoadParam), kAny},
    Metric{"running-requests", epp::Uses(epp::attr::kRunningRequestsSize), kAny},
    Metric{"waiting-queue", epp::Uses(epp::attr::kWaitingQueueSize), kAny},
    Metric{"kv-cache-utilization", epp::Uses(epp::attr::kKvCacheUsage), 1}};

// A condition of the config, checked. Column i belongs to condition i.
struct Condition {
  const Metric* metric;
  double max_value;
};

std::string NumberText(double v) {
  std::string text = std::to_string(v);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

// A condition as written.
struct Written {
  std::string metric;
  std::optional<double> max_value;
};

bool Read(epp::common::JsonReader& in, Written* out) {
  return in.Object([&](const std::string& field) {
    if (SameName(field, "metric")) return in.String(&out->metric);
    if (SameName(field, "maxValue")) return in.Null() || in.Number(&out->max_value.emplace());
    return in.Fail("unknown field " + Quoted(field) + ", want metric or maxValue");
  });
}

epp::Status Check(const Written& written, Condition* out) {
  const auto metric = std::find_if(kMetrics.begin(), kMetrics.end(),
                                   [&](const Metric& m) { return m.name == written.metric; });
  if (metric == kMetrics.end()) {
    return epp::Status::Invalid("metric: got " + Quoted(written.metric) +
                                ", want active-requests, running-requests, waiting-queue or "
                                "kv-cache-utilization");
  }
  if (!written.max_value) return epp::Status::Invalid("maxValue is not set and is required");
  if (*written.max_value < 0 || *written.max_value > metric->limit) {
    return epp::Status::Invalid("maxValue: got " + NumberText(*written.max_value) + ", want " +
                                (metric->limit < kAny ? "a fraction from 0 to 1" : "0 or more"));
  }
  *out = {&*metric, *written.max_value};
  return {};
}

class UtilizationFilter {
 public:
  static constexpr const char* kName = "utilization-filter";
  static constexpr const char* kDoc = "Keeps endpoints whose load is within limits.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      epp::Json("conditions", "List of {metric, maxValue}; all must hold.").Required(),
      epp::Bool("fallbackOnEmpty", false, "Keep everyone rather than nobody."),
      epp::Plugin(kLoadParam, nullptr, "Producer of active-requests.")};

  static epp::Result<UtilizationFilter> Create(const epp::Context& ctx) {
    epp::common::JsonReader in(ctx.str(0));
    std::vector<Written> written;
    if (!in.Null()) in.Array([&] { return Read(in, &written.emplace_back()); });
    if (!in.Done()) return epp::Status::Invalid("conditions: " + in.error());
    if (written.empty()) return epp::Status::Invalid("conditions: got none, want at least one");
    std::vector<Condition> conditions(written.size());
    for (size_t i = 0; i < written.size(); ++i) {
      const epp::Status status = Check(written[i], &conditions[i]);
      if (!status.ok()) {
        return epp::Status::Invalid("conditions[" + std::to_string(i) +
                                    "]: " + std::string(status.message()));
      }
    }
    return UtilizationFilter(std::move(conditions), ctx.flag(1));
  }

  std::span<const epp_attr_spec* const> Consumes() const { return consumes_; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status Filter(const epp::Call&, const epp::Candidates& in, epp::Keep& keep) const {
    bool any = false;
    for (size_t i = 0; i < in.size(); ++i) {
      bool fits = true;
      for (size_t c = 0; c < conditions_.size() && fits; ++c) fits = Holds(in, c, i);
      keep.SetIf(i, fits);
      any |= fits;
    }
    if (!any && fallback_) keep.All();
    return {};
  }

 private:
  UtilizationFilter(std::vector<Condition> conditions, bool fallback)
      : conditions_(std::move(conditions)), fallback_(fallback) {
    for (const Condition& c : conditions_) consumes_.push_back(&c.metric->attribute.spec);
  }

  bool Holds(const epp::Candidates& in, size_t column, size_t i) const {
    const Condition& c = conditions_[column];
    const auto index = static_cast<uint32_t>(column);
    const double value = c.metric->attribute.spec.type == EPP_T_F64
                             ? in.column<double>(index)[i]
                             : static_cast<double>(in.column<int64_t>(index)[i]);
    return value <= c.max_value;
  }

  std::vector<Condition> conditions_;
  bool fallback_;
  std::vector<const epp_attr_spec*> consumes_;  // of kMetrics, one a condition
};

}  // namespace

EPP_LIBRARY("utilization-filter", "0.1.0", UtilizationFilter)
