// max-score-picker: takes the candidates with the highest totals; ties are broken uniformly at
// random.
//
// One target costs two passes. More cost a shuffle and a partial sort: the sort sees only totals,
// so after the shuffle every order of equal totals is equally likely.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>

#include "plugins/common/random.hpp"

namespace {

// Sorts and compares need an order; a NaN has none.
double Comparable(double total) { return std::isnan(total) ? -HUGE_VAL : total; }

class MaxScorePicker {
 public:
  static constexpr const char* kName = "max-score-picker";
  static constexpr const char* kDoc =
      "Picks the endpoints with the highest totals; ties are broken at random.";
  static constexpr std::array kParams{
      epp::Int("maxNumOfEndpoints", 1, -0x1p63, 0x1p63,
               "Endpoints to pick; those after the first are fallbacks. 0 or less means 1.")};

  static epp::Result<MaxScorePicker> Create(const epp::Context& ctx) {
    return MaxScorePicker(ctx.host(), static_cast<uint64_t>(std::max<int64_t>(ctx.i64(0), 1)));
  }

  epp::Status Pick(const epp::Call& call, const epp::Candidates& in, std::span<const double> totals,
                   epp::Picks& out) const {
    if (totals.empty()) return {};
    if (count_ == 1 || in.size() == 1) {
      PickOne(totals, out);
      return {};
    }
    const size_t n = totals.size();
    const size_t k = std::min<uint64_t>(count_, n);
    uint32_t* const order = call.Alloc<uint32_t>(n);
    if (order == nullptr) return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    std::iota(order, order + n, 0u);
    epp::common::Fast random(host_.random_u64());
    epp::common::ShuffleFront({order, n}, n, random);
    std::partial_sort(order, order + k, order + n, [&](uint32_t a, uint32_t b) {
      return Comparable(totals[a]) > Comparable(totals[b]);
    });
    for (size_t i = 0; i < k; ++i) out.Add(order[i]);
    return {};
  }

 private:
  MaxScorePicker(epp::Host host, uint64_t count) : host_(host), count_(count) {}

  void PickOne(std::span<const double> totals, epp::Picks& out) const {
    double best = -HUGE_VAL;
    uint32_t ties = 0;
    for (const double total : totals) {
      const double t = Comparable(total);
      ties = t > best ? 1 : ties + (t == best);
      best = std::max(best, t);
    }
    uint32_t skip = ties > 1 ? epp::common::Fast(host_.random_u64()).Below(ties) : 0;
    for (uint32_t i = 0; i < totals.size(); ++i) {
      if (Comparable(totals[i]) == best && skip-- == 0) {
        out.Add(i);
        return;
      }
    }
  }

  epp::Host host_;
  uint64_t count_;  // at least 1
};

}  // namespace

EPP_LIBRARY("max-score-picker", "0.1.0", MaxScorePicker)
