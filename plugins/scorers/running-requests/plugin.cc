// running-requests-size-scorer: prefers endpoints with a few running requests.
//
//   score[i] = (max - running[i]) / (max - min)    over the candidates; all equal: 1
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace {

class RunningRequestsScorer {
 public:
  static constexpr const char* kName = "running-requests-size-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by running requests, relative to the candidates: most 0, fewest 1.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kRunningRequestsSize)};

  static epp::Result<RunningRequestsScorer> Create(const epp::Context&) {
    return RunningRequestsScorer();
  }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto column = in.column<int64_t>(0);
    const std::span<const int64_t> running = column.values();
    if (running.empty()) return {};
    const auto [lo, hi] = std::minmax_element(running.begin(), running.end());
    // In double, because the difference of two int64 may not fit one.
    const double max = static_cast<double>(*hi);
    const double range = max - static_cast<double>(*lo);
    for (size_t i = 0; i < running.size(); ++i) {
      out[i] = range > 0 ? (max - static_cast<double>(running[i])) / range : 1.0;
    }
    return {};
  }
};

}  // namespace

EPP_LIBRARY("running-requests-size-scorer", "0.1.0", RunningRequestsScorer)
