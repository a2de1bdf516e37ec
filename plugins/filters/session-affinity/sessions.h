// Which endpoint each session is bound to.
//
// A session is known by a keyed hash of its identifier: what clients send is not kept, and its size
// does not matter. An entry that is idle for longer than the TTL at one of the sweep times, which
// come every sweep interval, is gone from then on; its memory is freed as others bind. At most
// about a million sessions are kept; then the one that was idle longest makes room.
//
// Threads: every member but Restore may be called from any thread; each holds one of 16 locks for
// a few steps.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace epp::session {

// An endpoint; one that comes back under its name is the same although its id is new.
struct Bound {
  uint64_t id = 0;
  uint32_t name = 0;  // symbol

  bool Is(const Bound& other) const { return id == other.id || name == other.name; }
};

struct SessionKey {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const SessionKey&) const = default;
};

class Sessions {
 public:
  static constexpr size_t kShards = 16;
  static constexpr size_t kMaxPerShard = 1 << 16;

  // Times are monotonic; sweep_ns is above 0.
  Sessions(uint64_t seed, uint64_t start_ns, uint64_t ttl_ns, uint64_t sweep_ns,
           size_t max_per_shard = kMaxPerShard)
      : seed_(seed),
        start_ns_(start_ns),
        ttl_ns_(ttl_ns),
        sweep_ns_(sweep_ns),
        max_per_shard_(max_per_shard) {}
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;

  SessionKey KeyOf(std::string_view identifier) const;

  // Does not count as a use.
  std::optional<Bound> Find(const SessionKey& key, uint64_t now_ns) const;

  // A request of the session goes to target. Binds a session that is not bound, refreshes one that
  // is bound to target, and moves one that is bound to `absent`, an endpoint that the request found
  // missing; otherwise changes nothing. absent may be null.
  void Use(const SessionKey& key, const Bound& target, const Bound* absent, uint64_t now_ns);

  size_t size() const;

  // For a successor in the same process.
  std::string Save() const;
  // Before the first use; false, and nothing changed, when the bytes are malformed.
  bool Restore(std::string_view bytes);

 private:
  struct Entry {
    SessionKey key;
    Bound bound;
    uint64_t used_ns;
  };
  struct Hash {
    size_t operator()(const SessionKey& key) const { return key.low; }
  };
  struct Shard {
    mutable std::mutex mu;
    std::list<Entry> entries;  // idle longest first
    std::unordered_map<SessionKey, std::list<Entry>::iterator, Hash> by_key;
  };

  Shard& ShardOf(const SessionKey& key) { return shards_[key.high % kShards]; }
  const Shard& ShardOf(const SessionKey& key) const { return shards_[key.high % kShards]; }
  bool Gone(const Entry& entry, uint64_t now_ns) const;
  void Insert(Shard& shard, const Entry& entry);
  static void DropFirst(Shard& shard);

  uint64_t seed_;  // changed by Restore only
  const uint64_t start_ns_;
  const uint64_t ttl_ns_;
  const uint64_t sweep_ns_;
  const size_t max_per_shard_;
  std::array<Shard, kShards> shards_;  // guarded by their mu
};

}  // namespace epp::session
