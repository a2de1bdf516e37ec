// Save and Load of the index.
//
// Bytes: per endpoint its slot (u32), id (u64), limit in blocks (u32), number of hashes (u32), and
// the hashes (u64) from the oldest to the newest. A hash may stand there twice when it was used
// while it was saved; the last place counts.
#include <algorithm>
#include <array>
#include <vector>

#include "plugins/common/bytes.hpp"
#include "plugins/common/prefix_index/index.h"

namespace epp::prefix_index {
namespace {

using common::ByteReader;
using common::PutBytes;

constexpr size_t kChunk = 2048;  // hashes a time under the lock of an endpoint
constexpr int kMaxRestarts = 3;

}  // namespace

void Index::Save(std::string* out) const {
  const uint32_t slots = slot_limit_.load(std::memory_order_acquire);
  for (uint32_t slot = 0; slot < slots; ++slot) {
    const Endpoint* const e = At(slot);
    if (e == nullptr || e->count.load(std::memory_order_relaxed) == 0) continue;
    uint64_t id;
    uint32_t capacity;
    {
      const std::lock_guard lock(e->mu);
      id = e->id.load(std::memory_order_relaxed);
      capacity = e->capacity;
    }
    if (id == 0 || capacity == 0) continue;
    PutBytes(out, slot);
    PutBytes(out, id);
    PutBytes(out, capacity);
    const size_t count_at = out->size();
    PutBytes(out, uint32_t{0});
    const uint32_t count = SaveEndpoint(*e, slot, id, out);
    std::memcpy(out->data() + count_at, &count, sizeof(count));
  }
}

// From the oldest to the newest, a chunk at a time: what is used between two chunks becomes the
// newest and is still to come. The next one to save may itself be gone by then. When it was
// evicted, so were all older ones; when it was used, the place is lost and the walk starts again.
// After a few times of that, or when the workers use blocks as fast as they are saved, the rest is
// saved in one go.
uint32_t Index::SaveEndpoint(const Endpoint& e, uint32_t slot, uint64_t id,
                             std::string* out) const {
  std::vector<uint64_t> chunk;
  uint64_t saved = 0;
  uint32_t node = kNoNode;  // the next, with its hash
  uint64_t hash = 0;
  uint64_t links = 0;  // of the endpoint, when the lock was last held
  int restarts = 0;
  for (bool first = true; first || node != kNoNode; first = false) {
    chunk.clear();
    {
      const std::lock_guard lock(e.mu);
      if (e.id.load(std::memory_order_relaxed) != id) break;
      if (first || FindNode(slot, hash) != node) {
        node = e.oldest;
      } else if (IsAmongNewest(e, node, e.links - links)) {
        node = e.oldest;
        ++restarts;
      }
      const bool rest =
          restarts >= kMaxRestarts || saved > 4 * uint64_t{e.count.load(std::memory_order_relaxed)};
      for (; node != kNoNode && (rest || chunk.size() < kChunk); node = nodes_[node].newer) {
        if (nodes_[node].newer != kNoNode) __builtin_prefetch(&nodes_[nodes_[node].newer]);
        chunk.push_back(nodes_[node].hash);
      }
      if (node != kNoNode) hash = nodes_[node].hash;
      links = e.links;
    }
    out->append(reinterpret_cast<const char*>(chunk.data()), chunk.size() * sizeof(uint64_t));
    saved += chunk.size();
  }
  return static_cast<uint32_t>(saved);
}

// Is it one of the n last that were linked? Needs e.mu.
bool Index::IsAmongNewest(const Endpoint& e, uint32_t node, uint64_t n) const {
  for (uint32_t at = e.newest; n > 0 && at != kNoNode; at = nodes_[at].older, --n) {
    if (at == node) return true;
  }
  return false;
}

bool Index::Load(std::string_view bytes, const std::function<uint32_t(uint32_t)>& capacity_of) {
  struct Saved {
    uint32_t slot = 0;
    uint64_t id = 0;
    uint32_t capacity = 0;
    std::string_view hashes;
  };
  std::vector<Saved> all;
  for (ByteReader in(bytes); !in.done();) {
    Saved& s = all.emplace_back();
    uint32_t count = 0;
    if (!in.Get(&s.slot) || !in.Get(&s.id) || !in.Get(&s.capacity) || !in.Get(&count) ||
        !in.GetRaw(count * sizeof(uint64_t), &s.hashes)) {
      return false;
    }
    if (s.slot >= kMaxSlots || s.id == 0 || s.capacity == 0) return false;
  }
  std::array<uint64_t, kChunk> chunk;
  for (const Saved& s : all) {
    if (!Knows(s.slot, s.id)) continue;
    const uint32_t capacity = capacity_of(s.capacity);
    const size_t count = s.hashes.size() / sizeof(uint64_t);
    // None that would be pushed out again.
    for (size_t at = count - std::min<size_t>(count, capacity); at < count;) {
      const size_t n = std::min(count - at, kChunk);
      std::memcpy(chunk.data(), s.hashes.data() + at * sizeof(uint64_t), n * sizeof(uint64_t));
      at += n;
      std::reverse(chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(n));
      Insert(s.slot, s.id, {chunk.data(), n}, capacity);
    }
  }
  return true;
}

}  // namespace epp::prefix_index
