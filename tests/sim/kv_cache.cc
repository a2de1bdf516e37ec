#include "tests/sim/kv_cache.h"

#include <algorithm>

namespace epp::sim {

KvCache::KvCache(uint32_t blocks) : blocks_(blocks) {
  // Taken from the back, so that ids are handed out in ascending order.
  empty_.reserve(blocks);
  for (BlockId id = blocks; id > 0; --id) empty_.push_back(id - 1);
}

uint32_t KvCache::MatchPrefix(std::span<const uint64_t> hashes) const {
  uint32_t matched = 0;
  for (const uint64_t hash : hashes) {
    if (!by_hash_.contains(hash)) break;
    ++matched;
  }
  return matched;
}

bool KvCache::Acquire(std::span<const uint64_t> reused, uint32_t fresh, std::vector<BlockId>* out) {
  uint32_t reused_idle = 0;
  for (const uint64_t hash : reused) {
    const auto found = by_hash_.find(hash);
    if (found == by_hash_.end()) return false;
    if (blocks_[found->second].references == 0) ++reused_idle;
  }
  if (fresh > empty_.size() + (idle_ - std::min(reused_idle, idle_))) return false;

  // Hold the reused ones first: eviction for the fresh ones must not take them.
  for (const uint64_t hash : reused) {
    const BlockId id = by_hash_.find(hash)->second;
    if (blocks_[id].references++ == 0) {
      Unlink(id);
      ++used_;
    }
    out->push_back(id);
  }
  for (uint32_t i = 0; i < fresh; ++i) {
    const BlockId id = TakeEmpty();
    blocks_[id].references = 1;
    ++used_;
    out->push_back(id);
  }
  return true;
}

void KvCache::Publish(BlockId id, uint64_t hash) {
  Block& block = blocks_[id];
  if (block.has_hash || !by_hash_.try_emplace(hash, id).second) return;
  block.hash = hash;
  block.has_hash = true;
}

void KvCache::Release(std::span<const BlockId> ids) {
  for (size_t i = ids.size(); i > 0; --i) {
    const BlockId id = ids[i - 1];
    Block& block = blocks_[id];
    if (--block.references > 0) continue;
    --used_;
    if (block.has_hash) {
      LinkAsNewest(id);
    } else {
      empty_.push_back(id);
    }
  }
}

void KvCache::Unlink(BlockId id) {
  Block& block = blocks_[id];
  (block.older == kNone ? oldest_ : blocks_[block.older].newer) = block.newer;
  (block.newer == kNone ? newest_ : blocks_[block.newer].older) = block.older;
  block.older = block.newer = kNone;
  --idle_;
}

void KvCache::LinkAsNewest(BlockId id) {
  Block& block = blocks_[id];
  block.older = newest_;
  block.newer = kNone;
  (newest_ == kNone ? oldest_ : blocks_[newest_].newer) = id;
  newest_ = id;
  ++idle_;
}

BlockId KvCache::TakeEmpty() {
  if (!empty_.empty()) {
    const BlockId id = empty_.back();
    empty_.pop_back();
    return id;
  }
  const BlockId id = oldest_;
  Unlink(id);
  by_hash_.erase(blocks_[id].hash);
  blocks_[id].has_hash = false;
  ++evictions_;
  return id;
}

}  // namespace epp::sim
