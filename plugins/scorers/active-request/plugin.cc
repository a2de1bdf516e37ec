// active-request-scorer: prefers endpoints on which few requests of ours are in flight.
//
//   score[i] = 1                                    n[i] <= idleThreshold
//            = (max - n[i]) / max * maxBusyScore    otherwise
//
// n is the number of requests in flight, max the largest among the candidates.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace {

constexpr const char* kProducerParam = "inFlightLoadProducerName";
constexpr double kDefaultBusyScore = 1.0;

class ActiveRequestScorer {
 public:
  static constexpr const char* kName = "active-request-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by requests in flight, relative to the candidates; the busiest gets 0.";
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kParams{
      epp::Int("idleThreshold", 0, -0x1p63, 0x1p63,
               "Endpoints with this many requests or fewer are idle; below 0 means 0."),
      epp::Float(
          "maxBusyScore", kDefaultBusyScore, -epp::detail::kInf, epp::detail::kInf,
          "Upper bound of the score of endpoints that are not idle; outside 0 to 1 means 1."),
      epp::Plugin(kProducerParam, nullptr, "Producer of the load."),
      epp::String("requestTimeout", nullptr, "Has no effect any more.").Ignored().Deprecated()};
  static constexpr std::array kConsumes{
      epp::Needs(epp::attr::kInflightRequests).From(kProducerParam)};

  static epp::Result<ActiveRequestScorer> Create(const epp::Context& ctx) {
    const double busy = ctx.f64(1);
    return ActiveRequestScorer(static_cast<double>(std::max<int64_t>(ctx.i64(0), 0)),
                               busy >= 0 && busy <= 1 ? busy : kDefaultBusyScore);
  }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto column = in.column<int64_t>(0);
    const std::span<const int64_t> requests = column.values();
    if (requests.empty()) return {};
    const auto max = static_cast<double>(*std::max_element(requests.begin(), requests.end()));
    for (size_t i = 0; i < requests.size(); ++i) {
      const auto n = static_cast<double>(requests[i]);
      // Here max >= n > 0.
      out[i] = n <= idle_ ? 1.0 : (max - n) / max * busy_;
    }
    return {};
  }

 private:
  ActiveRequestScorer(double idle, double busy) : idle_(idle), busy_(busy) {}
  double idle_;  // requests, at least 0
  double busy_;  // [0, 1]
};

}  // namespace

EPP_LIBRARY("active-request-scorer", "0.1.0", ActiveRequestScorer)
