#include "host/scheduling/cycle.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "host/base/str_cat.h"
#include "host/loader/guard.h"
#include "host/scheduling/calls.h"
#include "host/scheduling/outputs.h"
#include "host/scheduling/record.h"
#include "host/scheduling/steering.h"

namespace epp::scheduling {
namespace {

using loader::Entry;
using loader::InFlight;

// What plugins may take of the arena; the rest is kept for the host's own needs.
constexpr size_t kPluginArenaBytes = size_t{192} << 20;

void* AllocIn(Arena& arena, uint64_t size, uint64_t align) {
  if (size > kPluginArenaBytes || arena.reserved_bytes() + size > kPluginArenaBytes) {
    return nullptr;
  }
  return arena.Alloc(size, std::max<uint64_t>(align, 1));
}

void* PluginAlloc(void* context, uint64_t size, uint64_t align) EPP_NOEXCEPT {
  return AllocIn(*static_cast<RequestContext*>(context)->arena, size, align);
}

void* PluginKeep(void* context, uint64_t size, uint64_t align) EPP_NOEXCEPT {
  return AllocIn(*static_cast<RequestContext*>(context)->kept, size, align);
}

// total[i] += weight * clamp(scores[i], 0, 1), with what is not finite taken as 0. Leaves the
// clamped scores behind. Returns how many were not finite.
uint64_t Accumulate(double* scores, double* totals, uint32_t n, double weight) {
  uint64_t bad = 0;
  for (uint32_t i = 0; i < n; ++i) {
    double score = scores[i];
    const bool finite = std::isfinite(score);
    bad += !finite;
    score = finite ? score : 0.0;
    score = score < 0.0 ? 0.0 : score;
    score = score > 1.0 ? 1.0 : score;
    scores[i] = score;
    totals[i] += weight * score;
  }
  return bad;
}

// The outcome of a profile that found no target.
const epp_profile_result* EmptyResult(int32_t state) {
  static constexpr auto make = [](int32_t s) {
    return epp_profile_result{sizeof(epp_profile_result), s, 0, 0, nullptr, nullptr};
  };
  static constexpr std::array<epp_profile_result, 4> results{make(0), make(1), make(2), make(3)};
  return &results[static_cast<size_t>(state)];
}

// True when all are positions below n, each at most once.
bool Distinct(std::span<const uint32_t> picks, uint32_t n, Arena& arena) {
  if (picks.size() == 1) return picks[0] < n;
  uint64_t* seen = Zeroed(n, arena);
  for (const uint32_t p : picks) {
    if (p >= n || TestBit(seen, p)) return false;
    SetBit(seen, p);
  }
  return true;
}

// What no request can do without has not returned from another call: waiting for it as well would
// take this worker, too.
Error Stuck(std::string_view what, const BoundPlugin& plugin) {
  return {ErrorCode::kInternal, StrCat(what, " \"", plugin.name(), "\" does not return"), {}};
}

std::optional<Error> RunProfile(RequestContext& context, size_t index) {
  const Profile& profile = context.wiring->profiles[index];
  Arena& arena = *context.arena;
  CandidateList* list = context.candidates;
  telemetry::DecisionRecord* record = context.record;
  telemetry::ProfileRecord* log = nullptr;
  if (record && record->profile_count < telemetry::DecisionRecord::kMaxProfiles) {
    log = &record->profiles[record->profile_count++];
    *log = telemetry::ProfileRecord{};
    log->profile = static_cast<uint16_t>(index);
    log->candidates = list->size();
  }

  Stopwatch watch(context);
  epp_error err = EmptyError();
  for (const Step<epp_filter>& step : profile.filters) {
    if (list->size() == 0) break;
    if (step.plugin->guard().off()) continue;  // as if it had failed: all stay
    const epp_call call = context.CallFor(*step.plugin, watch.now());
    uint64_t* keep = Zeroed(list->size(), arena);
    Clear(err);
    const epp_candidates* in = list->View(*step.plugin, arena);
    epp_status status;
    {
      const InFlight inside(step.plugin->guard(), Entry::kFilter, watch.now());
      status = step.table->filter(step.plugin->self(context.worker), &call, in, keep, &err);
    }
    CandidateList* kept = list;
    if (status == EPP_OK) {
      kept = list->Keep(keep, arena);
    } else {
      context.observer->Failed(context.worker, *step.plugin, Point::kFilter, status, Message(err));
    }
    if (log) RecordFilter(*record, *log, *step.plugin, *list, *kept);
    list = kept;
    const uint64_t took = watch.Lap(*step.plugin, Point::kFilter);
    if (record) Count(&record->filter_ns, took);
  }
  if (list->size() == 0) {
    if (log) log->failed = true;
    return Error{ErrorCode::kResourceExhausted, "no endpoints available for the given request",
                 kRejectedSaturated};
  }

  const uint32_t n = list->size();
  double* totals = arena.AllocArray<double>(n).data();
  std::memset(totals, 0, n * sizeof(double));
  double* scores = arena.AllocArray<double>(profile.scorers.size() * n + 1).data();
  for (size_t s = 0; s < profile.scorers.size(); ++s) {
    const ScorerStep& step = profile.scorers[s];
    double* out = scores + s * n;
    std::memset(out, 0, n * sizeof(double));
    if (step.plugin->guard().off()) continue;  // contributes nothing
    const epp_call call = context.CallFor(*step.plugin, watch.now());
    Clear(err);
    const epp_candidates* in = list->View(*step.plugin, arena);
    epp_status status;
    {
      const InFlight inside(step.plugin->guard(), Entry::kScorer, watch.now());
      status = step.table->score(step.plugin->self(context.worker), &call, in, out, &err);
    }
    if (status == EPP_OK) {
      if (const uint64_t bad = Accumulate(out, totals, n, step.weight)) {
        context.observer->BadScores(context.worker, *step.plugin, bad);
      }
    } else {
      std::memset(out, 0, n * sizeof(double));
      context.observer->Failed(context.worker, *step.plugin, Point::kScorer, status, Message(err));
    }
    const uint64_t took = watch.Lap(*step.plugin, Point::kScorer);
    if (record) Count(&record->score_ns, took);
  }
  context.scored[index] = {list, totals};

  const BoundPlugin& picker = *profile.picker.plugin;
  if (picker.guard().stuck()) {
    if (log) log->failed = true;
    return Stuck("picker", picker);
  }
  const epp_call call = context.CallFor(picker, watch.now());
  uint32_t* picks = arena.AllocArray<uint32_t>(n).data();
  std::fill(picks, picks + n, n);  // what the picker counts but does not write is outside
  uint32_t pick_count = 0;
  Clear(err);
  const epp_candidates* in = list->View(picker, arena);
  epp_status status;
  {
    const InFlight inside(picker.guard(), Entry::kPicker, watch.now());
    status = profile.picker.table->pick(picker.self(context.worker), &call, in, totals, picks,
                                        &pick_count, &err);
  }
  const uint64_t took = watch.Lap(picker, Point::kPicker);
  if (record) Count(&record->pick_ns, took);
  const bool valid = pick_count <= n && Distinct({picks, pick_count}, n, arena);
  if (status != EPP_OK || pick_count == 0 || !valid) {
    if (log) log->failed = true;
    const std::string_view why = status != EPP_OK ? Message(err)
                                 : pick_count == 0
                                     ? std::string_view("picked nothing")
                                     : std::string_view("picked outside the list, or twice");
    context.observer->Failed(context.worker, picker, Point::kPicker,
                             status == EPP_OK ? EPP_INTERNAL : status, why);
    return Error{
        ErrorCode::kInternal, "picker \"" + picker.name() + "\" failed: " + std::string(why), {}};
  }
  if (log) {
    const size_t share =
        telemetry::DecisionRecord::kMaxCells /
        std::min(context.wiring->profiles.size(), telemetry::DecisionRecord::kMaxProfiles);
    RecordScores(*record, *log, profile, *list, scores, totals, {picks, pick_count}, share, arena);
  }

  auto* targets = arena.AllocArray<const epp_endpoint*>(pick_count).data();
  uint32_t* rows = arena.AllocArray<uint32_t>(pick_count).data();
  for (uint32_t p = 0; p < pick_count; ++p) {
    targets[p] = list->endpoints()[picks[p]];
    rows[p] = list->rows()[picks[p]];
  }
  context.results[index] =
      arena.New<epp_profile_result>(static_cast<uint32_t>(sizeof(epp_profile_result)),
                                    EPP_PROFILE_OK, pick_count, 0u, targets, rows);
  return std::nullopt;
}

// A handler's failure, with those of the profiles joined. The first typed error decides.
Error Join(const Wiring& wiring, std::string_view handler_message,
           std::span<const std::optional<Error>> failures) {
  std::vector<std::pair<std::string_view, const Error*>> by_name;
  for (size_t i = 0; i < failures.size(); ++i) {
    if (failures[i]) by_name.emplace_back(wiring.profiles[i].name, &*failures[i]);
  }
  std::sort(by_name.begin(), by_name.end());
  Error joined{ErrorCode::kResourceExhausted,
               "failed to find target endpoint: " + std::string(handler_message),
               {}};
  if (!by_name.empty()) {
    joined.code = by_name.front().second->code;
    joined.drop_reason = by_name.front().second->drop_reason;
    joined.message = by_name.front().second->message;
  }
  return joined;
}

}  // namespace

void RequestContext::Prepare() {
  const size_t plugins = wiring->plugins.size();
  states = kept->AllocArray<void*>(plugins + 1).data();
  std::fill(states, states + plugins, nullptr);
  request_columns = arena->AllocArray<epp_column>(wiring->produced.size() + 1).data();
  std::fill(request_columns, request_columns + wiring->produced.size(),
            epp_column{nullptr, nullptr, nullptr});
  produced_ok = Zeroed(wiring->produced.size() + 1, *arena);
  const size_t profiles = wiring->profiles.size();
  results = arena->AllocArray<const epp_profile_result*>(profiles + 1).data();
  std::fill(results, results + profiles, EmptyResult(EPP_PROFILE_NOT_RUN));
  scored = arena->AllocArray<Scored>(profiles + 1).data();
  std::fill(scored, scored + profiles, Scored{});
  scheduling = {sizeof(epp_scheduling),
                static_cast<uint32_t>(profiles),
                static_cast<uint32_t>(profiles),
                0,
                wiring->profile_names.data(),
                results,
                nullptr};
  destination_port.reset();
}

void RequestContext::Release() {
  candidates = nullptr;
  frame.reset();
  request_columns = nullptr;
  produced_ok = nullptr;
  results = nullptr;
  scored = nullptr;
  record = nullptr;
  scheduling = {};
  request.parsed = nullptr;
  request.body = {nullptr, 0};
}

epp_call RequestContext::CallFor(const BoundPlugin& plugin, uint64_t now_ns) {
  epp_column* columns = nullptr;
  if (!plugin.request_columns.empty()) {
    columns = arena->AllocArray<epp_column>(plugin.request_columns.size()).data();
    for (size_t i = 0; i < plugin.request_columns.size(); ++i) {
      const Source& source = plugin.request_columns[i];
      columns[i] = request_columns && source.kind == Source::Kind::kProduced
                       ? request_columns[source.index]
                       : epp_column{nullptr, nullptr, nullptr};
      // Asked before its producer ran.
      if (request_columns && source.kind == Source::Kind::kProduced && !columns[i].values) {
        columns[i] = EmptyColumn(wiring->produced[source.index].type, 1, *arena);
      }
    }
  }
  epp_call call{};
  call.struct_size = sizeof(epp_call);
  call.worker = worker;
  call.now_ns = now_ns;
  call.request = &request;
  call.request_columns = columns;
  call.state = &states[plugin.index];
  call.arena = this;
  call.alloc = &PluginAlloc;
  call.keep = &PluginKeep;
  return call;
}

void SetCandidates(RequestContext& context, std::shared_ptr<const pool::Frame> frame,
                   const uint32_t* rows, uint32_t count) {
  context.frame = std::move(frame);
  context.candidates = CandidateList::Of(*context.frame, rows, count, context.clock->mono_ns(),
                                         *context.wiring, *context.arena);
}

std::optional<Error> Schedule(RequestContext& context) {
  const Wiring& wiring = *context.wiring;
  const BoundPlugin& handler = *wiring.handler.plugin;
  const size_t profiles = wiring.profiles.size();
  std::vector<std::optional<Error>> failures;  // stays empty while nothing fails
  bool any_run = false;
  epp_error err = EmptyError();
  Stopwatch watch(context);
  if (handler.guard().stuck()) return Stuck("profile handler", handler);

  Steering steering(context);
  int32_t* decisions = context.arena->AllocArray<int32_t>(profiles + 1).data();
  // Each round must run a profile that has not run, so this ends.
  for (size_t round = 0; round <= profiles; ++round) {
    std::fill(decisions, decisions + profiles, EPP_DECIDE_NOTHING);
    watch.Restart();
    const epp_call call = context.CallFor(handler, watch.now());
    Clear(err);
    const epp_candidates* in = context.candidates->View(handler, *context.arena);
    steering.Begin();
    epp_status status;
    {
      const InFlight inside(handler.guard(), Entry::kProfileHandler, watch.now());
      status = wiring.handler.table->choose(handler.self(context.worker), &call,
                                            &context.scheduling, in, decisions, &err);
    }
    watch.Lap(handler, Point::kProfilePicker);
    if (status != EPP_OK) {
      context.observer->Failed(context.worker, handler, Point::kProfilePicker, status,
                               Message(err));
      return Error{
          FromStatus(status),
          "profile handler \"" + handler.name() + "\" failed: " + std::string(Message(err)),
          {}};
    }
    steering.Publish();
    bool ran = false;
    for (size_t p = 0; p < profiles; ++p) {
      if (context.results[p]->state != EPP_PROFILE_NOT_RUN) continue;
      if (decisions[p] == EPP_DECIDE_SKIP) {
        context.results[p] = EmptyResult(EPP_PROFILE_SKIPPED);
        any_run = true;
      } else if (decisions[p] == EPP_DECIDE_RUN) {
        ran = any_run = true;
        if (std::optional<Error> failure = RunProfile(context, p)) {
          context.results[p] = EmptyResult(EPP_PROFILE_FAILED);
          failures.resize(profiles);
          failures[p] = std::move(failure);
        }
      }
    }
    if (!ran) break;
  }
  if (!any_run) {
    return Error{
        ErrorCode::kResourceExhausted,
        "failed to find target endpoint: failed to run any scheduler profile for request " +
            std::string(context.request.request_id.data ? context.request.request_id.data : "",
                        context.request.request_id.size),
        {}};
  }

  watch.Restart();
  uint32_t primary = static_cast<uint32_t>(profiles);
  const epp_call call = context.CallFor(handler, watch.now());
  Clear(err);
  const epp_candidates* in = context.candidates->View(handler, *context.arena);
  steering.Begin();
  epp_status status;
  {
    const InFlight inside(handler.guard(), Entry::kProfileHandler, watch.now());
    status = wiring.handler.table->conclude(handler.self(context.worker), &call,
                                            &context.scheduling, in, &primary, &err);
  }
  watch.Lap(handler, Point::kProcessResults);
  if (status != EPP_OK) {
    // With a failed profile the handler only passes on what was counted there.
    if (failures.empty()) {
      context.observer->Failed(context.worker, handler, Point::kProcessResults, status,
                               Message(err));
    }
    return Join(wiring, Message(err), failures);
  }
  steering.Publish();
  if (primary >= profiles || context.results[primary]->target_count == 0) {
    return Error{ErrorCode::kInternal, "results must be greater than zero", {}};
  }
  context.scheduling.primary = primary;
  if (context.record) {
    for (uint8_t i = 0; i < context.record->profile_count; ++i) {
      if (context.record->profiles[i].profile == primary) context.record->primary = i;
    }
  }
  return std::nullopt;
}

}  // namespace epp::scheduling
