// random-picker: takes candidates at random, whatever their totals.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <span>

#include "plugins/common/random.hpp"

namespace {

class RandomPicker {
 public:
  static constexpr const char* kName = "random-picker";
  static constexpr const char* kDoc = "Picks endpoints uniformly at random; totals do not matter.";
  static constexpr std::array kParams{
      epp::Int("maxNumOfEndpoints", 1, -0x1p63, 0x1p63,
               "Endpoints to pick; those after the first are fallbacks. 0 or less means 1.")};

  static epp::Result<RandomPicker> Create(const epp::Context& ctx) {
    return RandomPicker(ctx.host(), static_cast<uint64_t>(std::max<int64_t>(ctx.i64(0), 1)));
  }

  epp::Status Pick(const epp::Call& call, const epp::Candidates& in, std::span<const double>,
                   epp::Picks& out) const {
    const size_t n = in.size();
    if (n == 0) return {};
    epp::common::Fast random(host_.random_u64());
    const size_t k = std::min<uint64_t>(count_, n);
    if (k == 1) {
      out.Add(random.Below(static_cast<uint32_t>(n)));
      return {};
    }
    uint32_t* const order = call.Alloc<uint32_t>(n);
    if (order == nullptr) return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    std::iota(order, order + n, 0u);
    epp::common::ShuffleFront({order, n}, k, random);
    for (size_t i = 0; i < k; ++i) out.Add(order[i]);
    return {};
  }

 private:
  RandomPicker(epp::Host host, uint64_t count) : host_(host), count_(count) {}
  epp::Host host_;
  uint64_t count_;  // at least 1
};

}  // namespace

EPP_LIBRARY("random-picker", "0.1.0", RandomPicker)
