// Small numbers for endpoints: the lowest free one is given out, and given back by its last owner.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <vector>

namespace epp::pool {

// Threads: any. A lease keeps the allocator alive.
class SlotAllocator : public std::enable_shared_from_this<SlotAllocator> {
 public:
  class Lease {
   public:
    Lease(std::shared_ptr<SlotAllocator> from, uint32_t slot)
        : from_(std::move(from)), slot_(slot) {}
    ~Lease() { from_->Free(slot_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    uint32_t slot() const { return slot_; }

   private:
    const std::shared_ptr<SlotAllocator> from_;
    const uint32_t slot_;
  };

  std::shared_ptr<const Lease> Take() {
    uint32_t slot = 0;
    {
      std::lock_guard lock(mutex_);
      if (free_.empty()) {
        slot = next_++;
      } else {
        slot = free_.top();
        free_.pop();
      }
    }
    return std::make_shared<const Lease>(shared_from_this(), slot);
  }

 private:
  void Free(uint32_t slot) {
    std::lock_guard lock(mutex_);
    free_.push(slot);
  }

  std::mutex mutex_;
  uint32_t next_ = 0;
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> free_;
};

}  // namespace epp::pool
