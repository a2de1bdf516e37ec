// Requests and tokens in flight, per endpoint, exact at every moment.
//
// An endpoint is known by slot and id; what was counted for an endpoint that left does not touch
// the one that has its slot now, nor the same address when it comes back.
//
// Threads: everything from anywhere. Add locks one endpoint for a few instructions; Read locks
//          nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace epp::inflight {

struct Load {
  int64_t requests = 0;
  int64_t tokens = 0;
};

class Counters {
 public:
  static constexpr uint32_t kMaxSlots = 1u << 14;

  Counters();
  ~Counters();
  Counters(const Counters&) = delete;
  Counters& operator=(const Counters&) = delete;

  // Starts at 0 unless the slot has this endpoint already. False when slot is out of range.
  bool Register(uint32_t slot, uint64_t id, std::string_view name);
  void Unregister(uint32_t slot, uint64_t id);

  // Returns false, and does nothing, when the endpoint is not there (any more). Counts do not fall
  // below 0.
  bool Add(uint32_t slot, uint64_t id, Load change);

  // What others still count, instead of what they counted at the last call; it adds to what is
  // counted here. What is not named is 0; endpoints that are not there are left out.
  struct Known {
    uint32_t slot = 0;
    uint64_t id = 0;
    Load load;
  };
  void Inherit(const std::vector<Known>& loads);
  // Everything that is not 0, what is inherited included.
  std::vector<Known> NonZero() const;

  // What is inherited included. 0 when the endpoint is not there.
  Load Read(uint32_t slot, uint64_t id) const;

  struct Named {
    std::string name;
    Load load;
  };
  std::vector<Named> All() const;

 private:
  struct Cell;

  Cell* At(uint32_t slot) const {
    return slot < kMaxSlots ? cells_[slot].load(std::memory_order_acquire) : nullptr;
  }

  const std::unique_ptr<std::atomic<Cell*>[]> cells_;  // kept until the end, reused by slot
  mutable std::mutex mu_;                              // guards names_ and the making of cells
  std::vector<std::string> names_;                     // by slot
};

}  // namespace epp::inflight
