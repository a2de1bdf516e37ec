// prefix-cache-scorer: prefers endpoints that already hold the prompt's prefix; and two further
// names of it, which differ in stability and in where the match information comes from.
//
//   ratio  = match / total
//   length = min(1, match * block size / matchLengthScaleTokens)^2
//   score  = w * length + (1 - w) * ratio          w = matchLengthWeight
//
// No match information, or a prompt without blocks: 0.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "plugins/common/scorer_attributes.hpp"

namespace {

constexpr const char* kProducerParam = "prefixMatchInfoProducerName";

// The attribute, from the producer that learns it from the endpoints.
constexpr epp::Attribute Reported(epp::AttributeKind kind) {
  kind.producer = epp::common::kPreciseProducer;
  return epp::Needs(kind).From(kProducerParam);
}

class PrefixCacheScorer {
 public:
  static constexpr const char* kName = "prefix-cache-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by how much of the prompt's prefix their cache is believed to hold.";
  static constexpr uint32_t kCategory = EPP_CATEGORY_AFFINITY;
  static constexpr std::array kParams{
      epp::Plugin(kProducerParam, nullptr, "Producer of the match information."),
      epp::Float("matchLengthWeight", 0, 0, 1,
                 "Weight of the absolute match length; the matched share has the rest."),
      epp::Int("matchLengthScaleTokens", 8192, -0x1p63, 0x1p63,
               "Matched tokens at which the length term reaches 1; above 0 if it has weight.")};
  static constexpr std::array kConsumes{
      epp::Needs(epp::attr::kPrefixMatchBlocks).From(kProducerParam),
      epp::Needs(epp::attr::kPrefixTotalBlocks).From(kProducerParam),
      epp::Needs(epp::attr::kPrefixBlockSize).From(kProducerParam)};

  static epp::Result<PrefixCacheScorer> Create(const epp::Context& ctx) {
    return Made<PrefixCacheScorer>(ctx);
  }

  PrefixCacheScorer(epp::Host host, double weight, double scale)
      : host_(host), weight_(weight), scale_(scale) {}

  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    const auto match = in.column<int64_t>(0);
    const auto total_blocks = call.column<int64_t>(0);
    const double total =
        total_blocks.has(0) ? static_cast<double>(std::max<int64_t>(total_blocks[0], 0)) : 0;
    const double block_size = static_cast<double>(call.column<int64_t>(1)[0]);
    size_t unknown = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const bool known = match.has(i) && total > 0;
      unknown += !known;
      out[i] = known ? Rate(Matched(match[i], total), total, block_size) : 0.0;
    }
    if (unknown > 0 && host_.LogEnabled(EPP_LOG_DEBUG)) {
      host_.Log(EPP_LOG_DEBUG,
                "no prefix match information for " + std::to_string(unknown) + " endpoints");
    }
    return {};
  }

 protected:
  template <class Self>
  static epp::Result<Self> Made(const epp::Context& ctx) {
    const double weight = ctx.f64(1);
    const int64_t scale = ctx.i64(2);
    if (weight > 0 && scale <= 0) {
      return epp::Status::Invalid("matchLengthScaleTokens: got " + std::to_string(scale) +
                                  ", want more than 0 because matchLengthWeight is above 0");
    }
    return Self(ctx.host(), weight, static_cast<double>(scale));
  }

 private:
  // Another producer than ours may report more than there is, or less than nothing.
  static double Matched(int64_t blocks, double total) {
    return std::clamp(static_cast<double>(blocks), 0.0, total);
  }

  double Rate(double match, double total, double block_size) const {
    const double ratio = match / total;
    if (weight_ <= 0) return ratio;
    const double length = std::clamp(match * block_size / scale_, 0.0, 1.0);
    return weight_ * length * length + (1.0 - weight_) * ratio;
  }

  epp::Host host_;
  double weight_;  // [0, 1]
  double scale_;   // tokens; above 0 when weight_ is
};

class MulticlusterPrefixCacheScorer : public PrefixCacheScorer {
 public:
  static constexpr const char* kName = "multicluster-prefix-cache-scorer";
  static constexpr const char* kDoc =
      "Scores clusters by how much of the prompt's prefix their caches are believed to hold.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  using PrefixCacheScorer::PrefixCacheScorer;

  static epp::Result<MulticlusterPrefixCacheScorer> Create(const epp::Context& ctx) {
    return Made<MulticlusterPrefixCacheScorer>(ctx);
  }
};

// Once a producer and a scorer in one; the producer is a plugin of its own now.
class PrecisePrefixCacheScorer : public PrefixCacheScorer {
 public:
  static constexpr const char* kName = "precise-prefix-cache-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by how much of the prompt's prefix their cache holds, as they report it.";
  static constexpr const char* kDeprecated =
      "use precise-prefix-cache-producer and prefix-cache-scorer";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr const char* kMoved = "Of precise-prefix-cache-producer; has no effect here.";
  static constexpr std::array kParams{
      epp::Plugin(kProducerParam, nullptr, "Producer of the match information."),
      epp::Json("tokenProcessorConfig", kMoved).Deprecated(),
      epp::Json("indexerConfig", kMoved).Deprecated(),
      epp::Json("kvEventsConfig", kMoved).Deprecated(),
      epp::Json("speculativeIndexing", kMoved).Deprecated(),
      epp::Json("speculativeTTL", kMoved).Deprecated()};
  static constexpr std::array kConsumes{Reported(epp::attr::kPrefixMatchBlocks),
                                        Reported(epp::attr::kPrefixTotalBlocks),
                                        Reported(epp::attr::kPrefixBlockSize)};
  using PrefixCacheScorer::PrefixCacheScorer;

  static epp::Result<PrecisePrefixCacheScorer> Create(const epp::Context& ctx) {
    return PrecisePrefixCacheScorer(ctx.host(), 0, 1);
  }
};

}  // namespace

EPP_LIBRARY("prefix-cache-scorer", "0.1.0", PrefixCacheScorer, MulticlusterPrefixCacheScorer,
            PrecisePrefixCacheScorer)
