// weighted-random-picker: takes candidates at random, with chances in proportion to their totals.
//
// Each candidate draws key = U^(1 / total), U uniform in (0, 1); the largest keys win (Efraimidis
// and Spirakis). Keys are kept as log(U) / total, which orders them the same and does not
// underflow. A total of 0 or less draws the lowest key. For one target the same distribution comes
// from one draw along the running sum. When no total is above 0, all chances are equal.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>

#include "plugins/common/random.hpp"

namespace {

class WeightedRandomPicker {
 public:
  static constexpr const char* kName = "weighted-random-picker";
  static constexpr const char* kDoc =
      "Picks endpoints at random, with chances in proportion to their totals.";
  static constexpr std::array kParams{
      epp::Int("maxNumOfEndpoints", 1, -0x1p63, 0x1p63,
               "Endpoints to pick; those after the first are fallbacks. 0 or less means 1.")};

  static epp::Result<WeightedRandomPicker> Create(const epp::Context& ctx) {
    return WeightedRandomPicker(ctx.host(),
                                static_cast<uint64_t>(std::max<int64_t>(ctx.i64(0), 1)));
  }

  epp::Status Pick(const epp::Call& call, const epp::Candidates&, std::span<const double> totals,
                   epp::Picks& out) const {
    const size_t n = totals.size();
    if (n == 0) return {};
    epp::common::Fast random(host_.random_u64());
    const size_t k = std::min<uint64_t>(count_, n);
    double sum = 0;
    for (const double t : totals) sum += t > 0 ? t : 0;
    if (k == 1) {
      out.Add(PickOne(totals, sum, random));
      return {};
    }
    uint32_t* const order = call.Alloc<uint32_t>(n);
    double* const keys = call.Alloc<double>(n);
    if (order == nullptr || keys == nullptr) {
      return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    }
    std::iota(order, order + n, 0u);
    // The shuffle decides among candidates without a chance of their own.
    epp::common::ShuffleFront({order, n}, n, random);
    if (sum > 0) {
      for (size_t i = 0; i < n; ++i) {
        keys[i] = totals[i] > 0 ? std::log(random.Unit()) / totals[i] : -HUGE_VAL;
      }
      std::partial_sort(order, order + k, order + n,
                        [&](uint32_t a, uint32_t b) { return keys[a] > keys[b]; });
    }
    for (size_t i = 0; i < k; ++i) out.Add(order[i]);
    return {};
  }

 private:
  WeightedRandomPicker(epp::Host host, uint64_t count) : host_(host), count_(count) {}

  static uint32_t PickOne(std::span<const double> totals, double sum, epp::common::Fast& random) {
    if (!(sum > 0)) return random.Below(static_cast<uint32_t>(totals.size()));
    double left = random.Unit() * sum;
    uint32_t last = 0;  // rounding may leave a little of `left` at the end
    for (uint32_t i = 0; i < totals.size(); ++i) {
      if (!(totals[i] > 0)) continue;
      last = i;
      left -= totals[i];
      if (left < 0) break;
    }
    return last;
  }

  epp::Host host_;
  uint64_t count_;  // at least 1
};

}  // namespace

EPP_LIBRARY("weighted-random-picker", "0.1.0", WeightedRandomPicker)
