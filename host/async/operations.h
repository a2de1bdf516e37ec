// Operations that requests wait for: which of them are complete, and whom to wake.
//
// An operation lives from Begin to End, both on the worker of its request. In between anybody may
// complete it; afterwards that does nothing, so a late completion never reaches another request.
//
// Threads: any for Complete; the worker of the operation for the rest. One lock a worker, held for
// a few instructions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "epp/abi.h"
#include "host/base/waker.h"

namespace epp::async {

class Operations {
 public:
  // Runs a function at a time of the monotonic clock or soon after it, on any thread.
  using RunAt = std::function<void(uint64_t mono_ns, std::function<void()>)>;

  // What `run_at` still holds at the end must be dropped before the destructor.
  Operations(uint32_t workers, RunAt run_at);
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  // `waker` may be null: then nothing but Done tells. The completion may be used for as long as
  // this object lives. A token of 0: a million operations of this worker are open.
  epp_completion Begin(uint32_t worker, std::shared_ptr<Waker> waker);
  bool Done(uint64_t token) const;
  // Wakes at that time, unless the operation has ended by then.
  void WakeAt(uint64_t token, uint64_t mono_ns);
  void End(uint64_t token);

  void Complete(uint64_t token);
  // Operations that have begun and not ended.
  uint64_t open() const;

 private:
  // Of a token, from its lowest bit.
  static constexpr uint32_t kSlotBits = 20;
  static constexpr uint32_t kGenerationBits = 32;
  struct Slot {
    uint32_t generation = 0;
    bool done = false;
    std::shared_ptr<Waker> waker;
  };
  struct Shard {
    mutable std::mutex mutex;
    std::vector<Slot> slots;
    std::vector<uint32_t> free;
  };

  static void CompleteFrom(void* ctx, uint64_t token) noexcept;
  Shard* ShardOf(uint64_t token) const;
  // Call with the shard's lock held; null when the operation has ended.
  static Slot* Find(Shard& shard, uint64_t token);
  void Wake(uint64_t token, bool complete);

  const RunAt run_at_;
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace epp::async
