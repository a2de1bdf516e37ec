// slo-headroom-tier-filter: keeps the endpoints that are predicted to meet the latency objectives.
//
//   positive[i] = predicted, ttftHeadroom >= 0 and tpotHeadroom >= 0
//   negative[i] = everyone else, those without a prediction included
//
// Positive stay, but with probability epsilonExploreNeg negative do. A tier without members never
// wins, and nobody is dropped when nobody has a prediction.
#include "epp/plugin.hpp"

#include <array>
#include <cstddef>

#include "plugins/common/attributes.hpp"

namespace {

constexpr const char* kProducerParam = "latencyPredictionInfoProducerName";

class SloHeadroomTierFilter {
 public:
  static constexpr const char* kName = "slo-headroom-tier-filter";
  static constexpr const char* kDoc =
      "Keeps endpoints that are predicted to meet the request's latency objectives.";
  static constexpr std::array kParams{
      epp::Float("epsilonExploreNeg", 0.01, 0, 1,
                 "Share of requests that keep the other endpoints instead."),
      epp::Plugin(kProducerParam, nullptr, "Producer of the predictions.")};
  static constexpr std::array kConsumes{
      epp::Needs(epp::common::kLatencyTtftHeadroom).From(kProducerParam),
      epp::Needs(epp::common::kLatencyTpotHeadroom).From(kProducerParam)};

  static epp::Result<SloHeadroomTierFilter> Create(const epp::Context& ctx) {
    return SloHeadroomTierFilter(ctx.host(), ctx.f64(0));
  }

  epp::Status Filter(const epp::Call&, const epp::Candidates& in, epp::Keep& keep) const {
    const auto ttft = in.column<double>(0);
    const auto tpot = in.column<double>(1);
    const auto predicted = [&](size_t i) { return ttft.has(i) && tpot.has(i); };
    const auto positive = [&](size_t i) { return predicted(i) && ttft[i] >= 0 && tpot[i] >= 0; };
    size_t meets = 0;
    for (size_t i = 0; i < in.size(); ++i) meets += positive(i);
    // Of one tier everyone stays: that covers no predictions, and a single candidate.
    if (meets == 0 || meets == in.size()) {
      keep.All();
      return {};
    }
    const bool explore = epsilon_ > 0 && host_.random_unit() < epsilon_;
    for (size_t i = 0; i < in.size(); ++i) keep.SetIf(i, positive(i) != explore);
    return {};
  }

 private:
  SloHeadroomTierFilter(epp::Host host, double epsilon) : host_(host), epsilon_(epsilon) {}
  epp::Host host_;
  double epsilon_;
};

}  // namespace

EPP_LIBRARY("slo-headroom-tier-filter", "0.1.0", SloHeadroomTierFilter)
