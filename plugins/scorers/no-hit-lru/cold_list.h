// Which endpoints got cold requests, in the order in which they got their last one.
//
// At most `capacity` endpoints are listed; the oldest make room. An endpoint is known by slot and
// id, and must be registered: one that left is off the list, and its slot's next endpoint starts
// unlisted.
//
// Threads: everything from anywhere; one lock, held for a few instructions an endpoint.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace epp::nohit {

// When a candidate got its last cold request; larger is later, 0 is never.
struct Turn {
  uint64_t time = 0;
  uint64_t id = 0;  // of the endpoint
  uint32_t candidate = 0;
};

class ColdList {
 public:
  static constexpr uint32_t kMaxSlots = 1u << 14;

  explicit ColdList(uint32_t capacity) : capacity_(capacity) {}
  ColdList(const ColdList&) = delete;
  ColdList& operator=(const ColdList&) = delete;

  // False when slot is out of range. Keeps the place of an endpoint that is registered already.
  bool Register(uint32_t slot, uint64_t id, std::string_view name);
  void Unregister(uint32_t slot, uint64_t id);

  // To the newest place. Does nothing for an endpoint that is not registered (any more).
  void Touch(uint32_t slot, uint64_t id);

  // Fills in `time` of turns[i], whose `id` the endpoint in slots[i] must have; else 0.
  void Read(std::span<const uint32_t> slots, std::span<Turn> turns) const;

  // Oldest first, at most `most`.
  std::vector<std::string> Names(size_t most) const;
  std::vector<uint64_t> Ids() const;
  size_t size() const;

  // Takes over an order, oldest first, that another list had: before the first Touch. What is not
  // registered is left out, and the newest stay when they are too many.
  void Load(std::span<const uint64_t> ids);

 private:
  static constexpr uint32_t kNone = ~0u;
  struct Entry {
    uint64_t id = 0;    // 0: no endpoint
    uint64_t time = 0;  // 0: not on the list
    uint32_t older = kNone;
    uint32_t newer = kNone;
    std::string name;
  };

  // All with the lock.
  bool Has(uint32_t slot, uint64_t id) const {
    return slot < entries_.size() && id != 0 && entries_[slot].id == id;
  }
  void Unlink(uint32_t slot);
  void Append(uint32_t slot);

  const uint32_t capacity_;  // at least 1
  mutable std::mutex mu_;
  std::vector<Entry> entries_;  // by slot; grows in Register only
  uint32_t oldest_ = kNone;
  uint32_t newest_ = kNone;
  uint32_t size_ = 0;
  uint64_t clock_ = 0;
};

}  // namespace epp::nohit
