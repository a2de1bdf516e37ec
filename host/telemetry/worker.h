// Which worker a thread is: the index of its private cells in every metrics registry.
#pragma once

namespace epp::telemetry {

namespace internal {
inline constinit thread_local int worker_slot = 0;
}  // namespace internal

// 0 for a thread that is not bound.
inline int WorkerSlot() { return internal::worker_slot; }

// Makes the current thread worker `index` (0, 1, ...) while it lives. An index belongs to at most
// one thread at a time: cells are written without locked instructions, so two threads on one index
// would lose counts (nothing worse). Unbound threads are always correct, and slower.
class WorkerBinding {
 public:
  explicit WorkerBinding(int index) { internal::worker_slot = index + 1; }
  ~WorkerBinding() { internal::worker_slot = 0; }
  WorkerBinding(const WorkerBinding&) = delete;
  WorkerBinding& operator=(const WorkerBinding&) = delete;
};

// The same for the rest of the thread's life, for threads that others made.
inline void BindThread(int index) { internal::worker_slot = index + 1; }

}  // namespace epp::telemetry
