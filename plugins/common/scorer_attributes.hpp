// Attributes that scorers read, beyond those of epp::attr and attributes.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "epp/plugin.hpp"

namespace epp::common {

inline constexpr const char* kPreciseProducer = "precise-prefix-cache-producer";

// Multimodal items of the request, and those whose embeddings each endpoint is believed to hold:
// the sums of their sizes. No value: nothing is known, or the request has no such items.
inline constexpr const char* kEncoderCacheProducer = "mm-embeddings-cache-producer";
inline constexpr AttributeKind kEncoderMatchedSize{"MultiModalEncoderCacheMatchInfoKey.matchedSize",
                                                   EPP_T_I64, EPP_SCOPE_ENDPOINT,
                                                   kEncoderCacheProducer};
inline constexpr AttributeKind kEncoderRequestSize{"MultiModalEncoderCacheMatchInfoKey.requestSize",
                                                   EPP_T_I64, EPP_SCOPE_REQUEST,
                                                   kEncoderCacheProducer};

// Averages of the cluster that an endpoint stands for; under no producer's name.
inline constexpr AttributeKind kMulticlusterQueueSize{"llm-d.ai/multicluster-queue-size",
                                                      EPP_T_F64};
inline constexpr AttributeKind kMulticlusterKvCacheUsage{
    "llm-d.ai/multicluster-kv-cache-utilization", EPP_T_F64};

// The type of a numeric attribute that a config names: custom metrics are f64, but some of our own
// plugins and of the host are integers.
inline int32_t NumberType(std::string_view key) {
  constexpr std::array kIntegers{
      attr::kWaitingQueueSize, attr::kRunningRequestsSize,   attr::kMaxActiveModels,
      attr::kCacheBlockSize,   attr::kCacheNumBlocks,        attr::kInflightRequests,
      attr::kInflightTokens,   attr::kUncachedRequestTokens, attr::kMetricsAge};
  return std::any_of(kIntegers.begin(), kIntegers.end(),
                     [&](const AttributeKind& kind) { return key == kind.key; })
             ? EPP_T_I64
             : EPP_T_F64;
}

}  // namespace epp::common
