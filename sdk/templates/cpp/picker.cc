// @NAME@: picks the endpoint with the highest total, the first of equals.
#include <algorithm>
#include <numeric>

#include "epp/plugin.hpp"

namespace {

class @CLASS@ {
 public:
  static constexpr const char* kName = "@NAME@";
  static constexpr const char* kDoc = "@DOC@";
  static constexpr std::array kParams{
      epp::Int("maxPicks", 1, 1, 1000, "endpoints named, best first")};

  static epp::Result<@CLASS@> Create(const epp::Context& ctx) {
    return @CLASS@(static_cast<size_t>(ctx.i64(0)));
  }

  epp::Status Pick(const epp::Call& call, const epp::Candidates& in, std::span<const double> totals,
                   epp::Picks& picks) const {
    const size_t n = in.size(), wanted = std::min(max_picks_, n);
    auto* order = call.Alloc<uint32_t>(n);
    if (order == nullptr) return {EPP_RESOURCE_EXHAUSTED, "the request has used up its memory"};
    std::iota(order, order + n, 0u);
    std::partial_sort(order, order + wanted, order + n, [&](uint32_t a, uint32_t b) {
      return totals[a] != totals[b] ? totals[a] > totals[b] : a < b;
    });
    for (size_t i = 0; i < wanted; ++i) picks.Add(order[i]);
    return {};
  }

 private:
  explicit @CLASS@(size_t max_picks) : max_picks_(max_picks) {}
  size_t max_picks_;
};

}  // namespace

EPP_LIBRARY("@NAME@", "0.1.0", @CLASS@)
