#include "host/async/operations.h"

#include <algorithm>
#include <utility>

namespace epp::async {

Operations::Operations(uint32_t workers, RunAt run_at) : run_at_(std::move(run_at)) {
  for (uint32_t w = 0; w < std::max(workers, 1u); ++w) {
    shards_.push_back(std::make_unique<Shard>());
  }
}

Operations::Shard* Operations::ShardOf(uint64_t token) const {
  const uint64_t shard = token >> (kSlotBits + kGenerationBits);
  return shard < shards_.size() ? shards_[shard].get() : nullptr;
}

Operations::Slot* Operations::Find(Shard& shard, uint64_t token) {
  const uint64_t slot = token & ((uint64_t{1} << kSlotBits) - 1);
  if (slot >= shard.slots.size()) return nullptr;
  const auto generation = static_cast<uint32_t>(token >> kSlotBits);
  return shard.slots[slot].generation == generation ? &shard.slots[slot] : nullptr;
}

epp_completion Operations::Begin(uint32_t worker, std::shared_ptr<Waker> waker) {
  const uint64_t number = worker % shards_.size();
  Shard& shard = *shards_[number];
  const std::lock_guard lock(shard.mutex);
  if (shard.free.empty()) {
    if (shard.slots.size() >> kSlotBits) return {0, this, &CompleteFrom};
    shard.free.push_back(static_cast<uint32_t>(shard.slots.size()));
    shard.slots.emplace_back();
  }
  const uint32_t index = shard.free.back();
  shard.free.pop_back();
  Slot& slot = shard.slots[index];
  // A slot that is free has a generation that no token has.
  slot.generation |= 1;
  slot.done = false;
  slot.waker = std::move(waker);
  const uint64_t token =
      number << (kSlotBits + kGenerationBits) | uint64_t{slot.generation} << kSlotBits | index;
  return {token, this, &CompleteFrom};
}

bool Operations::Done(uint64_t token) const {
  Shard* const shard = ShardOf(token);
  if (shard == nullptr) return false;
  const std::lock_guard lock(shard->mutex);
  const Slot* const slot = Find(*shard, token);
  return slot != nullptr && slot->done;
}

void Operations::WakeAt(uint64_t token, uint64_t mono_ns) {
  run_at_(mono_ns, [this, token] { Wake(token, false); });
}

void Operations::End(uint64_t token) {
  Shard* const shard = ShardOf(token);
  if (shard == nullptr) return;
  std::shared_ptr<Waker> waker;  // so that it is destroyed without the lock
  const std::lock_guard lock(shard->mutex);
  Slot* const slot = Find(*shard, token);
  if (slot == nullptr) return;
  ++slot->generation;
  waker = std::move(slot->waker);
  shard->free.push_back(static_cast<uint32_t>(slot - shard->slots.data()));
}

void Operations::Complete(uint64_t token) { Wake(token, true); }

void Operations::CompleteFrom(void* ctx, uint64_t token) noexcept {
  static_cast<Operations*>(ctx)->Complete(token);
}

void Operations::Wake(uint64_t token, bool complete) {
  Shard* const shard = ShardOf(token);
  if (shard == nullptr) return;
  std::shared_ptr<Waker> waker;
  {
    const std::lock_guard lock(shard->mutex);
    Slot* const slot = Find(*shard, token);
    if (slot == nullptr || slot->done) return;
    slot->done = complete;
    waker = slot->waker;
  }
  if (waker != nullptr) waker->Wake();
}

uint64_t Operations::open() const {
  uint64_t sum = 0;
  for (const auto& shard : shards_) {
    const std::lock_guard lock(shard->mutex);
    sum += shard->slots.size() - shard->free.size();
  }
  return sum;
}

}  // namespace epp::async
