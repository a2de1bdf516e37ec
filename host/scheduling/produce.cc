// The producers of a request: one after another, suspended while one of them waits.
#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "host/base/str_cat.h"
#include "host/loader/guard.h"
#include "host/scheduling/calls.h"
#include "host/scheduling/cycle.h"
#include "host/scheduling/outputs.h"

namespace epp::scheduling {
namespace {

using loader::Entry;
using loader::InFlight;

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
    Count(&context_.record->produce_ns, now_ns_ - state_.began_ns);
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
