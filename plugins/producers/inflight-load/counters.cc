#include "counters.h"

#include <algorithm>
#include <thread>

namespace epp::inflight {

// The lock makes "is it still this endpoint" and "add" one step. Readers take the numbers as they
// come: they are read for an endpoint of a pinned frame, which does not leave meanwhile.
struct alignas(64) Counters::Cell {
  std::atomic<uint64_t> id{0};  // 0: no endpoint
  std::atomic<int64_t> requests{0};
  std::atomic<int64_t> tokens{0};
  std::atomic<int64_t> inherited_requests{0};
  std::atomic<int64_t> inherited_tokens{0};
  std::atomic<bool> locked{false};

  void lock() {
    while (locked.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
  }
  void unlock() { locked.store(false, std::memory_order_release); }

  void Inherit(Load load) {
    inherited_requests.store(load.requests, std::memory_order_relaxed);
    inherited_tokens.store(load.tokens, std::memory_order_relaxed);
  }
  // With the lock.
  void Reset(uint64_t to_id) {
    requests.store(0, std::memory_order_relaxed);
    tokens.store(0, std::memory_order_relaxed);
    Inherit({});
    id.store(to_id, std::memory_order_relaxed);
  }
  static void Move(std::atomic<int64_t>& counter, int64_t change) {
    const int64_t now = counter.load(std::memory_order_relaxed) + change;
    counter.store(std::max<int64_t>(now, 0), std::memory_order_relaxed);
  }
};

Counters::Counters() : cells_(std::make_unique<std::atomic<Cell*>[]>(kMaxSlots)) {}

Counters::~Counters() {
  for (uint32_t s = 0; s < kMaxSlots; ++s) delete cells_[s].load(std::memory_order_relaxed);
}

bool Counters::Register(uint32_t slot, uint64_t id, std::string_view name) {
  if (slot >= kMaxSlots) return false;
  const std::lock_guard registration(mu_);
  if (names_.size() <= slot) names_.resize(slot + 1);
  names_[slot] = name;
  Cell* cell = At(slot);
  if (cell == nullptr) {
    cell = new Cell;
    cells_[slot].store(cell, std::memory_order_release);
  }
  const std::lock_guard lock(*cell);
  if (cell->id.load(std::memory_order_relaxed) != id) cell->Reset(id);
  return true;
}

void Counters::Unregister(uint32_t slot, uint64_t id) {
  Cell* const cell = At(slot);
  if (cell == nullptr) return;
  const std::lock_guard lock(*cell);
  if (cell->id.load(std::memory_order_relaxed) == id) cell->Reset(0);
}

bool Counters::Add(uint32_t slot, uint64_t id, Load change) {
  Cell* const cell = At(slot);
  if (cell == nullptr) return false;
  const std::lock_guard lock(*cell);
  if (cell->id.load(std::memory_order_relaxed) != id) return false;
  Cell::Move(cell->requests, change.requests);
  Cell::Move(cell->tokens, change.tokens);
  return true;
}

Load Counters::Read(uint32_t slot, uint64_t id) const {
  const Cell* const cell = At(slot);
  if (cell == nullptr || cell->id.load(std::memory_order_relaxed) != id) return {};
  return {cell->requests.load(std::memory_order_relaxed) +
              cell->inherited_requests.load(std::memory_order_relaxed),
          cell->tokens.load(std::memory_order_relaxed) +
              cell->inherited_tokens.load(std::memory_order_relaxed)};
}

void Counters::Inherit(const std::vector<Known>& loads) {
  const std::lock_guard registration(mu_);
  std::vector<const Known*> by_slot(names_.size(), nullptr);
  for (const Known& known : loads) {
    if (known.slot < by_slot.size()) by_slot[known.slot] = &known;
  }
  for (uint32_t s = 0; s < by_slot.size(); ++s) {
    Cell* const cell = At(s);
    if (cell == nullptr) continue;
    const std::lock_guard lock(*cell);
    const uint64_t id = cell->id.load(std::memory_order_relaxed);
    const Known* const known = by_slot[s];
    cell->Inherit(known != nullptr && id != 0 && known->id == id ? known->load : Load{});
  }
}

std::vector<Counters::Known> Counters::NonZero() const {
  std::vector<Known> out;
  const std::lock_guard registration(mu_);
  for (uint32_t s = 0; s < names_.size(); ++s) {
    Cell* const cell = At(s);
    if (cell == nullptr) continue;
    const std::lock_guard lock(*cell);
    const uint64_t id = cell->id.load(std::memory_order_relaxed);
    const Load load = id == 0 ? Load{} : Read(s, id);
    if (load.requests != 0 || load.tokens != 0) out.push_back({s, id, load});
  }
  return out;
}

std::vector<Counters::Named> Counters::All() const {
  std::vector<Named> out;
  const std::lock_guard registration(mu_);
  for (uint32_t s = 0; s < names_.size(); ++s) {
    const Cell* const cell = At(s);
    if (cell == nullptr) continue;
    const uint64_t id = cell->id.load(std::memory_order_relaxed);
    if (id != 0) out.push_back({names_[s], Read(s, id)});
  }
  return out;
}

}  // namespace epp::inflight
