#include "host/base/clock.h"

#include <time.h>

namespace epp {
namespace {

uint64_t Now(clockid_t id) noexcept {
  timespec ts{};
  clock_gettime(id, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

class RealClock final : public Clock {
 public:
  uint64_t mono_ns() const noexcept override { return Now(CLOCK_MONOTONIC); }
  uint64_t unix_ns() const noexcept override { return Now(CLOCK_REALTIME); }
};

}  // namespace

const Clock& Clock::Real() noexcept {
  static const RealClock* const clock = new RealClock;
  return *clock;
}

}  // namespace epp
