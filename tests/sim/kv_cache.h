// The paged KV cache of one simulated model server: a fixed number of blocks, reference counted
// while requests use them, kept by content hash afterwards until somebody needs the room.
//
// A hash names a block's content together with everything before it (a chained hash), so equal
// hashes mean an equal prefix. A block without a hash (partial, or of unknown content) is never
// reused and is empty again as soon as its last user lets go.
//
// Threads: none of its own; one owner. Cost: every call is O(blocks named in it).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace epp::sim {

using BlockId = uint32_t;

class KvCache {
 public:
  // An empty cache of `blocks` blocks; 0 is legal and holds nothing.
  explicit KvCache(uint32_t blocks);

  // How many of the leading hashes are present, in use or not.
  [[nodiscard]] uint32_t MatchPrefix(std::span<const uint64_t> hashes) const;

  // Takes the present blocks of `reused` (all must be present: a result of MatchPrefix) and
  // `fresh` empty ones, evicting the least recently used blocks that nobody holds. Appends their
  // ids to `out` in order. All or nothing: false, and nothing changed, when there is no room.
  [[nodiscard]] bool Acquire(std::span<const uint64_t> reused, uint32_t fresh,
                             std::vector<BlockId>* out);

  // Gives a held block its content's hash, so that others can reuse it from now on. When another
  // block already has this hash, that one stays the known one and `block` stays anonymous.
  void Publish(BlockId block, uint64_t hash);

  // Lets go of blocks in order from the last to the first, so that the end of a prefix is evicted
  // before its beginning.
  void Release(std::span<const BlockId> blocks);

  [[nodiscard]] uint32_t capacity() const { return static_cast<uint32_t>(blocks_.size()); }
  // Blocks that running requests hold.
  [[nodiscard]] uint32_t used() const { return used_; }
  // Blocks with reusable content that nobody holds.
  [[nodiscard]] uint32_t idle() const { return idle_; }
  // Blocks with known content that were emptied for lack of room, since construction.
  [[nodiscard]] uint64_t evictions() const { return evictions_; }

 private:
  static constexpr BlockId kNone = UINT32_MAX;

  struct Block {
    uint64_t hash = 0;
    uint32_t references = 0;
    bool has_hash = false;
    BlockId older = kNone;  // neighbours in the list of idle blocks
    BlockId newer = kNone;
  };

  void Unlink(BlockId id);
  void LinkAsNewest(BlockId id);
  BlockId TakeEmpty();

  std::vector<Block> blocks_;
  std::vector<BlockId> empty_;
  absl::flat_hash_map<uint64_t, BlockId> by_hash_;
  BlockId oldest_ = kNone;
  BlockId newest_ = kNone;
  uint32_t used_ = 0;
  uint32_t idle_ = 0;
  uint64_t evictions_ = 0;
};

}  // namespace epp::sim
