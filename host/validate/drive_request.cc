// Producers, hooks and parsers. See drive.h.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"
#include "host/validate/drive.h"
#include "host/validate/edits.h"

namespace epp::validate {
namespace {

size_t ItemBytes(int32_t type) {
  return type == EPP_T_BOOL ? 1 : type == EPP_T_SYMBOL || type == EPP_T_SYMBOL_LIST ? 4 : 8;
}

bool IsKnown(uint32_t symbol) { return symbol == 0 || !CheckHost::Symbols().Text(symbol).empty(); }

}  // namespace

// ---- Producers ----------------------------------------------------------------------------------

epp_out_column Driver::Writable(const epp_attr_spec& spec, size_t rows, Memory& memory) {
  epp_out_column column{};
  column.validity = memory.Array<uint64_t>("the validity of a produced column", (rows + 63) / 64);
  for (size_t i = 0; i < rows; ++i) column.validity[i / 64] |= uint64_t{1} << (i % 64);
  if (spec.type == EPP_T_SYMBOL_LIST) return column;
  const size_t bytes = ItemBytes(spec.type);
  column.values = memory.Bytes("the values of a produced column", bytes, rows, bytes);
  return column;
}

void Driver::Produce(RequestRun& run) {
  const auto* const table = Get<epp_producer>(EPP_PRODUCER_ID);
  const auto* const async = Get<epp_async_producer>(EPP_ASYNC_PRODUCER_ID);
  if (table == nullptr && async == nullptr) return;
  Frame frame(instance_, world_, scenario_, run);
  Memory& memory = frame.memory();
  const size_t n = run.rows.size();
  std::vector<epp_out_column> endpoint, request;
  for (const epp_attr_spec* spec : instance_.produces()) {
    if (spec->scope == EPP_SCOPE_ENDPOINT) {
      endpoint.push_back(Writable(*spec, n, memory));
    } else {
      request.push_back(Writable(*spec, 1, memory));
    }
  }
  auto* const outputs = memory.Struct<epp_outputs>("epp_outputs");
  outputs->columns = memory.Array<epp_out_column>("out->columns", endpoint.size());
  outputs->request_columns = memory.Array<epp_out_column>("out->request_columns", request.size());
  std::copy(endpoint.begin(), endpoint.end(), outputs->columns);
  std::copy(request.begin(), request.end(), outputs->request_columns);

  bool written = true;
  const epp_status status =
      table != nullptr ? Run("produce", frame, table->produce, frame.call(), frame.in(), outputs)
                       : Wait(*async, frame, outputs, &written);
  std::string bytes;
  if (status == EPP_OK && written) {
    size_t i = 0, k = 0;
    for (const epp_attr_spec* spec : instance_.produces()) {
      const bool of_endpoints = spec->scope == EPP_SCOPE_ENDPOINT;
      const epp_out_column& column =
          of_endpoints ? outputs->columns[i++] : outputs->request_columns[k++];
      CheckProduced(*spec, column, of_endpoints ? n : 1, run, bytes);
    }
  }
  transcript_.Add("produce", status, std::move(bytes));
}

// Starts a producer that may wait, and ends what it began: by finish when that is due, else by
// cancel. This host has no I/O, so nobody is waited for.
epp_status Driver::Wait(const epp_async_producer& async, Frame& frame, epp_outputs* outputs,
                        bool* written) {
  // A completion may come as late as it likes.
  static std::atomic<uint64_t> last_completed{0};
  static std::atomic<uint64_t> last_token{0};
  const uint64_t token = ++last_token;
  auto* const done = frame.memory().Array<epp_completion>("epp_completion", 1);
  *done = {token, &last_completed, [](void* ctx, uint64_t completed) noexcept {
             static_cast<std::atomic<uint64_t>*>(ctx)->store(completed);
           }};
  void* operation = nullptr;
  epp_status status =
      Run("start", frame, async.start, frame.call(), frame.in(), outputs, done, &operation);
  if (operation == nullptr) return status;
  *written = false;
  if (status != EPP_OK) {
    Breach(kProduced, "start", "failed, and left an operation");
  } else if (last_completed == token) {
    *written = true;
    status = Run("finish", frame, async.finish, operation, frame.call(), frame.in(), outputs);
  } else {
    async.cancel(instance_.self(), operation);
  }
  return status;
}

void Driver::CheckProduced(const epp_attr_spec& spec, const epp_out_column& column, size_t n,
                           const RequestRun& run, std::string& bytes) {
  const auto breach = [&](const std::string& what) {
    Breach(kProduced, "produce", StrCat("attribute \"", spec.key, "\": ", what));
  };
  const auto has = [&](size_t i) { return (column.validity[i / 64] >> (i % 64) & 1) != 0; };
  bytes += BytesOf(column.validity, (n + 63) / 64);
  if (spec.type == EPP_T_SYMBOL_LIST) {
    if (column.offsets == nullptr) return;  // no row has items
    if (!run.arena.Holds(column.offsets, (n + 1) * sizeof(uint32_t))) {
      return breach("its offsets are no memory from alloc");
    }
    for (size_t i = 0; i < n; ++i) {
      if (column.offsets[i] > column.offsets[i + 1]) {
        return breach(StrCat("offsets[", i + 1, "] is less than the one before it"));
      }
    }
    const size_t items = column.offsets[n];
    if (column.offsets[0] != 0) return breach("offsets[0] is not 0");
    if (items > 0 && !run.arena.Holds(column.values, items * sizeof(uint32_t))) {
      return breach(StrCat("its ", items, " items are no memory from alloc"));
    }
    const auto* const symbols = static_cast<const uint32_t*>(column.values);
    if (!std::all_of(symbols, symbols + items, IsKnown)) breach("a symbol was never interned");
    bytes += BytesOf(column.offsets, n + 1) + BytesOf(symbols, items);
    return;
  }
  if (spec.type != EPP_T_OPAQUE)
    bytes += BytesOf(static_cast<const char*>(column.values), n * ItemBytes(spec.type));
  for (size_t i = 0; i < n; ++i) {
    if (!has(i)) continue;
    if (spec.type == EPP_T_BOOL && static_cast<const uint8_t*>(column.values)[i] > 1) {
      return breach(StrCat("row ", i, " is ", int{static_cast<const uint8_t*>(column.values)[i]},
                           ", want 0 or 1"));
    }
    if (spec.type == EPP_T_SYMBOL && !IsKnown(static_cast<const uint32_t*>(column.values)[i])) {
      return breach(StrCat("row ", i, " holds a symbol that was never interned"));
    }
    if (spec.type != EPP_T_OPAQUE) continue;
    const void* const value = static_cast<const void* const*>(column.values)[i];
    if (value == nullptr) return breach(StrCat("row ", i, " has a value, which is null"));
    if (std::string_view(spec.schema) == EPP_TOKENIZED_PROMPT_SCHEMA) {
      CheckTokens(static_cast<const epp_tokenized_prompt*>(value), bytes);
    }
  }
}

void Driver::CheckTokens(const epp_tokenized_prompt* tokens, std::string& bytes) {
  const auto breach = [&](const std::string& what) {
    Breach(kProduced, "produce", StrCat("tokenized prompt: ", what));
  };
  if (tokens->struct_size < sizeof(epp_tokenized_prompt)) {
    return breach(StrCat("struct_size is ", tokens->struct_size, ", want at least ",
                         sizeof(epp_tokenized_prompt)));
  }
  uint64_t total = 0;
  if (tokens->prompt_count > 0) {
    for (uint32_t p = 0; p < tokens->prompt_count; ++p) {
      if (tokens->offsets[p] > tokens->offsets[p + 1]) {
        return breach(StrCat("offsets[", p + 1, "] is less than the one before it"));
      }
    }
    total = tokens->offsets[tokens->prompt_count];
  }
  for (uint32_t m = 0; m < tokens->media_count; ++m) {
    const epp_media& media = tokens->media[m];
    if (media.prompt >= tokens->prompt_count ||
        media.offset + media.length >
            tokens->offsets[media.prompt + 1] - tokens->offsets[media.prompt]) {
      return breach(StrCat("media[", m, "] lies outside its prompt"));
    }
  }
  bytes += BytesOf(tokens->tokens, total);
}

// ---- Hooks --------------------------------------------------------------------------------------

void Driver::PreRequest(RequestRun& run) {
  const auto* const table = Get<epp_pre_request>(EPP_PRE_REQUEST_ID);
  if (table == nullptr) return;
  Frame frame(instance_, world_, scenario_, run);
  Memory& memory = frame.memory();
  const size_t n = run.rows.size();
  const std::vector<std::string> profiles =
      profiles_.empty() ? std::vector<std::string>{"default", "prefill"} : profiles_;
  const auto count = static_cast<uint32_t>(profiles.size());
  auto* const names = memory.Array<epp_str>("names", count);
  auto* const results = memory.Array<const epp_profile_result*>("results", count);
  for (uint32_t i = 0; i < count; ++i) {
    names[i] = Str(profiles[i]);
    auto* const result = memory.Struct<epp_profile_result>("epp_profile_result");
    results[i] = result;
    // The first profile decides; another one ran with every second request.
    const bool ran = n > 0 && (i == 0 || run.number % 2 == 0);
    result->state = ran ? EPP_PROFILE_OK : i == 0 ? EPP_PROFILE_FAILED : EPP_PROFILE_SKIPPED;
    if (!ran) continue;
    const auto targets = static_cast<uint32_t>(std::min<size_t>(n, 2));
    auto* const endpoints = memory.Array<const epp_endpoint*>("targets", targets);
    auto* const rows = memory.Array<uint32_t>("target_rows", targets);
    for (uint32_t t = 0; t < targets; ++t) {
      rows[t] = static_cast<uint32_t>((run.number + i + t) % n);
      endpoints[t] = frame.in()->endpoints[rows[t]];
    }
    result->target_count = targets;
    result->targets = endpoints;
    result->target_rows = rows;
  }
  auto* const scheduling = memory.Struct<epp_scheduling>("epp_scheduling");
  scheduling->profile_count = count;
  scheduling->names = names;
  scheduling->results = results;
  EditOutput edit(findings_, "pre_request", name_, EditOutput::May::kHeadersAndMetadata, memory);
  const epp_status status = Run("pre_request", frame, table->pre_request, frame.call(), scheduling,
                                frame.in(), edit.table());
  edit.Close();
  transcript_.Add("pre_request", status, edit.record());
}

void Driver::Respond(RequestRun& run) {
  const auto* const table = Get<epp_response>(EPP_RESPONSE_ID);
  if (table == nullptr) return;
  static constexpr epp_header kHeaders[] = {{{":status", 7}, {"200", 3}},
                                            {{"content-type", 12}, {"text/event-stream", 17}},
                                            {{"x-request-id", 12}, {"check", 5}}};
  static constexpr std::array<std::string_view, 3> kChunks{
      "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
      "data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n", "data: [DONE]\n\n"};
  const bool aborted = run.number % 4 == 3;
  const size_t chunks = aborted ? 2 : kChunks.size();

  const auto event = [&](Memory& memory, size_t chunk) {
    auto* const e = memory.Struct<epp_response_event>("epp_response_event");
    e->http_status = 200;
    e->headers = kHeaders;
    e->header_count = std::size(kHeaders);
    e->flags = EPP_CHUNK_SSE;
    if (!run.rows.empty()) e->served = world_.endpoint(run.rows[run.number % run.rows.size()]);
    if ((table->wants & EPP_WANT_USAGE) != 0) {
      auto* const usage = memory.Struct<epp_usage>("epp_usage");
      usage->events = static_cast<uint32_t>(chunk + 1);
      usage->prompt_tokens = chunk == 0 ? -1 : 20;
      usage->completion_tokens = chunk == 0 ? -1 : 2;
      usage->total_tokens = chunk == 0 ? -1 : 22;
      usage->cached_tokens = run.number % 2 == 0 ? -1 : 7;
      e->usage = usage;
    }
    return e;
  };

  if ((table->wants & EPP_WANT_HEADERS) != 0) {
    Frame frame(instance_, world_, scenario_, run, Frame::Part::kResponse);
    EditOutput edit(findings_, "on_headers", name_, EditOutput::May::kHeadersAndMetadata,
                    frame.memory());
    const epp_status status = Run("on_headers", frame, table->on_headers, frame.call(),
                                  event(frame.memory(), 0), edit.table());
    edit.Close();
    transcript_.Add("on_headers", status, edit.record());
  }
  for (size_t i = 0; i < chunks; ++i) {
    CheckHost::Advance(5'000'000);
    const bool last = i + 1 == chunks;
    const bool wanted = (table->wants & EPP_WANT_CHUNKS) != 0 ||
                        (i == 0 && (table->wants & EPP_WANT_FIRST) != 0) ||
                        (last && (table->wants & EPP_WANT_END) != 0);
    if (!wanted) continue;
    Frame frame(instance_, world_, scenario_, run, Frame::Part::kResponse);
    epp_response_event* const e = event(frame.memory(), i);
    if (i == 0) e->flags |= EPP_CHUNK_FIRST;
    if (last) {
      e->flags |= EPP_CHUNK_LAST;
      e->end = aborted ? EPP_END_CLIENT_DISCONNECT : EPP_END_NATURAL;
    }
    e->bytes = Str(kChunks[i]);
    EditOutput edit(findings_, "on_body", name_, EditOutput::May::kMetadataOnly, frame.memory());
    const epp_status status =
        Run("on_body", frame, table->on_body, frame.call(), e, last ? edit.table() : nullptr);
    edit.Close();
    transcript_.Add("on_body", status, edit.record());
  }
}

}  // namespace epp::validate
