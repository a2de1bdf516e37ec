// kv-cache-utilization-scorer: prefers endpoints whose KV cache has room.
//
//   score[i] = 1 - usage[i]    usage is a fraction, 0 when unknown; 0 when it is no finite number
#include "epp/plugin.hpp"

#include <array>
#include <cmath>
#include <span>

namespace {

class KvCacheUtilizationScorer {
 public:
  static constexpr const char* kName = "kv-cache-utilization-scorer";
  static constexpr const char* kDoc = "Scores endpoints by the free fraction of their KV cache.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kKvCacheUsage)};

  static epp::Result<KvCacheUtilizationScorer> Create(const epp::Context&) {
    return KvCacheUtilizationScorer();
  }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto usage = in.column<double>(0);
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = std::isfinite(usage[i]) ? 1.0 - usage[i] : 0.0;
    }
    return {};
  }
};

}  // namespace

EPP_LIBRARY("kv-cache-utilization-scorer", "0.1.0", KvCacheUtilizationScorer)
