// A shadow: a second config that is asked what it would have picked for a request, after the
// request was sent on. It decides nothing, and what it does nobody else sees.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "epp/abi.h"
#include "host/loader/host_services.h"

namespace epp::request {

struct RequestState;

// What a shadow keeps of one request until its end.
class ShadowRun {
 public:
  virtual ~ShadowRun() = default;
  // [worker] The first bytes of the response, or its end.
  virtual void OnResponse(const RequestState& state, const epp_response_event& event) = 0;
};

class Shadow {
 public:
  virtual ~Shadow() = default;
  // [worker] The request was sent on, or refused for want of an endpoint; all that its decision was
  // made of is still there. Null when the shadow need not hear of the response.
  virtual std::unique_ptr<ShadowRun> Decide(RequestState& state) = 0;
};

// The shadow of this process, if any. Threads: any.
class ShadowSlot {
 public:
  // `share` of the requests in [0, 1] are sampled from now on; null samples none.
  void Publish(std::shared_ptr<Shadow> shadow, double share) {
    constexpr double kAll = uint64_t{1} << 31;
    const double part = shadow ? std::clamp(share, 0.0, 1.0) * kAll : 0;
    std::lock_guard lock(mutex_);
    current_ = std::move(shadow);
    threshold_.store(static_cast<uint32_t>(part), std::memory_order_relaxed);
  }

  // The shadow, when it is to be asked about the request of this random number; else null. Cost:
  // one load without a shadow; a short lock for a sampled request, so that no worker pins what was
  // replaced.
  std::shared_ptr<Shadow> Sample(uint64_t number) const {
    const uint32_t threshold = threshold_.load(std::memory_order_relaxed);
    if (threshold == 0 || Share(number) >= threshold) [[likely]] {
      return nullptr;
    }
    std::lock_guard lock(mutex_);
    return current_;
  }

 private:
  // In [0, 2^31). Not the number itself: plugins may use that for choices of their own.
  static uint32_t Share(uint64_t number) {
    number = (number ^ (number >> 32)) * 0x9e3779b97f4a7c15u;
    return static_cast<uint32_t>(number >> 33);
  }

  mutable std::mutex mutex_;
  std::shared_ptr<Shadow> current_;
  std::atomic<uint32_t> threshold_{0};  // of 2^31; relaxed: what it guards is behind the mutex
};

// A sampled request between the live decision and the shadow's.
struct ShadowSample {
  std::shared_ptr<Shadow> shadow;       // null: not sampled, or asked already
  std::span<const epp_header> headers;  // before pre-request hooks changed any
  loader::RandomSource::State random;   // before the live decision drew any
  std::unique_ptr<ShadowRun> run;       // wants to hear of the response
};

}  // namespace epp::request
