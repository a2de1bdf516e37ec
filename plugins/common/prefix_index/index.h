// Index: which endpoint has been sent which prompt prefix.
//
//   match(endpoint) = the largest d so that the endpoint holds blocks 1 ... d of the prompt
//
// Exact per endpoint: the match is contiguous from the first block, and every endpoint has its own
// LRU order and its own limit. A prompt's blocks are touched from the last to the first, so that an
// endpoint forgets the end of a prompt before its beginning, without which the end is useless.
//
// Structure: shards of an open-addressing table, hash -> holders (see Holders), and per endpoint a
//            list of nodes from one pool.
// Memory:    at most kBytesPerBlock for each (endpoint, block) pair, and at most the limit overall.
//            When the pool is used up, the endpoint with most blocks gives up its oldest.
// Cost:      a block of a lookup is one prefetched table access and an AND over (slots / 64) words;
//            the lookup ends at the first block that nobody holds any more.
// Threads:   everything from anywhere. Two insertions for one endpoint exclude each other; a lookup
//            locks one shard at a time.
// Slots:     endpoints are known by slot; the id says which endpoint a slot means now. Whatever
//            names a slot with another id than the registered one has no effect.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/prefix_index/holders.h"
#include "plugins/common/prefix_index/node_pool.h"
#include "plugins/common/prefix_index/shard.h"

namespace epp::prefix_index {

// Bound of the memory of one pair at the worst load factors: 36 of the table and 16 of the node,
// or shares of them and of a list of holders.
inline constexpr uint64_t kBytesPerBlock = 56;

// Buffers of one lookup at a time; reuse them, one a thread.
struct LookupScratch {
  std::vector<uint32_t> depth;  // by slot, summed over the lookups since Begin
  std::vector<uint64_t> alive;
  std::vector<uint64_t> words;
};

class Index {
 public:
  // limit_bytes: for everything; below a few hundred KiB there is room for next to nothing.
  Index(uint64_t limit_bytes, uint64_t secret);

  // Says that slot now means endpoint id. Entries of another id are dropped.
  // Returns false when slot is kMaxSlots or more: such an endpoint never matches.
  bool Register(uint32_t slot, uint64_t id, std::string_view name);

  // Drops the endpoint's entries.
  void Unregister(uint32_t slot, uint64_t id);

  // Is this endpoint the one of the slot?
  bool Knows(uint32_t slot, uint64_t id) const;

  // Prepares scratch: all depths 0.
  void Begin(LookupScratch* scratch) const;

  // Adds the match of one prompt, in blocks, to scratch->depth[slot] of every endpoint that has
  // one. Blocks in order, the first block first.
  void Lookup(std::span<const uint64_t> blocks, LookupScratch* scratch) const;

  // Records that the endpoint was sent the prompt. capacity is the endpoint's limit in blocks, at
  // least 1, and counts only with the first insertion; of a longer prompt the beginning is kept.
  // Returns how many blocks, of any endpoint, had to go for it.
  uint64_t Insert(uint32_t slot, uint64_t id, std::span<const uint64_t> blocks, uint32_t capacity);

  // What every endpoint holds, in its order, as bytes that Load reads. Never holds an endpoint's
  // lock for longer than a long prompt takes. What changes meanwhile may or may not be part of it.
  void Save(std::string* out) const;

  // Adds what Save wrote, for endpoints that are registered: call it before the first insertion, so
  // that the order is right. capacity_of says how many blocks an endpoint may have now, from what
  // it was. False, and nothing was changed, when the bytes are malformed.
  bool Load(std::string_view bytes, const std::function<uint32_t(uint32_t)>& capacity_of);

  uint64_t blocks() const { return blocks_.load(std::memory_order_relaxed); }
  uint64_t limit_blocks() const { return limit_blocks_; }
  uint64_t Bytes() const;

  struct EndpointBlocks {
    std::string name;
    uint32_t blocks;
  };
  std::vector<EndpointBlocks> Endpoints() const;

 private:
  struct alignas(64) Endpoint {
    mutable std::mutex mu;           // guards all but the atomics
    std::atomic<uint64_t> id{0};     // set under mu, reset without; 0: no endpoint
    std::atomic<uint32_t> count{0};  // written under mu
    uint32_t capacity = 0;           // 0 until the first insertion
    uint32_t newest = kNoNode;
    uint32_t oldest = kNoNode;
    uint32_t free = kNoNode;
    uint32_t free_count = 0;
    uint64_t links = 0;  // how often a block became the newest
    std::string name;
  };

  Shard& ShardOf(uint64_t mixed) const { return shards_[mixed >> shard_shift_]; }
  Endpoint* At(uint32_t slot) const {
    return slot < kMaxSlots ? endpoints_[slot].load(std::memory_order_acquire) : nullptr;
  }

  // The following need e.mu.
  size_t InsertLocked(Endpoint& e, uint32_t slot, std::span<const uint64_t> blocks,
                      uint64_t* evicted);
  bool Refill(Endpoint& e);
  void Spill(Endpoint& e, uint32_t keep);
  void Link(Endpoint& e, uint32_t node);
  void Unlink(Endpoint& e, uint32_t node);
  void EvictOldest(Endpoint& e, uint32_t slot);
  void PrefetchOldest(const Endpoint& e) const;
  void DropAll(Endpoint& e, uint32_t slot);

  uint32_t FindNode(uint32_t slot, uint64_t hash) const;
  uint32_t SaveEndpoint(const Endpoint& e, uint32_t slot, uint64_t id, std::string* out) const;
  bool IsAmongNewest(const Endpoint& e, uint32_t node, uint64_t n) const;

  // Takes about so many blocks from the endpoint with most of them, and returns how many. Locks
  // that endpoint; the caller holds no lock.
  uint32_t Reclaim(size_t blocks);

  void Account(int64_t bytes) {
    if (bytes != 0) table_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }

  const Mixer mixer_;
  const uint32_t limit_blocks_;
  const uint32_t shard_count_;
  const uint32_t shard_shift_;
  const std::unique_ptr<Shard[]> shards_;
  mutable NodePool nodes_;
  const std::unique_ptr<std::atomic<Endpoint*>[]> endpoints_;
  std::mutex register_mu_;                        // guards owned_; taken before Endpoint::mu
  std::vector<std::unique_ptr<Endpoint>> owned_;  // kept until the end, reused with their slot
  std::atomic<uint32_t> slot_limit_{0};           // highest registered slot, plus 1
  std::atomic<uint64_t> blocks_{0};
  std::atomic<int64_t> table_bytes_{0};
};

}  // namespace epp::prefix_index
