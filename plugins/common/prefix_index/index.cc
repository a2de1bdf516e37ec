#include "plugins/common/prefix_index/index.h"

#include <algorithm>
#include <bit>

namespace epp::prefix_index {
namespace {

constexpr size_t kAhead = 12;         // blocks between the prefetch and the use
constexpr int kMaxReclaims = 64;      // rounds of one insertion before it gives up
constexpr size_t kReclaimMin = 64;    // blocks a round, to make rounds rare ...
constexpr size_t kReclaimMax = 4096;  // ... and short

// What the shards cost before they hold anything.
constexpr uint64_t kShardBytes = sizeof(Shard) + 256;
constexpr uint64_t kMaxBlocks = uint64_t{1} << 31;

uint32_t ShardCount(uint64_t limit_bytes) {
  const uint64_t wanted = limit_bytes / kBytesPerBlock / 1024;
  return static_cast<uint32_t>(std::bit_floor(std::clamp<uint64_t>(wanted, 64, 4096)));
}

uint32_t LimitBlocks(uint64_t limit_bytes) {
  const uint64_t fixed = ShardCount(limit_bytes) * kShardBytes;
  const uint64_t rest = limit_bytes > fixed ? limit_bytes - fixed : 0;
  return static_cast<uint32_t>(std::clamp<uint64_t>(rest / kBytesPerBlock, 1, kMaxBlocks));
}

}  // namespace

Index::Index(uint64_t limit_bytes, uint64_t secret)
    : mixer_(secret),
      limit_blocks_(LimitBlocks(limit_bytes)),
      shard_count_(ShardCount(limit_bytes)),
      shard_shift_(64 - static_cast<uint32_t>(std::countr_zero(shard_count_))),
      shards_(std::make_unique<Shard[]>(shard_count_)),
      nodes_(limit_blocks_),
      endpoints_(std::make_unique<std::atomic<Endpoint*>[]>(kMaxSlots)) {}

bool Index::Register(uint32_t slot, uint64_t id, std::string_view name) {
  if (slot >= kMaxSlots) return false;
  const std::lock_guard registration(register_mu_);
  Endpoint* e = At(slot);
  if (e == nullptr) {
    e = owned_.emplace_back(std::make_unique<Endpoint>()).get();
    endpoints_[slot].store(e, std::memory_order_release);
  }
  {
    const std::lock_guard lock(e->mu);
    if (e->id.load(std::memory_order_relaxed) != id) DropAll(*e, slot);
    e->name = name;
    e->id.store(id, std::memory_order_relaxed);
  }
  if (slot_limit_.load(std::memory_order_relaxed) <= slot) {
    slot_limit_.store(slot + 1, std::memory_order_release);
  }
  return true;
}

void Index::Unregister(uint32_t slot, uint64_t id) {
  Endpoint* const e = At(slot);
  if (e == nullptr) return;
  // First the id, so that nobody who comes now waits for the rest.
  uint64_t expected = id;
  if (!e->id.compare_exchange_strong(expected, 0, std::memory_order_relaxed)) return;
  const std::lock_guard lock(e->mu);
  if (e->id.load(std::memory_order_relaxed) == 0) DropAll(*e, slot);
}

bool Index::Knows(uint32_t slot, uint64_t id) const {
  const Endpoint* const e = At(slot);
  return e != nullptr && e->id.load(std::memory_order_relaxed) == id;
}

void Index::Begin(LookupScratch* scratch) const {
  const uint32_t slots = slot_limit_.load(std::memory_order_acquire);
  scratch->depth.assign(slots, 0);
  scratch->alive.resize((slots + 63) / 64);
  scratch->words.resize((slots + 63) / 64);
}

void Index::Lookup(std::span<const uint64_t> blocks, LookupScratch* scratch) const {
  std::vector<uint32_t>& depth = scratch->depth;
  const std::span<uint64_t> alive(scratch->alive);
  const auto credit = [&](size_t word, uint64_t bits, size_t d) {
    for (; bits != 0; bits &= bits - 1) {
      const size_t slot = word * 64 + static_cast<size_t>(std::countr_zero(bits));
      if (slot < depth.size()) depth[slot] += static_cast<uint32_t>(d);
    }
  };

  for (size_t i = 0; i < std::min(kAhead, blocks.size()); ++i) {
    const uint64_t mixed = mixer_(blocks[i]);
    ShardOf(mixed).Prefetch(mixed);
  }
  size_t i = 0;
  uint32_t only = kMaxSlots;  // the one endpoint alive, when alive has just one
  for (; i < blocks.size(); ++i) {
    if (i + kAhead < blocks.size()) {
      const uint64_t ahead = mixer_(blocks[i + kAhead]);
      ShardOf(ahead).Prefetch(ahead);
    }
    const uint64_t mixed = mixer_(blocks[i]);
    Shard& shard = ShardOf(mixed);
    const std::lock_guard lock(shard);
    const Holders* const holders = shard.Find(blocks[i], mixed);
    if (holders == nullptr) break;
    if (i == 0) std::fill(alive.begin(), alive.end(), ~uint64_t{0});
    if (only != kMaxSlots) {
      if (holders->OnlySlot() != only && holders->Find(only) == kNoNode) break;
      continue;
    }
    const std::span<const uint64_t> holding = holders->Bitmap(scratch->words);
    uint64_t any = 0;
    int words_alive = 0;
    uint32_t last_word = 0;
    for (size_t w = 0; w < alive.size(); ++w) {
      if (alive[w] == 0) continue;
      const uint64_t have = w < holding.size() ? holding[w] : 0;
      if (i > 0) credit(w, alive[w] & ~have, i);
      alive[w] &= have;
      if (alive[w] == 0) continue;
      any |= alive[w];
      ++words_alive;
      last_word = static_cast<uint32_t>(w);
    }
    if (any == 0) return;
    if (words_alive == 1 && std::has_single_bit(any)) {
      only = last_word * 64 + static_cast<uint32_t>(std::countr_zero(any));
    }
  }
  if (i == 0) return;
  for (size_t w = 0; w < alive.size(); ++w) credit(w, alive[w], i);
}

uint64_t Index::Insert(uint32_t slot, uint64_t id, std::span<const uint64_t> blocks,
                       uint32_t capacity) {
  uint64_t evicted = 0;
  if (!Knows(slot, id) || capacity == 0) return evicted;
  Endpoint& e = *At(slot);
  size_t left = blocks.size();
  for (int round = 0; round < kMaxReclaims && left > 0; ++round) {
    {
      const std::lock_guard lock(e.mu);
      if (e.id.load(std::memory_order_relaxed) != id) break;
      if (e.capacity == 0) e.capacity = capacity;
      left = InsertLocked(e, slot, blocks.first(std::min<size_t>(left, e.capacity)), &evicted);
    }
    if (left == 0) break;
    const uint32_t reclaimed = Reclaim(left);
    if (reclaimed == 0) break;
    evicted += reclaimed;
  }
  return evicted;
}

// Inserts from the last block to the first; returns how many are left when nodes ran out.
size_t Index::InsertLocked(Endpoint& e, uint32_t slot, std::span<const uint64_t> blocks,
                           uint64_t* evicted) {
  const uint32_t count_before = e.count.load(std::memory_order_relaxed);
  uint32_t count = count_before;
  int64_t bytes = 0;
  size_t left = blocks.size();
  for (; left > 0; --left) {
    if (left > kAhead) {
      const uint64_t ahead = mixer_(blocks[left - 1 - kAhead]);
      ShardOf(ahead).Prefetch(ahead);
    }
    const uint64_t hash = blocks[left - 1];
    if (e.free == kNoNode && !Refill(e)) {
      const uint32_t node = FindNode(slot, hash);
      if (node == kNoNode) break;
      Unlink(e, node);
      Link(e, node);
      continue;
    }
    const uint64_t mixed = mixer_(hash);
    uint32_t node;
    {
      Shard& shard = ShardOf(mixed);
      const std::lock_guard lock(shard);
      node = shard.FindOrAdd(hash, mixed, slot, e.free, mixer_, &bytes);
    }
    if (node != e.free) {
      Unlink(e, node);
      Link(e, node);
      continue;
    }
    e.free = nodes_[node].older;
    --e.free_count;
    nodes_[node].hash = hash;
    Link(e, node);
    if (count == e.capacity) {
      EvictOldest(e, slot);
      ++*evicted;
      PrefetchOldest(e);
    } else {
      ++count;
    }
  }
  Account(bytes);
  e.count.store(count, std::memory_order_relaxed);
  blocks_.fetch_add(uint64_t{count} - count_before, std::memory_order_relaxed);
  return left;
}

uint32_t Index::FindNode(uint32_t slot, uint64_t hash) const {
  const uint64_t mixed = mixer_(hash);
  Shard& shard = ShardOf(mixed);
  const std::lock_guard lock(shard);
  const Holders* const holders = shard.Find(hash, mixed);
  return holders == nullptr ? kNoNode : holders->Find(slot);
}

bool Index::Refill(Endpoint& e) {
  const NodePool::Batch batch = nodes_.Take();
  e.free = batch.first;
  e.free_count = batch.count;
  return batch.count > 0;
}

void Index::Spill(Endpoint& e, uint32_t keep) {
  while (e.free_count > keep) {
    const uint32_t count = std::min(e.free_count - keep, nodes_.batch_size());
    uint32_t last = e.free;
    for (uint32_t i = 1; i < count; ++i) last = nodes_[last].older;
    const NodePool::Batch batch{e.free, count};
    e.free = nodes_[last].older;
    e.free_count -= count;
    nodes_[last].older = kNoNode;
    nodes_.Give(batch);
  }
}

void Index::Link(Endpoint& e, uint32_t node) {
  Node& n = nodes_[node];
  n.newer = kNoNode;
  n.older = e.newest;
  if (e.newest != kNoNode) nodes_[e.newest].newer = node;
  if (e.oldest == kNoNode) e.oldest = node;
  e.newest = node;
  ++e.links;
}

void Index::Unlink(Endpoint& e, uint32_t node) {
  const Node n = nodes_[node];
  (n.newer == kNoNode ? e.newest : nodes_[n.newer].older) = n.older;
  (n.older == kNoNode ? e.oldest : nodes_[n.older].newer) = n.newer;
}

// Leaves the counting to the caller.
void Index::EvictOldest(Endpoint& e, uint32_t slot) {
  const uint32_t node = e.oldest;
  const uint64_t hash = nodes_[node].hash;
  const uint64_t mixed = mixer_(hash);
  int64_t bytes = 0;
  {
    Shard& shard = ShardOf(mixed);
    const std::lock_guard lock(shard);
    shard.Remove(hash, mixed, slot, mixer_, &bytes);
  }
  Account(bytes);
  Unlink(e, node);
  nodes_[node].older = e.free;
  e.free = node;
  ++e.free_count;
}

// Evictions come in rows, and what they touch is cold.
void Index::PrefetchOldest(const Endpoint& e) const {
  if (e.oldest == kNoNode) return;
  const Node& next = nodes_[e.oldest];
  const uint64_t mixed = mixer_(next.hash);
  ShardOf(mixed).Prefetch(mixed);
  if (next.newer != kNoNode) __builtin_prefetch(&nodes_[next.newer]);
}

void Index::DropAll(Endpoint& e, uint32_t slot) {
  blocks_.fetch_sub(e.count.load(std::memory_order_relaxed), std::memory_order_relaxed);
  e.count.store(0, std::memory_order_relaxed);
  while (e.oldest != kNoNode) EvictOldest(e, slot);
  Spill(e, 0);
  e.capacity = 0;
}

uint32_t Index::Reclaim(size_t blocks) {
  const uint32_t slots = slot_limit_.load(std::memory_order_acquire);
  uint32_t victim = 0;
  uint32_t most = 0;
  for (uint32_t s = 0; s < slots; ++s) {
    const Endpoint* const e = At(s);
    const uint32_t count = e == nullptr ? 0 : e->count.load(std::memory_order_relaxed);
    if (count > most) {
      most = count;
      victim = s;
    }
  }
  if (most == 0) return 0;
  Endpoint& e = *At(victim);
  const std::lock_guard lock(e.mu);
  const uint32_t have = e.count.load(std::memory_order_relaxed);
  const uint32_t take = static_cast<uint32_t>(
      std::min<size_t>(std::clamp(blocks, kReclaimMin, kReclaimMax), (have + uint64_t{1}) / 2));
  for (uint32_t i = 0; i < take; ++i) EvictOldest(e, victim);
  Spill(e, 0);
  e.count.store(have - take, std::memory_order_relaxed);
  blocks_.fetch_sub(take, std::memory_order_relaxed);
  return take;
}

uint64_t Index::Bytes() const {
  const int64_t tables = table_bytes_.load(std::memory_order_relaxed);
  return static_cast<uint64_t>(std::max<int64_t>(tables, 0)) + nodes_.Bytes() +
         uint64_t{shard_count_} * sizeof(Shard) + kMaxSlots * sizeof(Endpoint*);
}

std::vector<Index::EndpointBlocks> Index::Endpoints() const {
  std::vector<EndpointBlocks> out;
  const uint32_t slots = slot_limit_.load(std::memory_order_acquire);
  for (uint32_t s = 0; s < slots; ++s) {
    const Endpoint* const e = At(s);
    if (e == nullptr) continue;
    const std::lock_guard lock(e->mu);
    if (e->id.load(std::memory_order_relaxed) == 0) continue;
    out.push_back({e->name, e->count.load(std::memory_order_relaxed)});
  }
  return out;
}

}  // namespace epp::prefix_index
