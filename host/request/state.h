// Everything that one exchange remembers between calls.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "epp/abi.h"
#include "host/base/arena.h"
#include "host/request/exchange.h"
#include "host/request/header_map.h"
#include "host/request/services.h"
#include "host/request/shadow.h"
#include "host/scheduling/cycle.h"
#include "host/telemetry/decisions.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::request {

inline constexpr std::string_view kDefaultFlow = "default-flow";

struct RequestState {
  RequestState(const Services& s, WorkerState& w, std::shared_ptr<Waker> to_wake)
      : services(s),
        worker(w),
        arena(&w.blocks),
        kept(&w.blocks),
        headers(&kept),
        waker(std::move(to_wake)),
        response_headers(&kept) {}

  const Services& services;
  WorkerState& worker;
  Arena arena;  // until the request was sent on; then for one response hook at a time
  Arena kept;   // until the end
  std::shared_ptr<const Serving> serving;
  scheduling::RequestContext context;

  // Request phase.
  HeaderMap headers;
  std::shared_ptr<Waker> waker;  // null: this request cannot wait
  uint64_t received_ns = 0;
  bool has_fairness_id = false;  // the client named its flow
  std::string_view path;
  const scheduling::Step<epp_parser>* parser = nullptr;
  epp_parsed parsed{};            // its views are gone once the request was sent on
  std::string_view model;         // as the client named it
  std::string_view target_model;  // as the model server is asked
  bool forwarded = false;         // a verdict with a destination was given
  bool hooks_ran = false;         // pre-request hooks ran, so the end must be told
  // The primary's targets, kept alive beyond their frame, and the one that answers.
  std::vector<std::shared_ptr<const pool::Endpoint>> targets;
  const epp_endpoint* target = nullptr;
  bool target_reported = false;  // the proxy said that it answered
  // What the proxy was told in place of every target's own.
  std::optional<uint16_t> destination_port;
  const telemetry::RequestSeries* series = nullptr;
  // While a producer waits, between two calls of the exchange.
  struct Suspended {
    Body body;
    uint64_t start_ns = 0;
    uint64_t allowance_ns = 0;
    std::unique_ptr<telemetry::DecisionRecord> draft;
  };
  std::optional<Suspended> suspended;
  telemetry::DecisionTicket ticket;
  int64_t predicted_cached_tokens = -1;

  std::vector<MetadataEntry> hook_metadata;  // of pre-request hooks
  ShadowSample sample;

  // Response phase.
  HeaderMap response_headers;
  bool want_response_body = false;
  bool sse = false;
  bool first_chunk_seen = false;
  bool ended = false;     // the response ended in order
  bool end_told = false;  // hooks know of the end
  int http_status = 0;
  uint64_t first_byte_ns = 0;
  uint64_t last_chunk_ns = 0;
  uint64_t ended_ns = 0;
  uint64_t response_bytes = 0;
  uint64_t events = 0;
  epp_usage usage{sizeof(epp_usage), 0, -1, -1, -1, -1};
  std::string rewritten;  // the chunk with the client's model name

  bool streaming() const { return sse || (parsed.flags & EPP_PARSED_STREAM); }
  bool rewrites_response() const {
    return !target_model.empty() && !model.empty() && target_model != model;
  }
};

}  // namespace epp::request
