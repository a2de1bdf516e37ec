// Holders: the endpoints that hold one block, each with the number of its LRU node, in one word.
//
// Most blocks have one holder, and a shared system prompt has all of them, so there are four forms:
//
//   empty    0
//   one      the slot and the node, inline
//   list     pointer to an array of (slot, node), unordered
//   bits     pointer to a bitmap over slots, with the nodes in slot order; ranks per 64 slots make
//            a lookup independent of the number of holders
//
// Cost:     one holder 0 bytes, else at most 24 bytes a holder and 16 bytes.
// Threads:  none; the owner locks.
// Lifetime: a word owns its memory. It is trivially movable by copy; call Clear to give it up.
#pragma once

#include <cstdint>
#include <span>

namespace epp::prefix_index {

inline constexpr uint32_t kNoNode = UINT32_MAX;
inline constexpr uint32_t kMaxSlots = 1u << 14;

class Holders {
 public:
  bool empty() const { return word_ == 0; }

  // The node of slot, or kNoNode.
  uint32_t Find(uint32_t slot) const;

  // The node of slot; adds slot with `node` when it is not there.
  uint32_t FindOrAdd(uint32_t slot, uint32_t node);

  // Removes slot if it is there; returns whether it was.
  bool Remove(uint32_t slot);

  void Clear();

  // Bytes on the heap.
  uint64_t HeapBytes() const;

  // The only holder, or kMaxSlots when there are none or several.
  uint32_t OnlySlot() const {
    return Form() == kOne ? static_cast<uint32_t>(word_ >> 2) & kSlotMask : kMaxSlots;
  }

  // The set as a bitmap: a pointer to its own words (then at most words.size() long), or `words`
  // after filling it. Slots beyond words.size() * 64 are left out.
  std::span<const uint64_t> Bitmap(std::span<uint64_t> words) const;

 private:
  enum : uint64_t { kEmpty = 0, kOne = 1, kList = 2, kBits = 3 };
  static constexpr uint32_t kSlotMask = (1u << 30) - 1;

  struct List;
  struct Bits;

  uint64_t Form() const { return word_ & 3; }
  List* list() const { return reinterpret_cast<List*>(word_ & ~uint64_t{3}); }
  Bits* bits() const { return reinterpret_cast<Bits*>(word_ & ~uint64_t{3}); }
  void SetOne(uint32_t slot, uint32_t node) {
    word_ = uint64_t{node} << 32 | uint64_t{slot} << 2 | kOne;
  }
  void SetList(List* l) { word_ = reinterpret_cast<uint64_t>(l) | kList; }
  void SetBits(Bits* b) { word_ = reinterpret_cast<uint64_t>(b) | kBits; }

  void AddToList(uint32_t slot, uint32_t node);
  void AddToBits(uint32_t slot, uint32_t node);
  void ListToBits();
  void BitsToList();

  uint64_t word_ = 0;
};

}  // namespace epp::prefix_index
