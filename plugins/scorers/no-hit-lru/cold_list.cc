#include "cold_list.h"

#include <algorithm>
#include <utility>

namespace epp::nohit {

bool ColdList::Register(uint32_t slot, uint64_t id, std::string_view name) {
  if (slot >= kMaxSlots) return false;
  const std::lock_guard lock(mu_);
  if (entries_.size() <= slot) entries_.resize(slot + 1);
  if (entries_[slot].id != id) Unlink(slot);
  entries_[slot].id = id;
  entries_[slot].name = name;
  return true;
}

void ColdList::Unregister(uint32_t slot, uint64_t id) {
  const std::lock_guard lock(mu_);
  if (!Has(slot, id)) return;
  Unlink(slot);
  entries_[slot].id = 0;
  entries_[slot].name.clear();
}

void ColdList::Touch(uint32_t slot, uint64_t id) {
  const std::lock_guard lock(mu_);
  if (!Has(slot, id)) return;
  Unlink(slot);
  if (size_ == capacity_) Unlink(oldest_);
  Append(slot);
}

void ColdList::Read(std::span<const uint32_t> slots, std::span<Turn> turns) const {
  const std::lock_guard lock(mu_);
  for (size_t i = 0; i < turns.size(); ++i) {
    turns[i].time = Has(slots[i], turns[i].id) ? entries_[slots[i]].time : 0;
  }
}

std::vector<std::string> ColdList::Names(size_t most) const {
  std::vector<std::string> out;
  const std::lock_guard lock(mu_);
  for (uint32_t s = oldest_; s != kNone && out.size() < most; s = entries_[s].newer) {
    out.push_back(entries_[s].name);
  }
  return out;
}

std::vector<uint64_t> ColdList::Ids() const {
  std::vector<uint64_t> out;
  const std::lock_guard lock(mu_);
  out.reserve(size_);
  for (uint32_t s = oldest_; s != kNone; s = entries_[s].newer) out.push_back(entries_[s].id);
  return out;
}

size_t ColdList::size() const {
  const std::lock_guard lock(mu_);
  return size_;
}

void ColdList::Load(std::span<const uint64_t> ids) {
  const std::lock_guard lock(mu_);
  std::vector<std::pair<uint64_t, uint32_t>> slots;  // by id
  for (uint32_t s = 0; s < entries_.size(); ++s) {
    if (entries_[s].id != 0) slots.emplace_back(entries_[s].id, s);
  }
  std::sort(slots.begin(), slots.end());
  for (const uint64_t id : ids) {
    const auto at = std::lower_bound(slots.begin(), slots.end(), std::pair(id, uint32_t{0}));
    if (at == slots.end() || at->first != id) continue;
    Unlink(at->second);
    if (size_ == capacity_) Unlink(oldest_);
    Append(at->second);
  }
}

void ColdList::Unlink(uint32_t slot) {
  Entry& e = entries_[slot];
  if (e.time == 0) return;
  (e.older == kNone ? oldest_ : entries_[e.older].newer) = e.newer;
  (e.newer == kNone ? newest_ : entries_[e.newer].older) = e.older;
  e.older = e.newer = kNone;
  e.time = 0;
  --size_;
}

void ColdList::Append(uint32_t slot) {
  Entry& e = entries_[slot];
  e.time = ++clock_;
  e.older = newest_;
  (newest_ == kNone ? oldest_ : entries_[newest_].newer) = slot;
  newest_ = slot;
  ++size_;
}

}  // namespace epp::nohit
