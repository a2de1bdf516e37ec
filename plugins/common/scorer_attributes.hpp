// Attributes that scorers and filters read and that epp/plugin.hpp does not list, one constant a
// field, with the keys that configs and other plugins know.
#pragma once

#include "epp/plugin.hpp"

namespace epp::attr {

inline constexpr const char* kLatency = "predicted-latency-producer";
inline constexpr const char* kPrecise = "precise-prefix-cache-producer";
inline constexpr const char* kEncoderCache = "mm-embeddings-cache-producer";

// What the request would see on each endpoint. Times and headrooms in milliseconds; a headroom is
// limit - prediction, so below 0 it misses the limit. No value: no prediction.
inline constexpr AttributeKind kTtftValid{"LatencyPredictionInfoDataKey.ttftValid", EPP_T_BOOL, 1,
                                          kLatency};
inline constexpr AttributeKind kTpotValid{"LatencyPredictionInfoDataKey.tpotValid", EPP_T_BOOL, 1,
                                          kLatency};
inline constexpr AttributeKind kTtftHeadroom{"LatencyPredictionInfoDataKey.ttftHeadroom", EPP_T_F64,
                                             1, kLatency};
inline constexpr AttributeKind kTpotHeadroom{"LatencyPredictionInfoDataKey.tpotHeadroom", EPP_T_F64,
                                             1, kLatency};
inline constexpr AttributeKind kTtft{"LatencyPredictionInfoDataKey.ttft", EPP_T_F64, 1, kLatency};
inline constexpr AttributeKind kTpot{"LatencyPredictionInfoDataKey.tpot", EPP_T_F64, 1, kLatency};
// Requests that this process has dispatched to the endpoint and that have not ended there.
inline constexpr AttributeKind kDispatchedRequests{
    "LatencyPredictionInfoDataKey.dispatchedRequestCount", EPP_T_I64, 1, kLatency};

// Multimodal items of the request, and those whose embeddings each endpoint is believed to hold:
// the sums of their sizes. No value: nothing is known, or the request has no such items.
inline constexpr AttributeKind kEncoderMatchedSize{"MultiModalEncoderCacheMatchInfoKey.matchedSize",
                                                   EPP_T_I64, 1, kEncoderCache};
inline constexpr AttributeKind kEncoderRequestSize{"MultiModalEncoderCacheMatchInfoKey.requestSize",
                                                   EPP_T_I64, 2, kEncoderCache};

// Averages of a whole cluster behind one endpoint; under no producer's name.
inline constexpr AttributeKind kMulticlusterQueueSize{"llm-d.ai/multicluster-queue-size",
                                                      EPP_T_F64};
inline constexpr AttributeKind kMulticlusterKvCacheUsage{
    "llm-d.ai/multicluster-kv-cache-utilization", EPP_T_F64};

// The id of the client's session: a `const epp_str*` that lives as long as the request.
inline constexpr const char* kSessionIdSchema = "epp.text/1";
inline constexpr AttributeKind kSessionId{"SessionIDDataKey", EPP_T_OPAQUE, EPP_SCOPE_REQUEST,
                                          "session-id-producer", kSessionIdSchema};

}  // namespace epp::attr
