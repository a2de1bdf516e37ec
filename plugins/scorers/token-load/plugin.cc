// token-load-scorer: prefers endpoints with few tokens in flight, those of this request included.
//
//   load[i]  = tokens in flight + tokens that the request would add
//   score[i] = 1                                            load[i] <= 0
//            = 1 - min(load[i], threshold) / threshold      otherwise
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace {

constexpr const char* kProducerParam = "inFlightLoadProducerName";
constexpr int64_t kDefaultThreshold = 4'194'304;

class TokenLoadScorer {
 public:
  static constexpr const char* kName = "token-load-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints from 1 (no tokens in flight) down to 0 (threshold or more tokens).";
  static constexpr uint32_t kCategory = EPP_CATEGORY_DISTRIBUTION;
  static constexpr std::array kParams{
      epp::Int("queueThresholdTokens", kDefaultThreshold, -0x1p63, 0x1p63,
               "Tokens at which the score reaches 0; 0 or less means the default."),
      epp::Plugin(kProducerParam, nullptr, "Producer of the load.")};
  static constexpr std::array kConsumes{
      epp::Needs(epp::attr::kInflightTokens).From(kProducerParam),
      epp::Needs(epp::attr::kUncachedRequestTokens).From(kProducerParam)};

  static epp::Result<TokenLoadScorer> Create(const epp::Context& ctx) {
    return TokenLoadScorer(ctx.i64(0) > 0 ? ctx.i64(0) : kDefaultThreshold);
  }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const {
    const auto in_flight = in.column<int64_t>(0);
    const auto added = in.column<int64_t>(1);
    for (size_t i = 0; i < out.size(); ++i) {
      // In double, because the sum of two int64 may not fit one.
      const double load = static_cast<double>(in_flight[i]) + static_cast<double>(added[i]);
      out[i] = 1.0 - std::clamp(load, 0.0, threshold_) / threshold_;
    }
    return {};
  }

 private:
  explicit TokenLoadScorer(int64_t threshold) : threshold_(static_cast<double>(threshold)) {}
  double threshold_;  // tokens, at least 1
};

}  // namespace

EPP_LIBRARY("token-load-scorer", "0.1.0", TokenLoadScorer)
