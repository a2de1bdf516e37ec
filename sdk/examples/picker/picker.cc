// two-choices-picker: looks at two candidates, drawn at random, and takes the better one.
//
// Many replicas of a picker that all take the best candidate send it all their requests until they
// see its load grow. The better of two spreads them, and is still far from the worst. Those that
// were not drawn follow, best first, as fallbacks.
#include <algorithm>
#include <numeric>

#include "epp/plugin.hpp"

namespace {

class TwoChoices {
 public:
  static constexpr const char* kName = "two-choices-picker";
  static constexpr const char* kDoc = "Picks the better of two candidates drawn at random.";
  static constexpr std::array kParams{
      epp::Int("fallbacks", 2, 0, 1000, "endpoints named behind the picked one, best first")};

  static epp::Result<TwoChoices> Create(const epp::Context& ctx) {
    return TwoChoices(ctx.host(), static_cast<size_t>(ctx.i64(0)));
  }

  epp::Status Pick(const epp::Call& call, const epp::Candidates& in, std::span<const double> totals,
                   epp::Picks& picks) const {
    const size_t n = in.size();
    size_t best = Below(n);
    if (n > 1) {
      size_t other = Below(n - 1);
      if (other >= best) ++other;  // any but the first
      if (totals[other] > totals[best]) best = other;
    }
    picks.Add(static_cast<uint32_t>(best));

    const size_t more = std::min(fallbacks_, n - 1);
    if (more == 0) return {};
    auto* order = call.Alloc<uint32_t>(n);
    if (order == nullptr) return {};  // a pick without fallbacks is one
    std::iota(order, order + n, 0u);
    std::swap(order[0], order[best]);
    std::partial_sort(order + 1, order + 1 + more, order + n,
                      [&](uint32_t a, uint32_t b) { return totals[a] > totals[b]; });
    for (size_t i = 1; i <= more; ++i) picks.Add(order[i]);
    return {};
  }

 private:
  TwoChoices(epp::Host host, size_t fallbacks) : host_(host), fallbacks_(fallbacks) {}
  // Uniform in [0, n), from the host: a test can repeat it.
  size_t Below(size_t n) const {
    const auto at = static_cast<size_t>(host_.random_unit() * static_cast<double>(n));
    return std::min(at, n - 1);
  }

  epp::Host host_;
  size_t fallbacks_;
};

}  // namespace

EPP_LIBRARY("example-picker", "1.0.0", TwoChoices)
