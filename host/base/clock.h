// Time as an injected dependency: the monotonic clock for intervals, the wall clock for reports.
#pragma once

#include <atomic>
#include <cstdint>

namespace epp {

class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds of a clock that never steps back; the origin is arbitrary.
  virtual uint64_t mono_ns() const noexcept = 0;
  // Nanoseconds since 1970-01-01 UTC; may step.
  virtual uint64_t unix_ns() const noexcept = 0;

  // The system's clocks. Never destroyed. Cost: two dozen nanoseconds a call, no system call.
  static const Clock& Real() noexcept;
};

// A clock that moves only when told. Threads: any.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(uint64_t mono_ns = 1'000'000'000, uint64_t unix_ns = 1'700'000'000'000'000'000)
      : mono_ns_(mono_ns), unix_ns_(unix_ns) {}

  uint64_t mono_ns() const noexcept override { return mono_ns_.load(std::memory_order_acquire); }
  uint64_t unix_ns() const noexcept override { return unix_ns_.load(std::memory_order_acquire); }

  // Moves both clocks forward.
  void Advance(uint64_t ns) noexcept {
    mono_ns_.fetch_add(ns, std::memory_order_acq_rel);
    unix_ns_.fetch_add(ns, std::memory_order_acq_rel);
  }
  // Steps the wall clock alone, as an operator or NTP might.
  void SetUnix(uint64_t ns) noexcept { unix_ns_.store(ns, std::memory_order_release); }

 private:
  std::atomic<uint64_t> mono_ns_;
  std::atomic<uint64_t> unix_ns_;
};

}  // namespace epp
