// latency-scorer: prefers endpoints by the latency that is predicted there, against the limits of
// the request.
//
// An endpoint is negative when it is predicted to miss a limit, else positive. Only one group is
// scored, the others get 0: the positive ones; or, when all are negative, those without a request
// of ours; or else the first that is not empty of: misses TPOT only, misses TTFT only, misses both.
//
//   n        = |headroom|, scaled over the group to 0..1; all equal: 0.5
//   c        = a * n(TTFT) + b * n(TPOT)         a + b = 1; a dimension that does not differ counts
//                                                only when the other does not, either
//   score[i] = (trunc((1 - c) * 100) + 1) / 100  least: close to the limit is good
//            = (trunc(c * 100) + 1) / 100        most: far from it is good; negative: always least
//
// Without any prediction: kv, queue and prefix, weighted, to two digits.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "plugins/common/attributes.hpp"

namespace {

constexpr const char* kLatencyParam = "latencyPredictionInfoProducerName";
constexpr const char* kPrefixParam = "prefixMatchInfoProducerName";
constexpr double kSameRange = 1e-9;    // ms; what differs by less does not differ
constexpr double kMaxHeadroom = 1e15;  // ms; so that a range is finite
constexpr double kAny = epp::detail::kInf;

// Weights of two or three things, normalised to the sum 1.
struct HeadroomWeights {
  double ttft;
  double tpot;
};
struct CompositeWeights {
  double kv;
  double queue;
  double prefix;
};

// Which endpoints are scored. In the order of preference.
enum class Group { kPositive, kIdle, kTpotMissed, kTtftMissed, kBothMissed };

// Of one endpoint, ms. Without a prediction it is exactly at its limits.
struct Headroom {
  double ttft = 0;
  double tpot = 0;

  bool Negative() const { return ttft < 0 || tpot < 0; }
};

class Predictions {
 public:
  explicit Predictions(const epp::Candidates& in)
      : ttft_(in.column<double>(0)),
        tpot_(in.column<double>(1)),
        dispatched_(in.column<int64_t>(2)) {}

  bool Known(size_t i) const {
    return ttft_.has(i) && tpot_.has(i) && !std::isnan(ttft_[i]) && !std::isnan(tpot_[i]);
  }
  Headroom operator[](size_t i) const {
    return Known(i) ? Headroom{Bounded(ttft_[i]), Bounded(tpot_[i])} : Headroom{};
  }
  // Endpoint i is h. All but kPositive are asked for only when everybody is negative.
  bool In(Group group, size_t i, Headroom h) const {
    switch (group) {
      case Group::kPositive:
        return !h.Negative();
      case Group::kIdle:
        return Idle(i);
      case Group::kTpotMissed:
        return h.ttft >= 0;
      case Group::kTtftMissed:
        return h.tpot >= 0;
      case Group::kBothMissed:
        return h.ttft < 0 && h.tpot < 0;
    }
    return false;
  }
  // The best group that somebody is in. n is at least 1.
  Group Best(size_t n) const {
    bool idle = false;
    bool tpot_missed = false;
    bool ttft_missed = false;
    for (size_t i = 0; i < n; ++i) {
      const Headroom h = (*this)[i];
      if (!h.Negative()) return Group::kPositive;
      idle |= Idle(i);
      tpot_missed |= h.ttft >= 0;
      ttft_missed |= h.tpot >= 0;
    }
    if (idle) return Group::kIdle;
    if (tpot_missed) return Group::kTpotMissed;
    return ttft_missed ? Group::kTtftMissed : Group::kBothMissed;
  }

 private:
  bool Idle(size_t i) const { return dispatched_[i] <= 0; }
  static double Bounded(double ms) { return std::clamp(ms, -kMaxHeadroom, kMaxHeadroom); }

  const epp::Column<double> ttft_;
  const epp::Column<double> tpot_;
  const epp::Column<int64_t> dispatched_;
};

// The distances to one limit over a group.
struct Spread {
  double min = HUGE_VAL;
  double max = 0;

  void Add(double headroom) {
    min = std::min(min, std::abs(headroom));
    max = std::max(max, std::abs(headroom));
  }
  bool Flat() const { return max - min <= kSameRange; }
  double Scaled(double headroom) const {
    return Flat() ? 0.5 : (std::abs(headroom) - min) / (max - min);
  }
};

class LatencyScorer {
 public:
  static constexpr const char* kName = "latency-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by their predicted latency, relative to the limits of the request.";
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kParams{
      epp::Float("ttftWeight", 0.8, -kAny, kAny, "Weight of the time to the first token."),
      epp::Float("tpotWeight", 0.2, -kAny, kAny, "Weight of the time per output token."),
      epp::String("headroomSelectionStrategy", "least",
                  "least: close to the limit is good; most: far from it is."),
      epp::Float("compositeKVWeight", 1, -kAny, kAny, "Without predictions: free KV cache."),
      epp::Float("compositeQueueWeight", 1, -kAny, kAny, "Without predictions: short queue."),
      epp::Float("compositePrefixWeight", 1, -kAny, kAny, "Without predictions: cached prefix."),
      epp::Plugin(kLatencyParam, nullptr, "Producer of the predictions."),
      epp::Plugin(kPrefixParam, nullptr, "Producer of the match information.")};
  static constexpr std::array kConsumes{
      epp::Needs(epp::common::kLatencyTtftHeadroom).From(kLatencyParam),
      epp::Needs(epp::common::kLatencyTpotHeadroom).From(kLatencyParam),
      epp::Needs(epp::common::kLatencyDispatched).From(kLatencyParam),
      epp::Needs(epp::attr::kKvCacheUsage),
      epp::Needs(epp::attr::kWaitingQueueSize),
      epp::Needs(epp::attr::kPrefixMatchBlocks).From(kPrefixParam),
      epp::Needs(epp::attr::kPrefixTotalBlocks).From(kPrefixParam)};

  static epp::Result<LatencyScorer> Create(const epp::Context& ctx) {
    const std::string_view strategy = ctx.str(2);
    if (strategy != "least" && strategy != "most") {
      ctx.host().Log(EPP_LOG_WARN, "headroomSelectionStrategy: got \"" + std::string(strategy) +
                                       "\", want least or most; using least");
    }
    return LatencyScorer(Normalised(HeadroomWeights{ctx.f64(0), ctx.f64(1)}), strategy == "most",
                         Normalised(CompositeWeights{ctx.f64(3), ctx.f64(4), ctx.f64(5)}));
  }

  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    if (out.empty()) return {};
    const Predictions predictions(in);
    size_t i = 0;
    while (i < out.size() && !predictions.Known(i)) ++i;
    if (i == out.size()) {
      ScoreComposite(call, in, out);
    } else {
      ScoreGroup(predictions, predictions.Best(out.size()), out);
    }
    return {};
  }

 private:
  LatencyScorer(HeadroomWeights headroom, bool most, CompositeWeights composite)
      : headroom_(headroom), most_(most), composite_(composite) {}

  static HeadroomWeights Normalised(HeadroomWeights w) {
    const double sum = w.ttft + w.tpot;
    if (!(sum > 0) || std::isinf(sum)) return {1, 0};
    return {w.ttft / sum, w.tpot / sum};
  }
  static CompositeWeights Normalised(CompositeWeights w) {
    const double sum = w.kv + w.queue + w.prefix;
    if (!(sum > 0) || std::isinf(sum)) return {1, 0, 0};
    return {w.kv / sum, w.queue / sum, w.prefix / sum};
  }

  void ScoreGroup(const Predictions& predictions, Group group, std::span<double> out) const {
    Spread ttft;
    Spread tpot;
    for (size_t i = 0; i < out.size(); ++i) {
      const Headroom h = predictions[i];
      if (!predictions.In(group, i, h)) continue;
      ttft.Add(h.ttft);
      tpot.Add(h.tpot);
    }
    HeadroomWeights w = headroom_;
    if (ttft.Flat() != tpot.Flat()) w = ttft.Flat() ? HeadroomWeights{0, 1} : HeadroomWeights{1, 0};
    const bool most = most_ && group == Group::kPositive;
    for (size_t i = 0; i < out.size(); ++i) {
      const Headroom h = predictions[i];
      if (!predictions.In(group, i, h)) continue;
      const double c = w.ttft * ttft.Scaled(h.ttft) + w.tpot * tpot.Scaled(h.tpot);
      const double percent = std::trunc((most ? c : 1 - c) * 100) + 1;  // 1 to 101
      out[i] = std::clamp(percent / 100, 0.0, 1.0);
    }
  }

  void ScoreComposite(const epp::Call& call, const epp::Candidates& in,
                      std::span<double> out) const {
    const auto kv = in.column<double>(3);
    const auto queue = in.column<int64_t>(4);
    const auto match = in.column<int64_t>(5);
    const auto total = static_cast<double>(call.column<int64_t>(0)[0]);
    double longest = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      longest = std::max(longest, static_cast<double>(queue[i]));
    }
    for (size_t i = 0; i < out.size(); ++i) {
      const double room = longest > 0 ? (longest - static_cast<double>(queue[i])) / longest : 1;
      const double cached =
          total > 0 ? std::clamp(static_cast<double>(match[i]) / total, 0.0, 1.0) : 0;
      const double c =
          composite_.kv * (1 - kv[i]) + composite_.queue * room + composite_.prefix * cached;
      out[i] = std::isfinite(c) ? std::clamp(std::round(c * 100) / 100, 0.0, 1.0) : 0;
    }
  }

  HeadroomWeights headroom_;
  bool most_;
  CompositeWeights composite_;
};

}  // namespace

EPP_LIBRARY("latency-scorer", "0.1.0", LatencyScorer)
