// queue-scorer: prefers endpoints with a short waiting queue.
//
//   score[i] = (max - queue[i]) / (max - min)    over the candidates; all equal: 1
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace {

class QueueScorer {
 public:
  static constexpr const char* kName = "queue-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by waiting queue, relative to the candidates: longest 0, shortest 1.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kWaitingQueueSize)};

  static epp::Result<QueueScorer> Create(const epp::Context&) { return QueueScorer(); }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto column = in.column<int64_t>(0);
    const std::span<const int64_t> queue = column.values();
    if (queue.empty()) return {};
    const auto [lo, hi] = std::minmax_element(queue.begin(), queue.end());
    // In double, because the difference of two int64 may not fit one.
    const double max = static_cast<double>(*hi);
    const double range = max - static_cast<double>(*lo);
    for (size_t i = 0; i < queue.size(); ++i) {
      out[i] = range > 0 ? (max - static_cast<double>(queue[i])) / range : 1.0;
    }
    return {};
  }
};

}  // namespace

EPP_LIBRARY("queue-scorer", "0.1.0", QueueScorer)
