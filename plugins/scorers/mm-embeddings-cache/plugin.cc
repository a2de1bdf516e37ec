// mm-embeddings-cache-scorer: prefers endpoints that already hold the embeddings of the request's
// images, audio and videos.
//
//   score[i] = size of the items held / size of the request's items    none: 0
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "plugins/common/scorer_attributes.hpp"

namespace {

constexpr const char* kProducerParam = "producerName";

class MmEmbeddingsCacheScorer {
 public:
  static constexpr const char* kName = "mm-embeddings-cache-scorer";
  static constexpr const char* kDoc =
      "Scores endpoints by the share of the request's multimodal embeddings that they hold.";
  static constexpr uint32_t kCategory = EPP_CATEGORY_AFFINITY;
  static constexpr std::array kParams{
      epp::Plugin(kProducerParam, nullptr, "Producer of the match information.")};
  static constexpr std::array kConsumes{
      epp::Needs(epp::common::kEncoderMatchedSize).From(kProducerParam),
      epp::Needs(epp::common::kEncoderRequestSize).From(kProducerParam)};

  static epp::Result<MmEmbeddingsCacheScorer> Create(const epp::Context&) {
    return MmEmbeddingsCacheScorer();
  }

  epp::Status Score(const epp::Call& call, const epp::Candidates& in, std::span<double> out) const {
    const auto total = static_cast<double>(call.column<int64_t>(0)[0]);
    if (!(total > 0)) return {};
    const auto matched = in.column<int64_t>(0);
    for (size_t i = 0; i < out.size(); ++i) {
      // Another producer than ours may report more than there is, or less than nothing.
      out[i] = std::clamp(static_cast<double>(matched[i]) / total, 0.0, 1.0);
    }
    return {};
  }
};

}  // namespace

EPP_LIBRARY("mm-embeddings-cache-scorer", "0.1.0", MmEmbeddingsCacheScorer)
