#include "host/shadow/budget.h"

#include <algorithm>
#include <ctime>

namespace epp::shadow {
namespace {

constexpr double kSecond = 1e9;
// Being preempted for a moment is nobody's fault.
constexpr uint64_t kFreeWaitNs = 1'000'000;

uint64_t ThreadCpuNs() {
  timespec ts{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

}  // namespace

Budget::Budget(double share)
    : share_(std::clamp(share, 0.0, 1.0)), most_ns_(share_ * kSecond), left_ns_(most_ns_) {}

bool Budget::Admit(uint64_t now_ns) {
  if (last_ns_ != 0 && now_ns > last_ns_) {
    left_ns_ = std::min(most_ns_, left_ns_ + share_ * static_cast<double>(now_ns - last_ns_));
  }
  last_ns_ = std::max(last_ns_, now_ns);
  return left_ns_ > 0;
}

void Budget::Charge(uint64_t ns) { left_ns_ -= static_cast<double>(ns); }

Meter::Meter(const Clock* clock)
    : clock_(clock), cpu_ns_(ThreadCpuNs()), mono_ns_(clock->mono_ns()) {}

Meter::Took Meter::Stop() const {
  Took took;
  took.cpu_ns = ThreadCpuNs() - cpu_ns_;
  const uint64_t wall_ns = clock_->mono_ns() - mono_ns_;
  took.charge_ns = std::max(took.cpu_ns, wall_ns > kFreeWaitNs ? wall_ns - kFreeWaitNs : 0);
  return took;
}

}  // namespace epp::shadow
