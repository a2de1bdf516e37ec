#include "sessions.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <iterator>
#include <vector>

#include "plugins/common/bytes.hpp"

namespace epp::session {

namespace {

// Entries that one Use frees at most: more than it can add, so that memory follows.
constexpr int kFreedPerUse = 4;

}  // namespace

SessionKey Sessions::KeyOf(std::string_view identifier) const {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(identifier.data(), identifier.size(), seed_);
  return {hash.low64, hash.high64};
}

std::optional<Bound> Sessions::Find(const SessionKey& key, uint64_t now_ns) const {
  const Shard& shard = ShardOf(key);
  const std::lock_guard lock(shard.mu);
  const auto it = shard.by_key.find(key);
  if (it == shard.by_key.end() || Gone(*it->second, now_ns)) return std::nullopt;
  return it->second->bound;
}

void Sessions::Use(const SessionKey& key, const Bound& target, const Bound* absent,
                   uint64_t now_ns) {
  Shard& shard = ShardOf(key);
  const std::lock_guard lock(shard.mu);
  for (int i = 0; i < kFreedPerUse && !shard.entries.empty(); ++i) {
    if (!Gone(shard.entries.front(), now_ns)) break;
    DropFirst(shard);
  }
  const auto it = shard.by_key.find(key);
  if (it == shard.by_key.end()) {
    Insert(shard, {key, target, now_ns});
    return;
  }
  Entry& entry = *it->second;
  const bool moves = Gone(entry, now_ns) || (absent != nullptr && entry.bound.Is(*absent));
  if (!moves && !entry.bound.Is(target)) return;
  entry.bound = target;
  entry.used_ns = now_ns;
  shard.entries.splice(shard.entries.end(), shard.entries, it->second);
}

size_t Sessions::size() const {
  size_t n = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mu);
    n += shard.entries.size();
  }
  return n;
}

std::string Sessions::Save() const {
  std::string out;
  common::PutBytes(&out, seed_);
  std::vector<Entry> copy;
  for (const Shard& shard : shards_) {
    copy.clear();
    {
      const std::lock_guard lock(shard.mu);
      copy.assign(shard.entries.begin(), shard.entries.end());
    }
    for (const Entry& e : copy) {
      common::PutBytes(&out, e.key.low);
      common::PutBytes(&out, e.key.high);
      common::PutBytes(&out, e.bound.id);
      common::PutBytes(&out, e.bound.name);
      common::PutBytes(&out, e.used_ns);
    }
  }
  return out;
}

bool Sessions::Restore(std::string_view bytes) {
  common::ByteReader in(bytes);
  uint64_t seed = 0;
  if (!in.Get(&seed)) return false;
  std::vector<Entry> entries;
  while (!in.done()) {
    Entry e{};
    if (!in.Get(&e.key.low) || !in.Get(&e.key.high) || !in.Get(&e.bound.id) ||
        !in.Get(&e.bound.name) || !in.Get(&e.used_ns)) {
      return false;
    }
    entries.push_back(e);
  }
  seed_ = seed;
  for (const Entry& e : entries) {
    Shard& shard = ShardOf(e.key);
    const std::lock_guard lock(shard.mu);
    if (!shard.by_key.contains(e.key)) Insert(shard, e);
  }
  return true;
}

bool Sessions::Gone(const Entry& entry, uint64_t now_ns) const {
  if (now_ns < start_ns_) return false;
  const uint64_t last_sweep = now_ns - (now_ns - start_ns_) % sweep_ns_;
  return last_sweep > entry.used_ns && last_sweep - entry.used_ns > ttl_ns_;
}

void Sessions::Insert(Shard& shard, const Entry& entry) {
  if (shard.entries.size() >= max_per_shard_) DropFirst(shard);
  shard.entries.push_back(entry);
  shard.by_key.emplace(entry.key, std::prev(shard.entries.end()));
}

void Sessions::DropFirst(Shard& shard) {
  shard.by_key.erase(shard.entries.front().key);
  shard.entries.pop_front();
}

}  // namespace epp::session
