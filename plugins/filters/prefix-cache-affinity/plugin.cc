// prefix-cache-affinity-filter: keeps the endpoints that hold most of the prompt's prefix, unless
// waiting for them would take too long.
//
//   sticky[i] = match[i] / total >= affinityThreshold
//   ttft[i]   = tokens in flight / peakPrefillThroughput * 1000, or what the model predicts
//
// The sticky ones stay, but everyone does when at most one candidate is there, when the filter is
// off (threshold <= 0), when it explores, when nobody is sticky, and when
// min ttft of the sticky - min ttft of the others > maxTTFTPenaltyMs > 0.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "plugins/common/attributes.hpp"

namespace {

constexpr const char* kPrefixParam = "prefixMatchInfoProducerName";
constexpr const char* kLatencyParam = "latencyPredictionInfoProducerName";
constexpr const char* kLoadParam = "inFlightLoadProducerName";
constexpr const char* kSources[] = {"prefillThroughput", "latencyPredictor"};

constexpr epp::Attribute kMatch = epp::Needs(epp::attr::kPrefixMatchBlocks).From(kPrefixParam);
constexpr epp::Attribute kTotal = epp::Needs(epp::attr::kPrefixTotalBlocks).From(kPrefixParam);
constexpr epp::Attribute kTokens = epp::Needs(epp::attr::kInflightTokens).From(kLoadParam);
constexpr epp::Attribute kTtft = epp::Needs(epp::common::kLatencyTtft).From(kLatencyParam);

class PrefixCacheAffinityFilter {
 public:
  static constexpr const char* kName = "prefix-cache-affinity-filter";
  static constexpr const char* kDoc =
      "Keeps endpoints that hold the prompt's prefix, unless others would answer much sooner.";
  static constexpr std::array kParams{
      epp::Float("affinityThreshold", 0.80, -epp::detail::kInf, 1,
                 "Share of the prompt that must be cached; 0 or less turns the filter off."),
      epp::Float("explorationProbability", 0, 0, 1, "Share of requests that keep everyone."),
      epp::Float("maxTTFTPenaltyMs", 18000, 0, 1e15,
                 "How much later the first token may come for affinity's sake; 0: any time."),
      epp::String("ttftSource", "prefillThroughput", "Where the expected time comes from.")
          .OneOf(kSources),
      epp::Float("peakPrefillThroughput", 15928, 0, 1e15, "Tokens per second of one endpoint."),
      epp::Plugin(kPrefixParam, nullptr, "Producer of the match information."),
      epp::Plugin(kLatencyParam, nullptr, "Producer of the predictions."),
      epp::Plugin(kLoadParam, nullptr, "Producer of the load in flight.")};
  enum Index { kThreshold, kExploration, kPenalty, kSource, kPeak };

  static epp::Result<PrefixCacheAffinityFilter> Create(const epp::Context& ctx) {
    const bool gate = ctx.f64(kPenalty) > 0;
    const bool predict = ctx.str(kSource) == kSources[1];
    if (gate && !predict && ctx.f64(kPeak) <= 0) {
      return epp::Status::Invalid(
          "peakPrefillThroughput: got 0, want more because maxTTFTPenaltyMs is above 0");
    }
    return PrefixCacheAffinityFilter(ctx, gate, predict);
  }

  // Column 0 is the match, column 1, if there is a gate, what the time to first token comes from.
  std::span<const epp_attr_spec* const> Consumes() const { return consumes_; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status Filter(const epp::Call& call, const epp::Candidates& in, epp::Keep& keep) const {
    if (in.size() <= 1 || threshold_ <= 0 || Explores()) return keep.All(), epp::Status();
    const auto match = in.column<int64_t>(0);
    const auto total = static_cast<double>(call.column<int64_t>(0)[0]);
    const auto sticky = [&](size_t i) {
      return total > 0 && static_cast<double>(match[i]) / total >= threshold_;
    };
    size_t stay = 0;
    for (size_t i = 0; i < in.size(); ++i) stay += sticky(i);
    if (stay == 0 || (stay < in.size() && TooLate(in, sticky))) {
      keep.All();
      return {};
    }
    for (size_t i = 0; i < in.size(); ++i) keep.SetIf(i, sticky(i));
    return {};
  }

 private:
  PrefixCacheAffinityFilter(const epp::Context& ctx, bool gate, bool predict)
      : host_(ctx.host()),
        threshold_(ctx.f64(kThreshold)),
        exploration_(ctx.f64(kExploration)),
        penalty_ms_(ctx.f64(kPenalty)),
        peak_(ctx.f64(kPeak)),
        gate_(gate),
        predict_(predict) {
    consumes_ = {&kMatch.spec, &kTotal.spec};
    if (gate) consumes_.push_back(predict ? &kTtft.spec : &kTokens.spec);
  }

  bool Explores() const { return exploration_ > 0 && host_.random_unit() < exploration_; }

  // Both kinds of candidates are there.
  template <class Sticky>
  bool TooLate(const epp::Candidates& in, const Sticky& sticky) const {
    if (!gate_) return false;
    if (predict_) {
      const auto predicted = in.column<double>(1);
      return Late(in.size(), sticky, [&](size_t i) {
        return predicted.has(i) && std::isfinite(predicted[i]) ? predicted[i] : kNever;
      });
    }
    const auto tokens = in.column<int64_t>(1);
    return Late(in.size(), sticky,
                [&](size_t i) { return static_cast<double>(tokens[i]) / peak_ * 1000.0; });
  }

  template <class Sticky, class Ttft>
  bool Late(size_t n, const Sticky& sticky, const Ttft& ttft_ms) const {
    double best_sticky = kNever, best_other = kNever;
    for (size_t i = 0; i < n; ++i) {
      double& best = sticky(i) ? best_sticky : best_other;
      best = std::min(best, ttft_ms(i));
    }
    return best_sticky - best_other > penalty_ms_;
  }

  static constexpr double kNever = std::numeric_limits<double>::max();

  epp::Host host_;
  double threshold_;
  double exploration_;
  double penalty_ms_;
  double peak_;  // tokens a second; above 0 when it is used
  bool gate_;
  bool predict_;
  std::vector<const epp_attr_spec*> consumes_;  // of constants
};

}  // namespace

EPP_LIBRARY("prefix-cache-affinity-filter", "0.1.0", PrefixCacheAffinityFilter)
