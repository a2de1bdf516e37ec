#include "host/scheduling/gates.h"

#include <string>

#include "host/base/str_cat.h"
#include "host/loader/guard.h"
#include "host/scheduling/calls.h"
#include "host/scheduling/outputs.h"

namespace epp::scheduling {
namespace {

using loader::Entry;
using loader::InFlight;
using telemetry::GateKind;

void Record(RequestContext& context, GateKind kind, const BoundPlugin& plugin, uint32_t in,
            uint32_t out) {
  if (context.record == nullptr) return;
  telemetry::DecisionRecord& record = *context.record;
  if (record.gate_count == telemetry::DecisionRecord::kMaxGates) {
    // The one that ends the request matters more than another that let it pass.
    if (out != 0) return;
    --record.gate_count;
  }
  record.gates[record.gate_count++] = {static_cast<uint16_t>(plugin.index), kind, in, out};
}

void Publish(RequestContext& context, const BoundPlugin& plugin, const Outputs& out) {
  for (size_t i = 0; i < plugin.request_outputs.size(); ++i) {
    const uint32_t produced = plugin.request_outputs[i];
    const int32_t type = context.wiring->produced[produced].type;
    context.request_columns[produced] = Published(out.request_columns[i], type, 1, *context.arena);
    if (context.request_columns[produced].validity == nullptr) {
      SetBit(context.produced_ok, produced);
    }
  }
}

}  // namespace

std::optional<Error> ReadHeaders(RequestContext& context) {
  if (context.wiring->headers.empty()) return std::nullopt;
  epp_error err = EmptyError();
  Stopwatch watch(context);
  for (const HeaderStep& step : context.wiring->headers) {
    const BoundPlugin& plugin = *step.plugin;
    // It may be there to refuse, so no request goes past it.
    if (plugin.guard().stuck()) {
      return Error{ErrorCode::kInternal,
                   StrCat("header plugin \"", plugin.name(), "\" does not return"),
                   {}};
    }
    epp_outputs none{sizeof(epp_outputs), 0, nullptr, nullptr};
    Outputs out;
    if (step.publishes) {
      out = MakeOutputs(plugin, *context.wiring, 0, *context.arena);
      out.abi.columns = nullptr;
    }
    const epp_call call = context.CallFor(plugin, watch.now());
    Clear(err);
    epp_status status;
    {
      const InFlight inside(plugin.guard(), Entry::kRequestHeader, watch.now());
      status = step.table->request_header(plugin.self(context.worker), &call,
                                          step.publishes ? &out.abi : &none, &err);
    }
    watch.Lap(plugin, Point::kRequestHeader);
    if (status != EPP_OK) {
      context.observer->Failed(context.worker, plugin, Point::kRequestHeader, status, Message(err));
      Record(context, GateKind::kHeaders, plugin, 0, 0);
      return Error{FromStatus(status), std::string(Message(err)), {}};
    }
    if (step.publishes) Publish(context, plugin, out);
  }
  return std::nullopt;
}

std::optional<Error> Screen(RequestContext& context) {
  if (context.wiring->screeners.empty()) return std::nullopt;
  CandidateList& all = *context.candidates;
  Arena& arena = *context.arena;
  uint64_t* both = Zeroed(all.size(), arena, ~uint64_t{0});
  epp_error err = EmptyError();
  Stopwatch watch(context);
  for (const Step<epp_screener>& step : context.wiring->screeners) {
    const BoundPlugin& plugin = *step.plugin;
    if (plugin.guard().off()) continue;  // as if it had failed: all stay
    const epp_call call = context.CallFor(plugin, watch.now());
    uint64_t* keep = Zeroed(all.size(), arena);
    const epp_candidates* in = all.View(plugin, arena);
    Clear(err);
    epp_status status;
    {
      const InFlight inside(plugin.guard(), Entry::kScreener, watch.now());
      status = step.table->screen(plugin.self(context.worker), &call, in, keep, &err);
    }
    watch.Lap(plugin, Point::kScreener);
    if (status != EPP_OK) {
      context.observer->Failed(context.worker, plugin, Point::kScreener, status, Message(err));
      continue;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < all.size(); ++i) kept += TestBit(keep, i);
    for (size_t w = 0; w < (all.size() + 63) / 64; ++w) both[w] &= keep[w];
    Record(context, GateKind::kScreener, plugin, all.size(), kept);
  }
  const CandidateList* kept = all.Keep(both, arena);
  if (kept == &all) return std::nullopt;
  if (kept->size() == 0) {
    return Error{ErrorCode::kServiceUnavailable, "screeners eliminated all endpoint candidates",
                 kRejectedNoEndpoints};
  }
  // From here on these are all candidates: what is produced is dense over them.
  SetCandidates(context, context.frame, kept->frame_rows(), kept->size());
  return std::nullopt;
}

std::optional<Error> Admit(RequestContext& context) {
  if (context.wiring->admitters.empty()) return std::nullopt;
  epp_error err = EmptyError();
  Stopwatch watch(context);
  for (const Step<epp_admitter>& step : context.wiring->admitters) {
    const BoundPlugin& plugin = *step.plugin;
    if (plugin.guard().off()) continue;
    const epp_call call = context.CallFor(plugin, watch.now());
    const epp_candidates* in = context.candidates->View(plugin, *context.arena);
    Clear(err);
    epp_status status;
    {
      const InFlight inside(plugin.guard(), Entry::kAdmitter, watch.now());
      status = step.table->admit(plugin.self(context.worker), &call, in, &err);
    }
    watch.Lap(plugin, Point::kAdmitter);
    if (status == EPP_OK) continue;
    if (status == EPP_INTERNAL || status == EPP_UNKNOWN) {
      context.observer->Failed(context.worker, plugin, Point::kAdmitter, status, Message(err));
      continue;
    }
    Record(context, GateKind::kAdmitter, plugin, context.candidates->size(), 0);
    return Error{FromStatus(status), StrCat("request cannot be admitted: ", Message(err)), {}};
  }
  return std::nullopt;
}

}  // namespace epp::scheduling
