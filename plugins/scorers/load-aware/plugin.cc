// load-aware-scorer: prefers endpoints whose waiting queue is far below a threshold.
//
//   score[i] = 0.5                                               queue[i] is 0
//            = 0.5 * (1 - min(queue[i], threshold) / threshold)  otherwise
//
// The best score is 0.5, so beside scorers that reach 1 its weight counts half.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace {

constexpr int64_t kDefaultThreshold = 128;

class LoadAwareScorer {
 public:
  static constexpr const char* kName = "load-aware-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints from 0.5 (nothing waits) down to 0 (threshold or more requests wait).";
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kParams{
      epp::Int("threshold", kDefaultThreshold, -0x1p63, 0x1p63,
               "Waiting requests at which the score reaches 0; 0 or less means the default.")};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kWaitingQueueSize)};

  static epp::Result<LoadAwareScorer> Create(const epp::Context& ctx) {
    return LoadAwareScorer(ctx.i64(0) > 0 ? ctx.i64(0) : kDefaultThreshold);
  }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto queue = in.column<int64_t>(0);
    for (size_t i = 0; i < out.size(); ++i) {
      const double waiting = std::clamp(static_cast<double>(queue[i]), 0.0, threshold_);
      out[i] = 0.5 * (1.0 - waiting / threshold_);
    }
    return {};
  }

 private:
  explicit LoadAwareScorer(int64_t threshold) : threshold_(static_cast<double>(threshold)) {}
  double threshold_;  // requests, at least 1
};

}  // namespace

EPP_LIBRARY("load-aware-scorer", "0.1.0", LoadAwareScorer)
