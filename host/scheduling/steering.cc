#include "host/scheduling/steering.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "host/loader/guard.h"
#include "host/scheduling/outputs.h"

namespace epp::scheduling {

Steering::Steering(RequestContext& context)
    : context_(context), handler_(*context.wiring->handler.plugin) {
  const std::span<const uint32_t> outputs = handler_.request_outputs;
  epp_out_column* columns = nullptr;
  if (!outputs.empty()) {
    columns = context.arena->AllocArray<epp_out_column>(outputs.size()).data();
    for (size_t i = 0; i < outputs.size(); ++i) {
      const int32_t type = context.wiring->produced[outputs[i]].type;
      columns[i] = MakeOutput(type, 1, *context.arena);
      // A handler that is a producer, too, may have published before.
      epp_column& column = context.request_columns[outputs[i]];
      if (column.values == nullptr) column = EmptyColumn(type, 1, *context.arena);
    }
  }
  abi_ = {sizeof(epp_steering), 0, this, &Ask, &SetDestinationPort, columns};
  context.scheduling.steering = &abi_;
}

void Steering::Begin() {
  for (size_t i = 0; i < handler_.request_outputs.size(); ++i) {
    abi_.request_columns[i].validity[0] = 0;
  }
}

void Steering::Publish() {
  for (size_t i = 0; i < handler_.request_outputs.size(); ++i) {
    const epp_out_column& out = abi_.request_columns[i];
    if ((out.validity[0] & 1) == 0) continue;
    const uint32_t produced = handler_.request_outputs[i];
    const int32_t type = context_.wiring->produced[produced].type;
    // What is published stays when a later call writes without giving a value.
    context_.request_columns[produced] = Published(out, type, 1, *context_.arena);
    abi_.request_columns[i] = MakeOutput(type, 1, *context_.arena);
    context_.produced_ok[produced / 64] |= uint64_t{1} << (produced % 64);
  }
}

uint32_t Steering::Ask(void* ctx, uint32_t param, uint32_t row) noexcept {
  auto& self = *static_cast<Steering*>(ctx);
  const auto& deciders = self.context_.wiring->deciders;
  if (param >= deciders.size() || deciders[param].table == nullptr) return 0;
  if (row != EPP_NO_ROW && row >= self.context_.candidates->size()) return 0;
  return self.AskDecider(deciders[param], row) ? 1 : 0;
}

void Steering::SetDestinationPort(void* ctx, uint32_t port) noexcept {
  if (port <= UINT16_MAX) {
    static_cast<Steering*>(ctx)->context_.destination_port = static_cast<uint16_t>(port);
  }
}

bool Steering::AskDecider(const Step<epp_decider>& step, uint32_t row) {
  const BoundPlugin& plugin = *step.plugin;
  if (plugin.guard().off()) return false;
  const uint64_t begin = context_.clock->mono_ns();
  const epp_call call = context_.CallFor(plugin, begin);
  const epp_candidates* in = Only(row)->View(plugin, *context_.arena);
  epp_error err{sizeof(epp_error), EPP_OK, {}};
  uint32_t yes = 0;
  epp_status status;
  {
    const loader::InFlight inside(plugin.guard(), loader::Entry::kDecider, begin);
    status = step.table->decide(plugin.self(context_.worker), &call, in, &yes, &err);
  }
  context_.observer->Called(context_.worker, plugin, Point::kDecider,
                            context_.clock->mono_ns() - begin);
  if (status == EPP_OK) return yes != 0;
  context_.observer->Failed(context_.worker, plugin, Point::kDecider, status,
                            {err.message, strnlen(err.message, sizeof(err.message))});
  return false;
}

CandidateList* Steering::Only(uint32_t row) {
  const size_t words = (context_.candidates->size() + 63) / 64;
  const std::span<uint64_t> keep = context_.arena->AllocArray<uint64_t>(words + 1);
  std::fill(keep.begin(), keep.end(), 0);
  if (row != EPP_NO_ROW) keep[row / 64] = uint64_t{1} << (row % 64);
  return context_.candidates->Keep(keep.data(), *context_.arena);
}

}  // namespace epp::scheduling
