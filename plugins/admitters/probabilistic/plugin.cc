// probabilistic-admitter: denies sheddable requests, the more often the busier the endpoints are.
//
//   load[i] = max(queue[i] / queueDepthThreshold, kv[i] / kvCacheUtilThreshold)   no metrics: 1
//   p       = min(mean(load) ^ power * k, 1)
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace {

class ProbabilisticAdmitter {
 public:
  static constexpr const char* kName = "probabilistic-admitter";
  static constexpr const char* kDoc =
      "Denies requests of negative priority at random, the more often the busier the endpoints "
      "are.";
  static constexpr double kMost = 1e12;
  static constexpr std::array kParams{
      epp::Float("queueDepthThreshold", 5, 0, kMost, "Waiting requests of a full endpoint."),
      epp::Float("kvCacheUtilThreshold", 0.8, 0, kMost, "KV-cache use of a full endpoint."),
      epp::Float("power", 5, 0, kMost, "How steeply the probability rises with the load."),
      epp::Float("k", 300, 0, kMost, "Probability at full load, as a factor; above 1 denies all.")};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kWaitingQueueSize),
                                        epp::Needs(epp::attr::kKvCacheUsage)};

  static epp::Result<ProbabilisticAdmitter> Create(const epp::Context& ctx) {
    for (size_t i = 0; i < kParams.size(); ++i) {
      if (ctx.f64(i) > 0) continue;
      return epp::Status::Invalid(std::string(kParams[i].spec.name) + ": got " +
                                  std::to_string(ctx.f64(i)) + ", want more than 0");
    }
    return ProbabilisticAdmitter(ctx);
  }

  epp::Status Admit(const epp::Call& call, const epp::Candidates& in) const {
    if (call.request().priority >= 0 || in.size() == 0) return {};
    const auto queue = in.column<int64_t>(0);
    const auto kv = in.column<double>(1);
    double sum = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      sum += queue.has(i) || kv.has(i)
                 ? std::max(static_cast<double>(queue[i]) / queue_, kv[i] / kv_)
                 : 1.0;
    }
    const double load = sum / static_cast<double>(in.size());
    const double deny = std::pow(load, power_) * k_;
    // Not a number: no load is known.
    if (std::isnan(deny) || !(host_.random_unit() < std::min(deny, 1.0))) return {};
    return {EPP_RESOURCE_EXHAUSTED, "the endpoints are too busy for a request of this priority"};
  }

 private:
  explicit ProbabilisticAdmitter(const epp::Context& ctx)
      : host_(ctx.host()),
        queue_(ctx.f64(0)),
        kv_(ctx.f64(1)),
        power_(ctx.f64(2)),
        k_(ctx.f64(3)) {}

  epp::Host host_;
  double queue_;
  double kv_;
  double power_;
  double k_;
};

}  // namespace

EPP_LIBRARY("probabilistic-admitter", "0.1.0", ProbabilisticAdmitter)
