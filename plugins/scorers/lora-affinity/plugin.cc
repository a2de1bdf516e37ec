// lora-affinity-scorer: prefers endpoints that have the requested adapter loaded.
//
//   1.0  the target model is active
//   0.8  otherwise, active + waiting models are fewer than the endpoint's maximum
//   0.6  otherwise, the target model waits to be loaded
//   0.0  otherwise
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace {

bool Has(std::span<const uint32_t> models, uint32_t model) {
  return std::find(models.begin(), models.end(), model) != models.end();
}

class LoraAffinityScorer {
 public:
  static constexpr const char* kName = "lora-affinity-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by whether the requested LoRA adapter is loaded, or could be.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr uint32_t kCategory = EPP_CATEGORY_AFFINITY;
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kActiveModels),
                                        epp::Needs(epp::attr::kWaitingModels),
                                        epp::Needs(epp::attr::kMaxActiveModels)};

  static epp::Result<LoraAffinityScorer> Create(const epp::Context& ctx) {
    return LoraAffinityScorer(ctx.host());
  }

  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    // A name that nobody interned is 0, and no list holds 0.
    const uint32_t target = host_.Find(epp::View(call.request().target_model));
    const auto active = in.list<uint32_t>(0);
    const auto waiting = in.list<uint32_t>(1);
    const auto max_active = in.column<int64_t>(2);
    for (size_t i = 0; i < out.size(); ++i) {
      const auto loaded = static_cast<int64_t>(active[i].size() + waiting[i].size());
      if (Has(active[i], target)) {
        out[i] = 1.0;
      } else if (loaded < max_active[i]) {
        out[i] = 0.8;
      } else {
        out[i] = Has(waiting[i], target) ? 0.6 : 0.0;
      }
    }
    return {};
  }

 private:
  explicit LoraAffinityScorer(epp::Host host) : host_(host) {}
  epp::Host host_;
};

}  // namespace

EPP_LIBRARY("lora-affinity-scorer", "0.1.0", LoraAffinityScorer)
