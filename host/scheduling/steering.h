// What a profile handler gets besides the outcomes so far: deciders to ask, attributes to publish,
// the port for the proxy. See epp_steering.
#pragma once

#include <cstdint>

#include "epp/abi.h"
#include "host/scheduling/cycle.h"

namespace epp::scheduling {

// For all calls of the handler in one request. Puts itself into the context's scheduling while it
// lives. Threads: the request's. Memory: in the request's arena.
class Steering {
 public:
  explicit Steering(RequestContext& context);
  ~Steering() { context_.scheduling.steering = nullptr; }
  Steering(const Steering&) = delete;
  Steering& operator=(const Steering&) = delete;

  // Before every call of the handler, and after each that went well.
  void Begin();
  void Publish();

 private:
  static uint32_t Ask(void* ctx, uint32_t param, uint32_t row) noexcept;
  static void SetDestinationPort(void* ctx, uint32_t port) noexcept;
  bool AskDecider(const Step<epp_decider>& step, uint32_t row);
  // The request's candidate at `row` alone, or none for EPP_NO_ROW.
  CandidateList* Only(uint32_t row);

  RequestContext& context_;
  const BoundPlugin& handler_;
  epp_steering abi_{};
};

}  // namespace epp::scheduling
