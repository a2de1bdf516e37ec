#include "plugins/common/prefix_index/shard.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace epp::prefix_index {
namespace {

constexpr uint32_t kMinCapacity = 16;

constexpr uint32_t CapacityFor(uint32_t count) {
  return std::max(kMinCapacity, static_cast<uint32_t>(uint64_t{count} * 5 / 3));  // load 0.6
}

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Shard::~Shard() {
  Entry* const entries = entries_.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < capacity_.load(std::memory_order_relaxed); ++i) {
    entries[i].holders.Clear();
  }
  delete[] entries;
}

void Shard::Wait() const {
  for (int spins = 0; lock_.load(std::memory_order_relaxed); ++spins) {
    if (spins < 128) {
      Pause();
    } else {
      std::this_thread::yield();  // the owner may have lost its core
    }
  }
}

Shard::Entry& Shard::Probe(uint64_t hash, uint64_t mixed) const {
  Entry* const entries = entries_.load(std::memory_order_relaxed);
  const uint32_t capacity = capacity_.load(std::memory_order_relaxed);
  uint32_t at = Home(mixed, capacity);
  while (!entries[at].holders.empty() && entries[at].hash != hash) at = Next(at, capacity);
  return entries[at];
}

const Holders* Shard::Find(uint64_t hash, uint64_t mixed) const {
  if (count_ == 0) return nullptr;
  const Entry& entry = Probe(hash, mixed);
  return entry.holders.empty() ? nullptr : &entry.holders;
}

uint32_t Shard::FindOrAdd(uint64_t hash, uint64_t mixed, uint32_t slot, uint32_t node,
                          const Mixer& mixer, int64_t* bytes) {
  const uint64_t capacity = capacity_.load(std::memory_order_relaxed);
  if ((uint64_t{count_} + 1) * 4 > capacity * 3) {
    Resize(CapacityFor(count_ + 1), mixer, bytes);
  }
  Entry& entry = Probe(hash, mixed);
  const uint64_t before = entry.holders.HeapBytes();
  if (entry.holders.empty()) {
    entry.hash = hash;
    ++count_;
  }
  const uint32_t found = entry.holders.FindOrAdd(slot, node);
  *bytes += static_cast<int64_t>(entry.holders.HeapBytes() - before);
  return found;
}

void Shard::Remove(uint64_t hash, uint64_t mixed, uint32_t slot, const Mixer& mixer,
                   int64_t* bytes) {
  if (count_ == 0) return;
  Entry& entry = Probe(hash, mixed);
  const uint64_t before = entry.holders.HeapBytes();
  if (!entry.holders.Remove(slot)) return;
  *bytes += static_cast<int64_t>(entry.holders.HeapBytes() - before);
  if (!entry.holders.empty()) return;
  --count_;

  // Shift back what probed past the hole.
  Entry* const entries = entries_.load(std::memory_order_relaxed);
  const uint32_t capacity = capacity_.load(std::memory_order_relaxed);
  auto hole = static_cast<uint32_t>(&entry - entries);
  for (uint32_t at = Next(hole, capacity); !entries[at].holders.empty(); at = Next(at, capacity)) {
    const uint32_t home = Home(mixer(entries[at].hash), capacity);
    const bool stays = hole < at ? hole < home && home <= at : hole < home || home <= at;
    if (stays) continue;
    entries[hole] = std::exchange(entries[at], Entry{});
    hole = at;
  }
  if (capacity > kMinCapacity && uint64_t{count_} * 20 < uint64_t{capacity} * 9) {
    Resize(CapacityFor(count_), mixer, bytes);
  }
}

void Shard::Resize(uint32_t capacity, const Mixer& mixer, int64_t* bytes) {
  Entry* const old = entries_.load(std::memory_order_relaxed);
  const uint32_t old_capacity = capacity_.load(std::memory_order_relaxed);
  Entry* const made = new Entry[capacity]();
  entries_.store(made, std::memory_order_relaxed);
  capacity_.store(capacity, std::memory_order_relaxed);
  for (uint32_t i = 0; i < old_capacity; ++i) {
    if (!old[i].holders.empty()) Probe(old[i].hash, mixer(old[i].hash)) = old[i];
  }
  delete[] old;
  *bytes += (int64_t{capacity} - int64_t{old_capacity}) * static_cast<int64_t>(sizeof(Entry));
}

}  // namespace epp::prefix_index
