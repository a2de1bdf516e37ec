// multicluster-queue-scorer and multicluster-kv-cache-utilization-scorer: prefer clusters with
// little load. An endpoint here stands for a cluster, and a value is an average over it.
//
//   queue   score[i] = (max - queue[i]) / (max - min)    over those with a value; all equal: 1
//   kv      score[i] = 1 - kv[i]
//
// Without a value: 0, and it does not count for min and max.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "plugins/common/scorer_attributes.hpp"

namespace {

bool Known(const epp::Column<double>& column, size_t i) {
  return column.has(i) && std::isfinite(column[i]);
}

class MulticlusterQueueScorer {
 public:
  static constexpr const char* kName = "multicluster-queue-scorer";
  static constexpr const char* kDoc =
      "Scores clusters by average waiting queue, relative to the candidates.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kConsumes{epp::Needs(epp::common::kMulticlusterQueueSize)};

  static epp::Result<MulticlusterQueueScorer> Create(const epp::Context&) {
    return MulticlusterQueueScorer();
  }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto queue = in.column<double>(0);
    double min = HUGE_VAL;
    double max = -HUGE_VAL;
    for (size_t i = 0; i < out.size(); ++i) {
      if (!Known(queue, i)) continue;
      min = std::min(min, queue[i]);
      max = std::max(max, queue[i]);
    }
    // Halves, because the difference of two doubles may not fit one.
    const double range = max / 2 - min / 2;
    for (size_t i = 0; i < out.size(); ++i) {
      if (!Known(queue, i)) continue;
      out[i] = range > 0 ? (max / 2 - queue[i] / 2) / range : 1.0;
    }
    return {};
  }
};

class MulticlusterKvCacheScorer {
 public:
  static constexpr const char* kName = "multicluster-kv-cache-utilization-scorer";
  static constexpr const char* kDoc = "Scores clusters by the average free share of the KV cache.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kConsumes{epp::Needs(epp::common::kMulticlusterKvCacheUsage)};

  static epp::Result<MulticlusterKvCacheScorer> Create(const epp::Context&) {
    return MulticlusterKvCacheScorer();
  }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto usage = in.column<double>(0);
    for (size_t i = 0; i < out.size(); ++i) {
      if (Known(usage, i)) out[i] = std::clamp(1.0 - usage[i], 0.0, 1.0);
    }
    return {};
  }
};

}  // namespace

EPP_LIBRARY("multicluster-scorers", "0.1.0", MulticlusterQueueScorer, MulticlusterKvCacheScorer)
