// The producers of a request: one after another, suspended while one of them waits.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "host/base/str_cat.h"
#include "host/loader/guard.h"
#include "host/scheduling/cycle.h"

namespace epp::scheduling {
namespace {

using loader::Entry;
using loader::InFlight;

uint64_t* Filled(size_t bits, Arena& arena) {
  const std::span<uint64_t> words = arena.AllocArray<uint64_t>((bits + 63) / 64);
  std::fill(words.begin(), words.end(), ~uint64_t{0});
  return words.data();
}

bool TestBit(const uint64_t* words, uint32_t i) { return words[i / 64] >> (i % 64) & 1; }
void SetBit(uint64_t* words, uint32_t i) { words[i / 64] |= uint64_t{1} << (i % 64); }

std::string_view Message(const epp_error& err) {
  return {err.message, strnlen(err.message, sizeof(err.message))};
}

size_t ValueSize(int32_t type) {
  switch (type) {
    case EPP_T_BOOL:
      return 1;
    case EPP_T_SYMBOL:
      return 4;
    default:
      return 8;
  }
}

struct Outputs {
  epp_outputs abi{};
  epp_out_column* columns = nullptr;
  epp_out_column* request_columns = nullptr;
};

epp_out_column MakeOutput(int32_t type, uint32_t n, Arena& arena) {
  epp_out_column out{nullptr, Filled(std::max(n, 1u), arena), nullptr};
  if (type == EPP_T_SYMBOL_LIST) return out;
  const size_t bytes = std::max<size_t>(ValueSize(type) * n, 8);
  out.values = arena.Alloc(bytes, 64);
  std::memset(out.values, 0, bytes);
  return out;
}

Outputs MakeOutputs(const BoundPlugin& plugin, const Wiring& wiring, uint32_t n, Arena& arena) {
  Outputs out;
  out.columns = arena.AllocArray<epp_out_column>(plugin.outputs.size() + 1).data();
  out.request_columns = arena.AllocArray<epp_out_column>(plugin.request_outputs.size() + 1).data();
  for (size_t i = 0; i < plugin.outputs.size(); ++i) {
    out.columns[i] = MakeOutput(wiring.produced[plugin.outputs[i]].type, n, arena);
  }
  for (size_t i = 0; i < plugin.request_outputs.size(); ++i) {
    out.request_columns[i] = MakeOutput(wiring.produced[plugin.request_outputs[i]].type, 1, arena);
  }
  out.abi = {sizeof(epp_outputs), 0, out.columns, out.request_columns};
  return out;
}

// Empties the lists of rows that were cleared, in the producer's own memory.
void EmptyClearedLists(const epp_out_column& out, uint32_t n) {
  auto* items = static_cast<uint32_t*>(out.values);
  uint32_t at = out.offsets[0];
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t begin = out.offsets[i];
    const uint32_t count = TestBit(out.validity, i) ? out.offsets[i + 1] - begin : 0;
    std::memmove(items + at, items + begin, count * sizeof(uint32_t));
    out.offsets[i] = at;
    at += count;
  }
  out.offsets[n] = at;
}

// A column as consumers see it: all valid is a null bitmap, no value reads as 0.
epp_column Published(const epp_out_column& out, int32_t type, uint32_t n, Arena& arena) {
  epp_column column{out.values, out.validity, out.offsets};
  if (type == EPP_T_SYMBOL_LIST && (out.values == nullptr || out.offsets == nullptr)) {
    return EmptyColumn(type, n, arena);
  }
  bool all = true;
  for (uint32_t i = 0; i < n; ++i) {
    if (TestBit(out.validity, i)) continue;
    all = false;
    if (type != EPP_T_SYMBOL_LIST) {
      std::memset(static_cast<char*>(out.values) + i * ValueSize(type), 0, ValueSize(type));
    }
  }
  if (all) {
    column.validity = nullptr;
  } else if (type == EPP_T_SYMBOL_LIST) {
    EmptyClearedLists(out, n);
  }
  return column;
}

// The columns of a producer that did not run or failed: no row has a value.
void SetEmpty(RequestContext& context, const BoundPlugin& plugin) {
  const auto empty = [&](uint32_t produced, uint32_t n) {
    return EmptyColumn(context.wiring->produced[produced].type, n, *context.arena);
  };
  for (const uint32_t produced : plugin.outputs) {
    context.candidates->SetProduced(produced, empty(produced, context.candidates->size()));
  }
  for (const uint32_t produced : plugin.request_outputs) {
    context.request_columns[produced] = empty(produced, 1);
  }
}

void Publish(RequestContext& context, const BoundPlugin& plugin, const Outputs& out) {
  const Wiring& wiring = *context.wiring;
  const uint32_t n = context.candidates->size();
  for (size_t i = 0; i < plugin.outputs.size(); ++i) {
    const uint32_t produced = plugin.outputs[i];
    context.candidates->SetProduced(
        produced, Published(out.columns[i], wiring.produced[produced].type, n, *context.arena));
    SetBit(context.produced_ok, produced);
  }
  for (size_t i = 0; i < plugin.request_outputs.size(); ++i) {
    const uint32_t produced = plugin.request_outputs[i];
    const epp_column column =
        Published(out.request_columns[i], wiring.produced[produced].type, 1, *context.arena);
    context.request_columns[produced] = column;
    // A request-scope attribute that was cleared counts as not produced.
    if (column.validity == nullptr) SetBit(context.produced_ok, produced);
  }
}

// One producer's turn, from its start to its end.
class Turn {
 public:
  Turn(RequestContext& context, const ProducerStep& step)
      : context_(context),
        step_(step),
        plugin_(*step.plugin),
        state_(context.producing),
        begin_ns_(context.clock->mono_ns()) {}

  // False: it waits.
  bool Start() {
    state_.began_ns = begin_ns_;
    Outputs out =
        MakeOutputs(plugin_, *context_.wiring, context_.candidates->size(), *context_.arena);
    if (step_.async == nullptr) {
      End(Call([&](const epp_call& call, const epp_candidates* in) {
            return step_.table->produce(Self(), &call, in, &out.abi, &err_);
          }),
          out);
      return true;
    }
    epp_completion done{};
    if (context_.operations != nullptr) {
      done = context_.operations->Begin(context_.worker, context_.waker);
    }
    state_.token = done.token;
    state_.deadline_ns = begin_ns_ + step_.timeout_ns;
    void* operation = nullptr;
    const epp_status status = Call([&](const epp_call& call, const epp_candidates* in) {
      return step_.async->start(Self(), &call, in, &out.abi, &done, &operation, &err_);
    });
    if (status == EPP_OK && operation != nullptr) {
      state_.operation = operation;
      if (state_.token == 0) {
        Cancel(step_, context_);
        Fail(EPP_UNAVAILABLE, "cannot wait here");
        return true;
      }
      if (context_.operations->Done(state_.token)) return Finish(), true;
      context_.operations->WakeAt(state_.token, state_.deadline_ns);
      return false;
    }
    Forget();
    End(status, out);
    return true;
  }

  // For one that waited. False: it still does.
  bool Resume() {
    if (context_.operations->Done(state_.token)) return Finish(), true;
    if (begin_ns_ < state_.deadline_ns) return false;
    Cancel(step_, context_);
    Fail(EPP_DEADLINE_EXCEEDED, StrCat("not done within ", step_.timeout_ns / 1'000'000, " ms"));
    return true;
  }

  // Ends the operation that is under way.
  static void Cancel(const ProducerStep& step, RequestContext& context) {
    Producing& state = context.producing;
    {
      const InFlight inside(step.plugin->guard(), Entry::kProducer, context.clock->mono_ns());
      step.async->cancel(step.plugin->self(context.worker),
                         std::exchange(state.operation, nullptr));
    }
    if (const uint64_t token = std::exchange(state.token, 0)) context.operations->End(token);
  }

 private:
  void* Self() const { return plugin_.self(context_.worker); }

  template <class F>
  epp_status Call(F&& f) {
    epp_call call = context_.CallFor(plugin_, begin_ns_);
    if (step_.async != nullptr) call.deadline_ns = state_.deadline_ns;
    const epp_candidates* in = context_.candidates->View(plugin_, *context_.arena);
    epp_status status;
    {
      const InFlight inside(plugin_.guard(), Entry::kProducer, begin_ns_);
      status = f(call, in);
    }
    now_ns_ = context_.clock->mono_ns();
    context_.observer->Called(context_.worker, plugin_, Point::kProducer, now_ns_ - begin_ns_);
    return status;
  }

  void Finish() {
    Outputs out =
        MakeOutputs(plugin_, *context_.wiring, context_.candidates->size(), *context_.arena);
    void* const operation = std::exchange(state_.operation, nullptr);
    const epp_status status = Call([&](const epp_call& call, const epp_candidates* in) {
      return step_.async->finish(Self(), operation, &call, in, &out.abi, &err_);
    });
    Forget();
    End(status, out);
  }

  void Forget() {
    if (const uint64_t token = std::exchange(state_.token, 0)) context_.operations->End(token);
  }

  void End(epp_status status, const Outputs& out) {
    if (status != EPP_OK) return Fail(status, Message(err_));
    Publish(context_, plugin_, out);
    CountTime();
  }

  void Fail(epp_status status, std::string_view why) {
    context_.observer->Failed(context_.worker, plugin_, Point::kProducer, status, why);
    SetEmpty(context_, plugin_);
    state_.stopped = step_.async != nullptr && step_.async->on_failure == EPP_ASYNC_FAIL_STOP;
    CountTime();
  }

  // Waiting included.
  void CountTime() {
    if (context_.record == nullptr) return;
    uint32_t& into = context_.record->produce_ns;
    const uint64_t took = now_ns_ - state_.began_ns;
    into = static_cast<uint32_t>(std::min<uint64_t>(uint64_t{into} + took, UINT32_MAX));
  }

  RequestContext& context_;
  const ProducerStep& step_;
  const BoundPlugin& plugin_;
  Producing& state_;
  const uint64_t begin_ns_;
  uint64_t now_ns_ = begin_ns_;  // after the last call
  epp_error err_{sizeof(epp_error), EPP_OK, {}};
};

}  // namespace

bool Produce(RequestContext& context) {
  Producing& state = context.producing;
  const std::vector<ProducerStep>& steps = context.wiring->producers;
  if (state.operation != nullptr) {
    if (!Turn(context, steps[state.next]).Resume()) return false;
    ++state.next;
  }
  for (; state.next < steps.size(); ++state.next) {
    const ProducerStep& step = steps[state.next];
    if (state.stopped || step.plugin->guard().off() ||
        !std::all_of(step.requires_produced.begin(), step.requires_produced.end(),
                     [&](uint32_t p) { return TestBit(context.produced_ok, p); })) {
      SetEmpty(context, *step.plugin);
      continue;
    }
    if (!Turn(context, step).Start()) return false;
  }
  return true;
}

const BoundPlugin* Abandon(RequestContext& context) {
  if (context.producing.operation == nullptr) return nullptr;
  const ProducerStep& step = context.wiring->producers[context.producing.next];
  Turn::Cancel(step, context);
  return step.plugin;
}

}  // namespace epp::scheduling
