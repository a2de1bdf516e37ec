// Counts what goes through malloc, for the cases about allocations and leaks.
//
// The executable defines malloc and its kin, so that plugins use them too. In builds with a
// sanitizer, which needs its own malloc, nothing is counted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace epp::validate {

// False in builds with a sanitizer.
bool HeapIsCounted();

// Allocations of the calling thread, from Start to Stop.
class AllocationCount {
 public:
  static constexpr size_t kMaxFrames = 24;

  void Start();
  void Stop();
  uint64_t count() const { return count_; }
  // Return addresses of the first one, innermost first.
  std::span<void* const> first() const { return {frames_.data(), frame_count_}; }

 private:
  friend void Allocated();
  uint64_t count_ = 0;
  std::array<void*, kMaxFrames> frames_{};
  size_t frame_count_ = 0;
};

// The calling thread's allocations do not count during the scope: they are not the plugin's.
class NotCounted {
 public:
  NotCounted();
  ~NotCounted();
  NotCounted(const NotCounted&) = delete;
  NotCounted& operator=(const NotCounted&) = delete;

 private:
  AllocationCount* const former_;
};

struct HeapUse {
  int64_t blocks = 0;
  int64_t bytes = 0;
};
// Of all threads, relative to when WatchHeap was called.
void WatchHeap();
HeapUse HeapSinceWatch();

}  // namespace epp::validate
