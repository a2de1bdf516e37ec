#include "host/request/response.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "host/loader/guard.h"
#include "host/request/destination.h"
#include "host/request/director.h"
#include "host/request/splice.h"

namespace epp::request {
namespace {

std::string_view View(epp_str s) { return s.size ? std::string_view(s.data, s.size) : ""; }
epp_str Str(std::string_view s) { return {s.data(), s.size()}; }

bool ContainsIgnoringCase(std::string_view text, std::string_view lower) {
  return std::search(text.begin(), text.end(), lower.begin(), lower.end(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x) == y;
         }) != text.end();
}

// The editor of response hooks: headers into the state's map, metadata into a list.
struct Edits {
  RequestState* state;
  std::vector<MetadataEntry> metadata;
};
void SetHeader(void* ctx, epp_str name, epp_str value) EPP_NOEXCEPT {
  static_cast<Edits*>(ctx)->state->response_headers.Set(View(name), View(value));
}
void RemoveHeader(void* ctx, epp_str name) EPP_NOEXCEPT {
  static_cast<Edits*>(ctx)->state->response_headers.Remove(View(name));
}
void SetNumber(void* ctx, epp_str space, epp_str key, double value) EPP_NOEXCEPT {
  static_cast<Edits*>(ctx)->metadata.push_back(
      {std::string(View(space)), std::string(View(key)), value});
}
void SetText(void* ctx, epp_str space, epp_str key, epp_str value) EPP_NOEXCEPT {
  static_cast<Edits*>(ctx)->metadata.push_back(
      {std::string(View(space)), std::string(View(key)), std::string(View(value))});
}
epp_editor EditorFor(Edits& edits) {
  return {sizeof(epp_editor), 0, &edits, &SetHeader, &RemoveHeader, &SetNumber, &SetText};
}

epp_response_event EventFor(const RequestState& state, uint32_t flags, std::string_view bytes) {
  const std::span<const epp_header> headers = state.response_headers.view();
  epp_response_event event{};
  event.struct_size = sizeof(epp_response_event);
  event.flags =
      flags | (state.sse ? EPP_CHUNK_SSE : 0) | (state.target_reported ? EPP_SERVED_REPORTED : 0);
  event.http_status = state.http_status;
  event.headers = headers.data();
  event.header_count = static_cast<uint32_t>(headers.size());
  event.bytes = Str(bytes);
  event.served = state.target;
  return event;
}

// Calls one hook of one plugin, timed; a failure is counted and changes nothing.
// `even_if_off`: an instance that keeps count of requests must hear of their end, or it would be
// wrong when it is switched on again.
template <class Call>
void Tell(RequestState& state, const scheduling::BoundPlugin& plugin, scheduling::Point point,
          bool even_if_off, Call&& call_hook) {
  const bool parser = point == scheduling::Point::kParseResponse;
  if (even_if_off ? plugin.guard().stuck() : plugin.guard().off()) return;
  const Clock& clock = *state.services.clock;
  const uint64_t begin = clock.mono_ns();
  state.arena.Reset();
  const epp_call call = state.context.CallFor(plugin, begin);
  epp_error err{sizeof(epp_error), EPP_OK, {}};
  epp_status status;
  {
    const loader::InFlight inside(
        plugin.guard(), parser ? loader::Entry::kParser : loader::Entry::kResponse, begin);
    status = call_hook(plugin.self(state.worker.worker), &call, &err);
  }
  state.serving->observer->Called(state.worker.worker, plugin, point, clock.mono_ns() - begin);
  if (status != EPP_OK) {
    state.serving->observer->Failed(state.worker.worker, plugin, point, status,
                                    {err.message, strnlen(err.message, sizeof(err.message))});
  }
}

void TellBody(RequestState& state, const epp_response_event& event, Edits* edits) {
  const bool first = event.flags & EPP_CHUNK_FIRST;
  const bool last = event.flags & EPP_CHUNK_LAST;
  for (const scheduling::Step<epp_response>& step : state.serving->wiring.response) {
    const uint32_t wants = step.table->wants;
    if (!(wants & EPP_WANT_CHUNKS) && !(first && (wants & EPP_WANT_FIRST)) &&
        !(last && (wants & EPP_WANT_END))) {
      continue;
    }
    const epp_editor editor = edits ? EditorFor(*edits) : epp_editor{};
    Tell(state, *step.plugin, scheduling::Point::kResponseBody, last,
         [&](void* self, const epp_call* call, epp_error* err) {
           return step.table->on_body(self, call, &event, edits && last ? &editor : nullptr, err);
         });
  }
  if (state.sample.run && (first || last)) state.sample.run->OnResponse(state, event);
}

// Counts merge as the engines send them: a later positive value replaces an earlier one, the total
// is the engine's own only when the same block has all three.
void MergeUsage(const epp_usage& block, epp_usage& into) {
  into.events += block.events;
  if (block.prompt_tokens > 0 || (block.prompt_tokens == 0 && into.prompt_tokens < 0)) {
    into.prompt_tokens = block.prompt_tokens;
  }
  if (block.completion_tokens > 0 || (block.completion_tokens == 0 && into.completion_tokens < 0)) {
    into.completion_tokens = block.completion_tokens;
  }
  if (block.cached_tokens >= 0) into.cached_tokens = block.cached_tokens;
  if (block.prompt_tokens > 0 && block.completion_tokens > 0 && block.total_tokens > 0) {
    into.total_tokens = block.total_tokens;
  } else if (block.prompt_tokens >= 0 || block.completion_tokens >= 0) {
    // A model server may say anything: the sum must not overflow.
    if (__builtin_add_overflow(std::max<int64_t>(into.prompt_tokens, 0),
                               std::max<int64_t>(into.completion_tokens, 0), &into.total_tokens)) {
      into.total_tokens = INT64_MAX;
    }
  }
}

void ParseChunk(RequestState& state, std::string_view chunk, bool last) {
  if (state.parser == nullptr || (state.parsed.flags & EPP_PARSED_SKIP_RESPONSE)) return;
  const epp_response_event event = EventFor(state, last ? EPP_CHUNK_LAST : 0, chunk);
  epp_usage block{sizeof(epp_usage), 0, -1, -1, -1, -1};
  Tell(state, *state.parser->plugin, scheduling::Point::kParseResponse, true,
       [&](void* self, const epp_call* call, epp_error* err) {
         return state.parser->table->parse_response(self, call, &event, &block, err);
       });
  MergeUsage(block, state.usage);
}

double Seconds(uint64_t from_ns, uint64_t to_ns) {
  return to_ns > from_ns ? static_cast<double>(to_ns - from_ns) * 1e-9 : 0;
}

// Everything that is measured once, at an end in order.
void Account(RequestState& state, uint64_t now) {
  const telemetry::RequestSeries& series = *state.series;
  const double duration = Seconds(state.received_ns, now);
  const bool streaming = state.streaming();
  series.duration.Observe(duration);
  series.response_bytes.Observe(static_cast<double>(state.response_bytes));
  if (state.first_byte_ns) {
    series.ttft[streaming].Observe(Seconds(state.received_ns, state.first_byte_ns));
  }
  const int64_t output = state.usage.completion_tokens;
  if (state.usage.prompt_tokens > 0) {
    series.input_tokens.Observe(static_cast<double>(state.usage.prompt_tokens));
  }
  if (state.usage.cached_tokens >= 0) {
    series.cached_tokens.Observe(static_cast<double>(state.usage.cached_tokens));
  }
  if (output > 0) {
    series.output_tokens.Observe(static_cast<double>(output));
    series.ntpot.Observe(duration / static_cast<double>(output));
    if (streaming && output > 1 && state.first_byte_ns) {
      series.tpot.Observe(Seconds(state.first_byte_ns, now) / static_cast<double>(output - 1));
    }
  }
}

void AmendRecord(RequestState& state, telemetry::Outcome outcome, uint64_t now) {
  state.services.decisions->Amend(state.ticket, [&](telemetry::DecisionRecord& record) {
    record.outcome = outcome;
    record.http_status = static_cast<uint16_t>(state.http_status);
    record.served = state.target ? state.target->id : 0;
    record.response_seen = state.want_response_body;
    record.duration_ns = now - state.received_ns;
    if (state.first_byte_ns) record.ttft_ns = state.first_byte_ns - state.received_ns;
    record.output_tokens = state.usage.completion_tokens;
    record.cached_observed = state.usage.cached_tokens;
  });
}

}  // namespace

ResponseHeadersVerdict ReceiveResponseHeaders(RequestState& state, std::span<const Header> headers,
                                              const Metadata& metadata, bool end_of_stream) {
  state.response_headers.Assign(headers);
  std::string_view status = state.response_headers.Find(":status", "status").value_or("");
  std::from_chars(status.data(), status.data() + status.size(), state.http_status);
  state.sse = ContainsIgnoringCase(state.response_headers.Find("content-type").value_or(""),
                                   "text/event-stream");
  if (state.series && state.http_status != 0 && state.http_status != 200) {
    state.services.metrics->RequestError(*state.series, telemetry::ErrorCode::kModelServerError);
  }
  // The proxy may have fallen back to another target than the first.
  if (const auto served = metadata.String("envoy.lb", "x-gateway-destination-endpoint-served");
      served && state.hooks_ran) {
    for (const auto& endpoint : state.targets) {
      if (DestinationOf(endpoint->abi(), state.destination_port) != *served) continue;
      state.target = &endpoint->abi();
      state.target_reported = true;
      break;  // with a common port several may look alike
    }
  }

  Edits edits{&state, {}};
  if (state.hooks_ran && (state.serving->response_wants & EPP_WANT_HEADERS)) {
    const epp_response_event event = EventFor(state, 0, "");
    const epp_editor editor = EditorFor(edits);
    for (const scheduling::Step<epp_response>& step : state.serving->wiring.response) {
      if (!(step.table->wants & EPP_WANT_HEADERS)) continue;
      Tell(state, *step.plugin, scheduling::Point::kResponseHeaders, false,
           [&](void* self, const epp_call* call, epp_error* err) {
             return step.table->on_headers(self, call, &event, &editor, err);
           });
    }
  }

  ResponseHeadersVerdict verdict;
  // A marker that conformance tests look for.
  verdict.headers.set.push_back({"x-went-into-resp-headers", "true"});
  state.response_headers.AppendChanges(state.services.options.echo_headers, &verdict.headers);
  verdict.metadata = std::move(edits.metadata);
  // What no parser reads as a whole need not be collected.
  verdict.stream_body = state.streaming() || !state.want_response_body ||
                        (state.parsed.flags & EPP_PARSED_SKIP_RESPONSE);
  if (end_of_stream) {
    for (MetadataEntry& entry : ReceiveResponseBody(state, "", true).metadata) {
      verdict.metadata.push_back(std::move(entry));
    }
  }
  return verdict;
}

ResponseBodyVerdict ReceiveResponseBody(RequestState& state, std::string_view chunk,
                                        bool end_of_stream) {
  ResponseBodyVerdict verdict;
  if (!state.forwarded || state.ended) return verdict;
  loader::ThisThread().allowance_ns = chunk.size();
  const uint64_t now = state.services.clock->mono_ns();
  const bool hooks = state.hooks_ran;

  state.response_bytes += chunk.size();
  const bool first = !chunk.empty() && !state.first_chunk_seen;
  if (first) {
    state.first_chunk_seen = true;
    state.first_byte_ns = now;
  } else if (!chunk.empty() && state.streaming() && state.series) {
    state.series->itl.Observe(Seconds(state.last_chunk_ns, now));
  }
  if (!chunk.empty()) state.last_chunk_ns = now;
  if (end_of_stream) {
    state.ended = true;
    state.ended_ns = now;
  }

  if (state.want_response_body && hooks) {
    if (!chunk.empty()) ParseChunk(state, chunk, end_of_stream);
    const uint32_t flags = (first ? EPP_CHUNK_FIRST : 0) | (end_of_stream ? EPP_CHUNK_LAST : 0u);
    epp_response_event event = EventFor(state, flags, chunk);
    event.usage = &state.usage;
    event.end = end_of_stream ? EPP_END_NATURAL : EPP_END_NONE;
    Edits edits{&state, {}};
    TellBody(state, event, &edits);
    state.end_told = end_of_stream;
    verdict.metadata = std::move(edits.metadata);
  }
  if (state.rewrites_response() && !chunk.empty() &&
      RewriteResponseModel(chunk, state.target_model, state.model, &state.rewritten)) {
    verdict.replacement = state.rewritten;
  }
  return verdict;
}

void Complete(RequestState& state, StreamEnd how) {
  Abandon(state);
  AskShadow(state);
  state.context.Release();  // a refused request was never sent on
  const uint64_t now = state.services.clock->mono_ns();
  // Without response bodies a stream that ends after the response headers has ended in order.
  const bool natural =
      state.forwarded &&
      (state.ended || (!state.want_response_body && state.http_status != 0 &&
                       (how == StreamEnd::kHalfClosed || how == StreamEnd::kCancelled)));
  if (state.hooks_ran && !state.end_told) {
    epp_response_event event = EventFor(state, EPP_CHUNK_LAST, "");
    event.usage = &state.usage;
    event.end = natural ? EPP_END_NATURAL
                : how == StreamEnd::kCancelled || how == StreamEnd::kDeadline
                    ? EPP_END_CLIENT_DISCONNECT
                    : EPP_END_ERROR;
    TellBody(state, event, nullptr);
  }
  if (!state.forwarded || state.series == nullptr) return;
  // A proxy may keep the stream open for longer than the response.
  const uint64_t end = state.ended_ns ? state.ended_ns : now;
  if (natural) Account(state, end);
  if (!state.model.empty()) state.series->running.Add(-1);
  AmendRecord(state, natural ? telemetry::Outcome::kOk : telemetry::Outcome::kAborted, end);
}

}  // namespace epp::request
