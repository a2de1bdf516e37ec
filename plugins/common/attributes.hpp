// Attributes that our plugins exchange beyond those of epp::attr, which every plugin author needs.
//
// A value with several fields is one attribute per field: "KEY.field". All parts of one value are
// present or absent together.
#pragma once

#include "epp/plugin.hpp"

namespace epp::common {

// What the latency model expects of the request on each endpoint. Milliseconds; headroom is the
// objective minus the prediction, so below 0 means too slow.
inline constexpr const char* kPredictor = "predicted-latency-producer";
inline constexpr AttributeKind kLatencyTtftValid{"LatencyPredictionInfoDataKey.ttftValid",
                                                 EPP_T_BOOL, EPP_SCOPE_ENDPOINT, kPredictor};
inline constexpr AttributeKind kLatencyTpotValid{"LatencyPredictionInfoDataKey.tpotValid",
                                                 EPP_T_BOOL, EPP_SCOPE_ENDPOINT, kPredictor};
inline constexpr AttributeKind kLatencyTtftHeadroom{"LatencyPredictionInfoDataKey.ttftHeadroom",
                                                    EPP_T_F64, EPP_SCOPE_ENDPOINT, kPredictor};
inline constexpr AttributeKind kLatencyTpotHeadroom{"LatencyPredictionInfoDataKey.tpotHeadroom",
                                                    EPP_T_F64, EPP_SCOPE_ENDPOINT, kPredictor};
inline constexpr AttributeKind kLatencyTtft{"LatencyPredictionInfoDataKey.ttft", EPP_T_F64,
                                            EPP_SCOPE_ENDPOINT, kPredictor};
inline constexpr AttributeKind kLatencyTpot{"LatencyPredictionInfoDataKey.tpot", EPP_T_F64,
                                            EPP_SCOPE_ENDPOINT, kPredictor};
// Requests that this process has sent to the endpoint and that run there.
inline constexpr AttributeKind kLatencyDispatched{
    "LatencyPredictionInfoDataKey.dispatchedRequestCount", EPP_T_I64, EPP_SCOPE_ENDPOINT,
    kPredictor};

// Of a producer that knows what an endpoint really holds: blocks in any tier, and those in the
// memory of its CPU. Without the first, the matched blocks count; without the second, tiers are
// unknown.
inline constexpr AttributeKind kPrefixCachedBlocks{"PrefixCacheMatchInfoDataKey.cachedBlockCount",
                                                   EPP_T_I64, EPP_SCOPE_ENDPOINT, attr::kApprox};
inline constexpr AttributeKind kPrefixCpuBlocks{
    "PrefixCacheMatchInfoDataKey.cachedBlocksByTier.cpu", EPP_T_I64, EPP_SCOPE_ENDPOINT,
    attr::kApprox};

// Where an endpoint is. 0 and the symbol of "" both mean unknown.
inline constexpr const char* kTopologyExtractor = "topology-extractor";
inline constexpr AttributeKind kTopologyHostname{"Topology.hostname", EPP_T_SYMBOL,
                                                 EPP_SCOPE_ENDPOINT, kTopologyExtractor};
inline constexpr AttributeKind kTopologyRack{"Topology.rack", EPP_T_SYMBOL, EPP_SCOPE_ENDPOINT,
                                             kTopologyExtractor};
inline constexpr AttributeKind kTopologyZone{"Topology.zone", EPP_T_SYMBOL, EPP_SCOPE_ENDPOINT,
                                             kTopologyExtractor};
inline constexpr AttributeKind kTopologyRegion{"Topology.region", EPP_T_SYMBOL, EPP_SCOPE_ENDPOINT,
                                               kTopologyExtractor};

// The id (epp_endpoint.id) of the endpoint that an earlier profile of the request chose. It is a
// candidate of the request, though perhaps not of the profile that reads this.
inline constexpr AttributeKind kPeerEndpoint{"peer-endpoint", EPP_T_I64, EPP_SCOPE_REQUEST,
                                             "disagg-profile-handler"};

// A text of the client: const epp_str*, which lives until the request was sent on. Not a symbol,
// because symbols are kept for ever.
inline constexpr AttributeKind kSessionId{"SessionIDDataKey", EPP_T_OPAQUE, EPP_SCOPE_REQUEST,
                                          "session-id-producer", EPP_TEXT_SCHEMA};
// Who the client is, as header plugins find out; of no producer in particular.
inline constexpr AttributeKind kAgentIdentity{"agent-identity", EPP_T_OPAQUE, EPP_SCOPE_REQUEST,
                                              nullptr, EPP_TEXT_SCHEMA};

}  // namespace epp::common
