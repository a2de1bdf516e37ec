#include "host/request/director.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "absl/strings/str_format.h"
#include "host/base/str_cat.h"
#include "host/base/utf8.h"
#include "host/loader/guard.h"
#include "host/request/destination.h"
#include "host/request/reachable.h"
#include "host/request/saturation.h"
#include "host/request/splice.h"
#include "host/request/subset.h"
#include "host/scheduling/gates.h"

namespace epp::request {
namespace {

using scheduling::Error;
using scheduling::ErrorCode;

// How much longer than its budget a call of a plugin may take in a large pool.
constexpr uint64_t kAllowanceNsPerEndpoint = 1000;

constexpr std::string_view kDestination = "x-gateway-destination-endpoint";

// A client's text as a label of metrics. Labels are kept, so a long one must not be.
constexpr size_t kMaxLabelBytes = 256;
std::string_view Label(std::string_view text) { return utf8::Truncate(text, kMaxLabelBytes); }

std::string_view View(epp_str s) { return s.size ? std::string_view(s.data, s.size) : ""; }
epp_str Str(std::string_view s) { return {s.data(), s.size()}; }

std::string NewRequestId(Random& random) {
  const uint64_t high = (random.Next() & ~uint64_t{0xf000}) | 0x4000;
  const uint64_t low = (random.Next() & ~(uint64_t{3} << 62)) | uint64_t{1} << 63;
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, high >> 16 & 0xffff,
                         high & 0xffff, low >> 48, low & 0xffffffffffff);
}

bool EqualsIgnoringCase(std::string_view a, std::string_view lower) {
  return std::equal(a.begin(), a.end(), lower.begin(), lower.end(), [](char x, char y) {
    return (x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x) == y;
  });
}

// The first of several: what the client sent comes before what was added on the way.
std::string_view ReceivedRequestId(std::span<const Header> headers) {
  const auto it = std::find_if(headers.begin(), headers.end(), [](const Header& header) {
    return EqualsIgnoringCase(header.name, "x-request-id");
  });
  return it == headers.end() ? "" : it->value;
}

telemetry::ErrorCode MetricCode(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBadRequest:
    case ErrorCode::kPayloadTooLarge:
      return telemetry::ErrorCode::kBadRequest;
    case ErrorCode::kUnauthorized:
      return telemetry::ErrorCode::kUnauthorized;
    case ErrorCode::kForbidden:
      return telemetry::ErrorCode::kForbidden;
    case ErrorCode::kNotFound:
      return telemetry::ErrorCode::kNotFound;
    case ErrorCode::kPreconditionFailed:
      return telemetry::ErrorCode::kPreconditionFailed;
    case ErrorCode::kResourceExhausted:
      return telemetry::ErrorCode::kResourceExhausted;
    case ErrorCode::kInternal:
      return telemetry::ErrorCode::kInternal;
    case ErrorCode::kServiceUnavailable:
      return telemetry::ErrorCode::kServiceUnavailable;
    case ErrorCode::kUnknown:
      break;
  }
  return telemetry::ErrorCode::kUnknown;
}

std::string_view TrimBlanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// `Prefer: if-available` asks for an endpoint that already holds the prompt, or for none.
bool IsConditionalDecode(const HeaderMap& headers) {
  std::string_view rest = headers.Find("prefer").value_or("");
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    std::string_view token = rest.substr(0, comma);
    token = TrimBlanks(token.substr(0, token.find(';')));
    if (EqualsIgnoringCase(token, "if-available")) return true;
    rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
  }
  return false;
}

// A changed map may have moved.
void ShowHeaders(RequestState& state) {
  const std::span<const epp_header> headers = state.headers.view();
  state.context.request.headers = headers.data();
  state.context.request.header_count = static_cast<uint32_t>(headers.size());
}

// The editor that pre-request hooks get.
void SetHeader(void* ctx, epp_str name, epp_str value) EPP_NOEXCEPT {
  auto& state = *static_cast<RequestState*>(ctx);
  state.headers.Set(View(name), View(value));
  ShowHeaders(state);
}
void RemoveHeader(void* ctx, epp_str name) EPP_NOEXCEPT {
  auto& state = *static_cast<RequestState*>(ctx);
  state.headers.Remove(View(name));
  ShowHeaders(state);
}
void SetNumber(void* ctx, epp_str space, epp_str key, double value) EPP_NOEXCEPT {
  static_cast<RequestState*>(ctx)->hook_metadata.push_back(
      {std::string(View(space)), std::string(View(key)), value});
}
void SetText(void* ctx, epp_str space, epp_str key, epp_str value) EPP_NOEXCEPT {
  static_cast<RequestState*>(ctx)->hook_metadata.push_back(
      {std::string(View(space)), std::string(View(key)), std::string(View(value))});
}

class Directing {
 public:
  Directing(RequestState& state, Body body)
      : state_(state), body_(body), request_(state.context.request) {}

  RequestVerdict Run(const Metadata& metadata) {
    StartRecord();
    std::optional<Error> error = Parse();
    if (!error) error = RewriteModel();
    if (!error) FindObjective();
    if (!error) error = ReadHeaders();
    if (!error) error = Candidates(metadata);
    if (!error) error = scheduling::Screen(state_.context);
    if (!error) {
      Sample();
      if (!scheduling::Produce(state_.context)) return Suspend();
    }
    return Conclude(std::move(error));
  }

  RequestVerdict Resume() {
    RequestState::Suspended& suspended = *state_.suspended;
    start_ns_ = suspended.start_ns;
    loader::ThisThread().allowance_ns = suspended.allowance_ns;
    // Others have drawn in between.
    if (state_.sample.shadow) state_.sample.random = loader::RandomSource::SavePerThread();
    if (!scheduling::Produce(state_.context)) return {};
    RequestVerdict verdict = Conclude(std::nullopt);
    Resumed();
    return verdict;
  }

  void Leave() {
    start_ns_ = state_.suspended->start_ns;
    const scheduling::BoundPlugin* producer = scheduling::Abandon(state_.context);
    telemetry::DecisionRecord& record = *state_.context.record;
    record.outcome = telemetry::Outcome::kAborted;
    record.message.Set(StrCat("the client left while producer \"",
                              producer ? std::string_view(producer->name()) : "", "\" waited"));
    Finish();
    state_.sample.shadow.reset();
    Resumed();
  }

 private:
  RequestVerdict Conclude(std::optional<Error> error) {
    if (!error) error = Admit();
    if (!error) error = Pick();
    if (!error) error = ConditionalDecode();
    if (!error) error = PreRequest();
    // Picked and not sent: nothing that a shadow could be compared with.
    if (error && primary_ != nullptr) state_.sample.shadow.reset();
    return error ? Reject(*error) : Forward();
  }

  // The worker serves others before this request goes on.
  RequestVerdict Suspend() {
    WorkerState& worker = state_.worker;
    state_.suspended.emplace(RequestState::Suspended{
        body_, start_ns_, loader::ThisThread().allowance_ns, std::move(worker.draft)});
    worker.draft = worker.spare_draft ? std::move(worker.spare_draft)
                                      : std::make_unique<telemetry::DecisionRecord>();
    return {};
  }
  void Resumed() {
    state_.worker.spare_draft = std::move(state_.suspended->draft);
    state_.context.record = nullptr;
    state_.suspended.reset();
  }

  const Services& services() const { return state_.services; }
  const Serving& serving() const { return *state_.serving; }

  void StartRecord() {
    start_ns_ = services().clock->mono_ns();
    telemetry::DecisionRecord* record = state_.worker.draft.get();
    // Everything before the cells; those are written as they are used.
    new (record) telemetry::DecisionRecord;
    record->unix_ns = services().clock->unix_ns();
    record->generation = serving().number;
    record->request_id.Set(View(request_.request_id));
    record->path.Set(state_.path);
    record->body_bytes = body_.size;
    state_.context.record = record;
  }

  std::optional<Error> Parse() {
    request_.body_size = body_.size;
    request_.body = Str(body_.view());
    state_.parser = serving().parsers.Resolve(state_.path);
    if (state_.parser == nullptr) {
      return Error{ErrorCode::kBadRequest,
                   StrCat("no parser registered matching path suffix for: ", state_.path),
                   {}};
    }
    state_.parsed = {};
    state_.parsed.struct_size = sizeof(epp_parsed);
    state_.parsed.max_output_tokens = -1;
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    const scheduling::BoundPlugin& plugin = *state_.parser->plugin;
    if (plugin.guard().stuck()) {
      return Error{
          ErrorCode::kInternal, StrCat("parser \"", plugin.name(), "\" does not return"), {}};
    }
    // What grows with the prompt may take longer than the budget of a call.
    loader::ThisThread().allowance_ns = body_.size;  // 1 ns a byte
    const epp_call call = state_.context.CallFor(plugin, start_ns_);
    epp_status status;
    {
      const loader::InFlight inside(plugin.guard(), loader::Entry::kParser, start_ns_);
      status = state_.parser->table->parse_request(plugin.self(state_.worker.worker), &call,
                                                   &request_, &state_.parsed, &err);
    }
    const uint64_t took = services().clock->mono_ns() - start_ns_;
    state_.context.record->parse_ns = static_cast<uint32_t>(std::min<uint64_t>(took, UINT32_MAX));
    serving().observer->Called(state_.worker.worker, plugin, scheduling::Point::kParseRequest,
                               took);
    if (status != EPP_OK) {
      // Anything else is the client's fault. The text may quote the body, so it is not logged.
      if (status == EPP_INTERNAL) {
        serving().observer->Failed(state_.worker.worker, plugin, scheduling::Point::kParseRequest,
                                   status, "the request could not be parsed");
      }
      return Error{scheduling::FromStatus(status),
                   std::string(err.message, strnlen(err.message, sizeof(err.message))),
                   {}};
    }
    const epp_parsed& parsed = state_.parsed;
    if (parsed.model_offset > body_.size || parsed.model_size > body_.size - parsed.model_offset) {
      return Error{ErrorCode::kInternal,
                   StrCat("parser \"", plugin.name(), "\" gave a model outside the body"),
                   {}};
    }
    request_.parsed = &state_.parsed;
    state_.model = state_.kept.Copy(View(state_.parsed.model));
    request_.model = Str(state_.model);
    state_.context.record->streaming = parsed.flags & EPP_PARSED_STREAM;
    state_.context.record->model.Set(state_.model);
    return std::nullopt;
  }

  std::optional<Error> RewriteModel() {
    const std::string_view asked =
        state_.headers.Find("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite")
            .value_or("");
    state_.target_model = asked;
    if (state_.parsed.flags & EPP_PARSED_CAN_REWRITE) {
      if (state_.target_model.empty()) state_.target_model = state_.model;
      ApplyRule();
      if (state_.target_model.empty()) {
        return Error{ErrorCode::kBadRequest, "model not found in request body", {}};
      }
    }
    request_.target_model = Str(state_.target_model);
    state_.context.record->target_model.Set(state_.target_model);
    return std::nullopt;
  }

  // An object's rule for the model that the client named counts more than the client's header.
  void ApplyRule() {
    const objects::ObjectSet* objects = state_.worker.objects.Get();
    if (objects == nullptr) return;
    const objects::ObjectSet::Match match = objects->FindRule(state_.model);
    if (match.rule == nullptr) return;
    // The objects may be replaced while the request lives.
    state_.target_model =
        state_.kept.Copy(objects::ChooseTarget(*match.rule, state_.worker.random.Next()));
    services().metrics->ModelRewrite(match.rewrite->name, Label(state_.model),
                                     Label(state_.target_model));
  }

  void FindObjective() {
    const objects::ObjectSet* objects = state_.worker.objects.Get();
    if (objects != nullptr) request_.priority = objects->Priority(View(request_.objective));
  }

  std::optional<Error> ReadHeaders() {
    std::optional<Error> error = scheduling::ReadHeaders(state_.context);
    if (error || !serving().agent_identity || state_.has_fairness_id) return error;
    const epp_column& column = state_.context.request_columns[*serving().agent_identity];
    if (column.values == nullptr) return std::nullopt;
    const auto* text = static_cast<const epp_str*>(*static_cast<void* const*>(column.values));
    if (text == nullptr || text->size == 0) return std::nullopt;
    // The attribute goes with the request phase; the id is wanted until the end.
    request_.fairness_id = Str(state_.kept.Copy(Label(View(*text))));
    return std::nullopt;
  }

  std::optional<Error> Admit() {
    std::optional<Error> error = scheduling::Admit(state_.context);
    // The reference answers 500 whatever the admitter says.
    if (error && !services().options.own_denials) error->code = ErrorCode::kInternal;
    return error;
  }

  std::optional<Error> Candidates(const Metadata& metadata) {
    const std::shared_ptr<const pool::Frame>& frame = state_.worker.frames.Get();
    state_.context.record->frame = frame->number();
    state_.context.record->frame_age_ns =
        start_ns_ > frame->created_ns() ? start_ns_ - frame->created_ns() : 0;
    Subset subset;
    if (services().options.subset_filter) subset = LocateSubset(metadata, *frame, state_.arena);
    if (subset.given) {
      state_.context.record->subset = static_cast<int16_t>(std::min(subset.hinted, 0x7fffu));
    }
    // Without flow control this is all the admission there is.
    if (request_.priority < 0 && Saturation(*services().pool, *frame, subset.rows, !subset.given,
                                            start_ns_, services().options.shed_stale_ns) >= 1) {
      return Error{
          ErrorCode::kResourceExhausted, "system saturated, sheddable request dropped", {}};
    }
    if ((subset.given ? subset.rows.size() : frame->size()) == 0) {
      return Error{ErrorCode::kServiceUnavailable,
                   "failed to find endpoint candidates for serving the request",
                   scheduling::kRejectedNoEndpoints};
    }
    std::span<const uint32_t> rows = subset.given ? Reachable(*frame, subset.rows, state_.arena)
                                                  : Reachable(*frame, state_.arena);
    loader::ThisThread().allowance_ns +=
        kAllowanceNsPerEndpoint * (subset.given ? subset.rows.size() : frame->size());
    if (rows.size() == frame->size()) rows = {};
    scheduling::SetCandidates(state_.context, frame, rows.empty() ? nullptr : rows.data(),
                              static_cast<uint32_t>(rows.empty() ? frame->size() : rows.size()));
    return std::nullopt;
  }

  // Keeps for a shadow what the live decision is about to change.
  void Sample() {
    if (services().shadow == nullptr) return;
    ShadowSample& sample = state_.sample;
    sample.shadow = services().shadow->Sample(request_.number);
    if (!sample.shadow) return;
    const std::span<const epp_header> headers = state_.headers.view();
    const std::span<epp_header> copy = state_.arena.AllocArray<epp_header>(headers.size());
    std::copy_n(headers.begin(), copy.size(), copy.begin());
    sample.headers = copy;
    sample.random = loader::RandomSource::SavePerThread();
  }

  std::optional<Error> Pick() {
    const uint64_t begin = services().clock->mono_ns();
    std::optional<Error> error = scheduling::Schedule(state_.context);
    telemetry::EppMetrics& metrics = *services().metrics;
    metrics.scheduler_seconds.Observe(static_cast<double>(services().clock->mono_ns() - begin) *
                                      1e-9);
    if (error) {
      metrics.SchedulerAttempt(false, Label(state_.target_model), "", "", "");
      return error;
    }
    const epp_scheduling& scheduling = state_.context.scheduling;
    primary_ = scheduling.results[scheduling.primary];
    state_.destination_port = state_.context.destination_port;
    KeepTargets();
    const std::string_view full = View(state_.target->name);
    const size_t slash = full.find('/');
    char port[8];
    std::snprintf(port, sizeof(port), "%u", state_.target->port);
    metrics.SchedulerAttempt(true, Label(state_.target_model), full.substr(slash + 1),
                             full.substr(0, slash), port);
    return std::nullopt;
  }

  void KeepTargets() {
    const pool::Frame& frame = *state_.context.frame;
    for (uint32_t i = 0; i < primary_->target_count; ++i) {
      const size_t row = frame.RowOf(primary_->targets[i]->id);
      if (row < frame.size()) state_.targets.push_back(frame.owners()[row]);
    }
    state_.target = primary_->targets[0];
  }

  // Blocks of the prompt that the default prefix producer says the target holds; -1 when unknown.
  int64_t MatchedBlocks() const {
    if (!serving().match_blocks) return -1;
    const epp_column& column = state_.context.candidates->Column(
        {scheduling::Source::Kind::kProduced, *serving().match_blocks}, state_.arena);
    const uint32_t row = primary_->target_rows[0];
    const bool has =
        column.values && (!column.validity || (column.validity[row / 64] >> (row % 64) & 1));
    return has ? static_cast<const int64_t*>(column.values)[row] : -1;
  }

  std::optional<Error> ConditionalDecode() {
    const int64_t matched = MatchedBlocks();
    if (matched >= 0 && serving().match_block_size) {
      const epp_column& size = state_.context.request_columns[*serving().match_block_size];
      if (size.values) {
        state_.predicted_cached_tokens = matched * static_cast<const int64_t*>(size.values)[0];
      }
    }
    if (!IsConditionalDecode(state_.headers) || matched > 0) return std::nullopt;
    return Error{ErrorCode::kPreconditionFailed, "no decode worker has the requested KV cache", {}};
  }

  std::optional<Error> PreRequest() {
    state_.hooks_ran = true;
    const epp_editor editor{sizeof(epp_editor), 0,          &state_, &SetHeader,
                            &RemoveHeader,      &SetNumber, &SetText};
    std::vector<std::pair<epp_status, std::string>> failures;
    for (const scheduling::Step<epp_pre_request>& step : serving().wiring.pre_request) {
      const scheduling::BoundPlugin& plugin = *step.plugin;
      if (plugin.guard().off()) continue;
      epp_error err{sizeof(epp_error), EPP_OK, {}};
      const uint64_t begin = services().clock->mono_ns();
      const epp_call call = state_.context.CallFor(plugin, begin);
      const epp_candidates* in = state_.context.candidates->View(plugin, state_.arena);
      epp_status status;
      {
        const loader::InFlight inside(plugin.guard(), loader::Entry::kPreRequest, begin);
        status = step.table->pre_request(plugin.self(state_.worker.worker), &call,
                                         &state_.context.scheduling, in, &editor, &err);
      }
      serving().observer->Called(state_.worker.worker, plugin, scheduling::Point::kPreRequest,
                                 services().clock->mono_ns() - begin);
      if (status == EPP_OK) continue;
      const std::string_view text(err.message, strnlen(err.message, sizeof(err.message)));
      serving().observer->Failed(state_.worker.worker, plugin, scheduling::Point::kPreRequest,
                                 status, text);
      failures.emplace_back(status, StrCat("PreRequest \"", plugin.name(), "/", plugin.type_name(),
                                           "\" failed: ", text));
    }
    if (failures.empty()) return std::nullopt;
    std::string joined;
    for (const auto& [status, text] : failures) {
      if (!joined.empty()) joined += '\n';
      joined += text;
    }
    // One plugin with a reason of its own decides the status; anything else is our fault.
    const ErrorCode code =
        failures.size() == 1 ? scheduling::FromStatus(failures[0].first) : ErrorCode::kInternal;
    return Error{code, std::move(joined), {}};
  }

  RequestVerdict Forward() {
    RequestVerdict verdict;
    verdict.kind = RequestVerdict::Kind::kForward;
    const bool splice =
        (state_.parsed.flags & EPP_PARSED_CAN_REWRITE) && state_.target_model != state_.model;
    if (splice) {
      verdict.body = SpliceModel(body_.view(), state_.parsed, state_.target_model, state_.arena);
    } else if (body_.size > 0) {
      verdict.body = {body_.view()};
    }
    uint64_t forwarded_bytes = 0;
    for (const std::string_view piece : verdict.body) forwarded_bytes += piece.size();

    std::string destination;
    const uint32_t targets = services().options.single_destination ? 1 : primary_->target_count;
    for (uint32_t i = 0; i < targets; ++i) {
      if (i > 0) destination += ',';
      destination += DestinationOf(*primary_->targets[i], state_.destination_port);
    }
    verdict.headers.set.push_back({std::string(kDestination), destination});
    if (forwarded_bytes > 0) {
      verdict.headers.set.push_back({"Content-Length", StrCat(forwarded_bytes)});
    }
    state_.headers.AppendChanges(services().options.echo_headers, &verdict.headers);
    if (services().options.strip_system_headers) {
      for (const epp_header& header : state_.headers.view()) {
        const std::string_view name = View(header.name);
        if (IsSystemOwned(name) && name != kDestination && name != "content-length") {
          verdict.headers.remove.emplace_back(name);
        }
      }
    }
    // Behind what hooks set: of two values for one key the last one counts.
    verdict.metadata = std::move(state_.hook_metadata);
    verdict.metadata.push_back({"envoy.lb", std::string(kDestination), std::move(destination)});
    if (services().options.emit_endpoint_scores) AddScores(verdict);

    state_.forwarded = true;
    state_.want_response_body =
        services().options.observe_responses || state_.rewrites_response() ||
        (serving().response_wants &
         (EPP_WANT_FIRST | EPP_WANT_CHUNKS | EPP_WANT_END | EPP_WANT_USAGE));
    verdict.wants_response_body = state_.want_response_body;
    CountForwarded();
    return verdict;
  }

  void AddScores(RequestVerdict& verdict) const {
    const auto& scored = state_.context.scored[state_.context.scheduling.primary];
    if (scored.list == nullptr ||
        state_.context.wiring->profiles[state_.context.scheduling.primary].scorers.empty()) {
      return;
    }
    std::vector<std::pair<std::string, double>> scores;
    for (uint32_t i = 0; i < scored.list->size(); ++i) {
      scores.emplace_back(View(scored.list->endpoints()[i]->host_port), scored.totals[i]);
    }
    verdict.metadata.push_back({"envoy.lb", StrCat(kDestination, "-scores"), std::move(scores)});
  }

  RequestVerdict Reject(const Error& error) {
    telemetry::DecisionRecord& record = *state_.context.record;
    const bool shed =
        error.code == ErrorCode::kResourceExhausted || error.code == ErrorCode::kServiceUnavailable;
    record.outcome = shed ? telemetry::Outcome::kRejected : telemetry::Outcome::kError;
    record.http_status = static_cast<uint16_t>(scheduling::HttpStatus(error.code));
    record.message.Set(error.message);
    record.drop_reason.Set(error.drop_reason);
    Finish();
    services().metrics->RequestError(*state_.series, MetricCode(error.code));
    return Refuse(error);
  }

  void CountForwarded() {
    Finish();
    const telemetry::RequestSeries& series = *state_.series;
    series.total.Add();
    series.request_bytes.Observe(static_cast<double>(body_.size));
    if (!state_.model.empty()) series.running.Add(1);
  }

  // What both outcomes do: labels, durations, the record.
  void Finish() {
    telemetry::EppMetrics& metrics = *services().metrics;
    telemetry::DecisionRecord& record = *state_.context.record;
    state_.series = &metrics.Request(Label(state_.model), Label(state_.target_model),
                                     View(request_.fairness_id), request_.priority);
    const uint64_t now = services().clock->mono_ns();
    record.total_ns = static_cast<uint32_t>(std::min<uint64_t>(now - start_ns_, UINT32_MAX));
    const auto seconds = [](uint32_t ns) { return ns * 1e-9; };
    metrics.decision_seconds[telemetry::EppMetrics::kParse].Observe(seconds(record.parse_ns));
    metrics.decision_seconds[telemetry::EppMetrics::kProduce].Observe(seconds(record.produce_ns));
    metrics.decision_seconds[telemetry::EppMetrics::kFilter].Observe(seconds(record.filter_ns));
    metrics.decision_seconds[telemetry::EppMetrics::kScore].Observe(seconds(record.score_ns));
    metrics.decision_seconds[telemetry::EppMetrics::kPick].Observe(seconds(record.pick_ns));
    metrics.decision_seconds[telemetry::EppMetrics::kTotal].Observe(seconds(record.total_ns));
    metrics.request_processing_seconds.Observe(static_cast<double>(now - state_.received_ns) *
                                               1e-9);
    if (!services().decisions->enabled()) return;
    record.objective.Set(View(request_.objective));
    record.priority = request_.priority;
    record.fairness_hash = SipHash(View(request_.fairness_id), services().identifier_key);
    record.cached_predicted = state_.predicted_cached_tokens;
    if (serving().tokenized_prompt) {
      const epp_column& column = state_.context.request_columns[*serving().tokenized_prompt];
      if (column.values) {
        const auto* prompt =
            static_cast<const epp_tokenized_prompt*>(*static_cast<void* const*>(column.values));
        if (prompt) record.tokens = static_cast<int64_t>(prompt->offsets[prompt->prompt_count]);
      }
    }
    state_.ticket = services().decisions->Add(state_.worker.worker, record);
    metrics.decision_records.Add();
  }

  RequestState& state_;
  Body body_;
  epp_request& request_;
  uint64_t start_ns_ = 0;
  const epp_profile_result* primary_ = nullptr;
};

}  // namespace

void Receive(RequestState& state, std::span<const Header> headers) {
  const Services& services = state.services;
  state.received_ns = services.clock->mono_ns();
  state.serving = state.worker.serving.Get();
  state.headers.Assign(headers);

  scheduling::RequestContext& context = state.context;
  context.wiring = &state.serving->wiring;
  context.arena = &state.arena;
  context.kept = &state.kept;
  context.clock = services.clock;
  context.observer = state.serving->observer;
  context.worker = state.worker.worker;
  context.operations = state.waker ? services.operations : nullptr;
  context.waker = state.waker;
  context.Prepare();

  if (const std::string_view id = ReceivedRequestId(headers); id.empty()) {
    state.headers.Set("x-request-id", NewRequestId(state.worker.random));
  } else if (state.headers.Find("x-request-id") != id) {
    state.headers.Set("x-request-id", id);
  }
  state.path = RequestPath(state.headers.Find(":path").value_or(""),
                           state.headers.Find("x-original-path").value_or(""),
                           state.headers.Find("x-forwarded-path").value_or(""));
  std::string_view fairness =
      state.headers.Find("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id")
          .value_or("");
  state.has_fairness_id = !fairness.empty();
  if (fairness.empty()) fairness = kDefaultFlow;

  epp_request& request = context.request;
  request.struct_size = sizeof(epp_request);
  request.number = state.worker.random.Next();
  request.request_id = Str(state.headers.Find("x-request-id").value_or(""));
  request.path = Str(state.path);
  request.fairness_id = Str(Label(fairness));
  request.objective =
      Str(state.headers.Find("x-llm-d-inference-objective", "x-gateway-inference-objective")
              .value_or(""));
  ShowHeaders(state);
  request.received_ns = state.received_ns;
}

RequestVerdict DirectBodyless(RequestState& state, const Metadata& metadata) {
  const Services& services = state.services;
  const std::shared_ptr<const pool::Frame>& frame = state.worker.frames.Get();
  Subset subset;
  if (services.options.subset_filter) subset = LocateSubset(metadata, *frame, state.arena);
  const size_t count = subset.given ? subset.rows.size() : frame->size();
  if (count == 0) {
    const Error error{services.options.bodyless_unavailable ? ErrorCode::kServiceUnavailable
                                                            : ErrorCode::kInternal,
                      "no pods available in datastore",
                      {}};
    services.metrics->RequestError(services.metrics->Request("", "", kDefaultFlow, 0),
                                   MetricCode(error.code));
    return Refuse(error);
  }
  const size_t at = state.worker.random.Next() % count;
  const size_t row = subset.given ? subset.rows[at] : at;
  const std::string destination(View(frame->endpoints()[row]->host_port));

  RequestVerdict verdict;
  verdict.kind = RequestVerdict::Kind::kForward;
  verdict.headers.set.push_back({std::string(kDestination), destination});
  state.headers.AppendChanges(false, &verdict.headers);
  verdict.metadata.push_back({"envoy.lb", std::string(kDestination), destination});
  verdict.wants_response_body = false;
  state.forwarded = true;
  return verdict;
}

RequestVerdict Direct(RequestState& state, Body body, const Metadata& metadata) {
  if (body.data == nullptr) {
    // Parsers are promised padding behind every body.
    const std::span<char> padding = state.arena.AllocArray<char>(Body::kPadding);
    std::fill(padding.begin(), padding.end(), '\0');
    body = {padding.data(), 0};
  }
  return Directing(state, body).Run(metadata);
}

RequestVerdict Resume(RequestState& state) {
  if (!state.suspended) return {};
  return Directing(state, state.suspended->body).Resume();
}

void Abandon(RequestState& state) {
  if (state.suspended) Directing(state, state.suspended->body).Leave();
}

void AskShadow(RequestState& state) {
  if (!state.sample.shadow) return;
  const std::shared_ptr<Shadow> shadow = std::move(state.sample.shadow);
  state.sample.run = shadow->Decide(state);
}

void Sent(RequestState& state) {
  AskShadow(state);
  state.context.Release();
  state.arena.Release();
}

RequestVerdict Refuse(const scheduling::Error& error) {
  RequestVerdict verdict;
  const int status = scheduling::HttpStatus(error.code);
  if (status == 0) {
    verdict.kind = RequestVerdict::Kind::kFail;
    verdict.failure = absl::UnknownError(StrCat("failed to handle request: ", error.message));
    return verdict;
  }
  verdict.kind = RequestVerdict::Kind::kImmediate;
  verdict.immediate.http_status = status;
  verdict.immediate.body = utf8::Sanitise(
      StrCat("inference error: ", scheduling::Name(error.code), " - ", error.message));
  if (!error.drop_reason.empty()) {
    verdict.immediate.headers.push_back(
        {"x-llm-d-request-dropped-reason", std::string(error.drop_reason)});
  }
  return verdict;
}

}  // namespace epp::request
