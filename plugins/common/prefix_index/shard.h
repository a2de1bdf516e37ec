// One shard of the index: an open-addressing table from block hash to Holders, behind a spin lock.
//
// Linear probing at a load between 0.45 and 0.75, growing and shrinking by about a fifth, deletion
// by shifting back: no tombstones, and at most 36 bytes an entry. Positions come from a keyed mix
// of the hash, because clients choose the hashes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "plugins/common/prefix_index/holders.h"

namespace epp::prefix_index {

// Maps hashes to positions under a secret.
class Mixer {
 public:
  explicit Mixer(uint64_t secret) : add_(secret), multiply_((secret * 0x9e3779b97f4a7c15u) | 1u) {}
  uint64_t operator()(uint64_t hash) const {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(hash ^ add_) * multiply_;
    const uint64_t folded = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    return folded * 0xd6e8feb86659fd93u;
  }

 private:
  uint64_t add_;
  uint64_t multiply_;
};

class alignas(64) Shard {
 public:
  Shard() = default;
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;
  ~Shard();

  // BasicLockable. Held for tens of nanoseconds, up to some tens of microseconds when the table
  // changes its size.
  void lock() {
    while (lock_.exchange(true, std::memory_order_acquire)) Wait();
  }
  void unlock() { lock_.store(false, std::memory_order_release); }

  // The rest needs the lock. mixed is mixer(hash).

  // Null when nobody holds the block; valid until the table changes.
  const Holders* Find(uint64_t hash, uint64_t mixed) const;
  // Holders::FindOrAdd of the block. Adds to *bytes how much memory grew.
  uint32_t FindOrAdd(uint64_t hash, uint64_t mixed, uint32_t slot, uint32_t node,
                     const Mixer& mixer, int64_t* bytes);
  // Removes slot from the block's holders, and the block with its last holder.
  void Remove(uint64_t hash, uint64_t mixed, uint32_t slot, const Mixer& mixer, int64_t* bytes);

  // Without the lock: brings the block's entry near the core.
  void Prefetch(uint64_t mixed) const {
    const Entry* const entries = entries_.load(std::memory_order_relaxed);
    const uint32_t capacity = capacity_.load(std::memory_order_relaxed);
    if (entries != nullptr) __builtin_prefetch(entries + Home(mixed, capacity));
  }

 private:
  struct Entry {
    uint64_t hash;
    Holders holders;
  };

  static uint32_t Home(uint64_t mixed, uint32_t capacity) {
    return static_cast<uint32_t>((mixed & UINT32_MAX) * capacity >> 32);
  }
  static uint32_t Next(uint32_t at, uint32_t capacity) { return at + 1 == capacity ? 0 : at + 1; }
  void Wait() const;
  // The entry of hash, or the empty one where it belongs. capacity_ is above 0.
  Entry& Probe(uint64_t hash, uint64_t mixed) const;
  void Resize(uint32_t capacity, const Mixer& mixer, int64_t* bytes);

  std::atomic<bool> lock_{false};
  uint32_t count_ = 0;
  // Written under the lock; Prefetch alone reads them without, and what it reads may be stale.
  std::atomic<uint32_t> capacity_{0};
  std::atomic<Entry*> entries_{nullptr};
};

}  // namespace epp::prefix_index
