#include "plugins/common/prefix_index/holders.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace epp::prefix_index {
namespace {

// A list becomes a bitmap when it has this many holders and at least one a word of the bitmap. It
// goes back below three quarters of that, so that one that comes and goes does not convert.
constexpr uint32_t kMinBitsHolders = 16;
constexpr uint32_t ThreeQuarters(uint32_t n) { return n - n / 4; }

constexpr uint32_t WordsFor(uint32_t slot) { return slot / 64 + 1; }

void* Allocate(uint64_t bytes) {
  void* p = std::malloc(bytes);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

uint32_t Grown(uint32_t capacity) { return capacity + std::max(2u, capacity / 4); }

}  // namespace

struct Holders::List {
  struct Item {
    uint32_t slot;
    uint32_t node;
  };
  uint32_t count;
  uint32_t capacity;

  Item* items() { return reinterpret_cast<Item*>(this + 1); }
  Item* end() { return items() + count; }
  Item* Find(uint32_t slot) {
    return std::find_if(items(), end(), [&](const Item& i) { return i.slot == slot; });
  }
  static uint64_t Bytes(uint32_t capacity) { return sizeof(List) + capacity * sizeof(Item); }
  static List* Make(uint32_t capacity) { return new (Allocate(Bytes(capacity))) List{0, capacity}; }
  // A copy with another capacity, at least count; frees the old one.
  static List* Resize(List* old, uint32_t capacity) {
    List* const made = Make(capacity);
    made->count = old->count;
    std::memcpy(made->items(), old->items(), old->count * sizeof(Item));
    std::free(old);
    return made;
  }
};

// words bitmap words, then words ranks (holders below the word), then capacity nodes.
struct Holders::Bits {
  uint32_t count;
  uint32_t capacity;
  uint32_t words;
  uint32_t reserved;

  uint64_t* bitmap() { return reinterpret_cast<uint64_t*>(this + 1); }
  uint32_t* ranks() { return reinterpret_cast<uint32_t*>(bitmap() + words); }
  uint32_t* nodes() { return ranks() + words; }

  bool Has(uint32_t slot) {
    return slot / 64 < words && (bitmap()[slot / 64] >> (slot % 64) & 1) != 0;
  }
  // Holders below slot; slot / 64 < words.
  uint32_t Rank(uint32_t slot) {
    const uint64_t below = bitmap()[slot / 64] & ((uint64_t{1} << (slot % 64)) - 1);
    return ranks()[slot / 64] + static_cast<uint32_t>(std::popcount(below));
  }
  // slot is not there, slot / 64 < words, count < capacity.
  void Insert(uint32_t slot, uint32_t node) {
    const uint32_t at = Rank(slot);
    std::memmove(nodes() + at + 1, nodes() + at, (count - at) * sizeof(uint32_t));
    nodes()[at] = node;
    bitmap()[slot / 64] |= uint64_t{1} << (slot % 64);
    for (uint32_t w = slot / 64 + 1; w < words; ++w) ++ranks()[w];
    ++count;
  }
  void Erase(uint32_t slot) {
    const uint32_t at = Rank(slot);
    std::memmove(nodes() + at, nodes() + at + 1, (count - at - 1) * sizeof(uint32_t));
    bitmap()[slot / 64] &= ~(uint64_t{1} << (slot % 64));
    for (uint32_t w = slot / 64 + 1; w < words; ++w) --ranks()[w];
    --count;
  }

  static uint64_t Bytes(uint32_t words, uint32_t capacity) {
    return sizeof(Bits) + words * (sizeof(uint64_t) + sizeof(uint32_t)) +
           capacity * sizeof(uint32_t);
  }
  static Bits* Make(uint32_t words, uint32_t capacity) {
    const uint64_t bytes = Bytes(words, capacity);
    Bits* const made = new (Allocate(bytes)) Bits{0, capacity, words, 0};
    std::memset(made->bitmap(), 0, bytes - sizeof(Bits));
    return made;
  }
  // A copy with other sizes, neither below what is used; frees the old one.
  static Bits* Resize(Bits* old, uint32_t words, uint32_t capacity) {
    Bits* const made = Make(words, capacity);
    made->count = old->count;
    const uint32_t shared = std::min(words, old->words);
    std::copy_n(old->bitmap(), shared, made->bitmap());
    std::copy_n(old->ranks(), shared, made->ranks());
    std::fill(made->ranks() + shared, made->ranks() + words, old->count);
    std::copy_n(old->nodes(), old->count, made->nodes());
    std::free(old);
    return made;
  }
};

uint32_t Holders::Find(uint32_t slot) const {
  switch (Form()) {
    case kOne:
      return OnlySlot() == slot ? static_cast<uint32_t>(word_ >> 32) : kNoNode;
    case kList: {
      const List::Item* const item = list()->Find(slot);
      return item == list()->end() ? kNoNode : item->node;
    }
    case kBits:
      return bits()->Has(slot) ? bits()->nodes()[bits()->Rank(slot)] : kNoNode;
    default:
      return kNoNode;
  }
}

uint32_t Holders::FindOrAdd(uint32_t slot, uint32_t node) {
  const uint32_t found = Find(slot);
  if (found != kNoNode) return found;
  switch (Form()) {
    case kEmpty:
      SetOne(slot, node);
      break;
    case kOne: {
      List* const made = List::Make(2);
      made->items()[0] = {OnlySlot(), static_cast<uint32_t>(word_ >> 32)};
      made->items()[1] = {slot, node};
      made->count = 2;
      SetList(made);
      break;
    }
    case kList:
      AddToList(slot, node);
      break;
    case kBits:
      AddToBits(slot, node);
      break;
  }
  return node;
}

void Holders::AddToList(uint32_t slot, uint32_t node) {
  List* l = list();
  if (l->count == l->capacity) {
    l = List::Resize(l, Grown(l->capacity));
    SetList(l);
  }
  l->items()[l->count++] = {slot, node};
  if (l->count >= kMinBitsHolders) ListToBits();
}

void Holders::AddToBits(uint32_t slot, uint32_t node) {
  Bits* b = bits();
  const uint32_t words = std::max(b->words, WordsFor(slot));
  const uint32_t capacity = b->count == b->capacity ? Grown(b->capacity) : b->capacity;
  if (words != b->words || capacity != b->capacity) {
    b = Bits::Resize(b, words, capacity);
    SetBits(b);
  }
  b->Insert(slot, node);
}

void Holders::ListToBits() {
  List* const l = list();
  uint32_t words = 1;
  for (const List::Item* i = l->items(); i != l->end(); ++i) {
    words = std::max(words, WordsFor(i->slot));
  }
  if (l->count < words) return;
  Bits* const made = Bits::Make(words, Grown(l->count));
  for (const List::Item* i = l->items(); i != l->end(); ++i) made->Insert(i->slot, i->node);
  std::free(l);
  SetBits(made);
}

void Holders::BitsToList() {
  Bits* const b = bits();
  List* const made = List::Make(std::max(b->count, 2u));
  for (uint32_t w = 0; w < b->words; ++w) {
    for (uint64_t word = b->bitmap()[w]; word != 0; word &= word - 1) {
      const uint32_t slot = w * 64 + static_cast<uint32_t>(std::countr_zero(word));
      made->items()[made->count] = {slot, b->nodes()[made->count]};
      ++made->count;
    }
  }
  std::free(b);
  SetList(made);
}

bool Holders::Remove(uint32_t slot) {
  switch (Form()) {
    case kOne:
      if (OnlySlot() != slot) return false;
      word_ = 0;
      return true;
    case kList: {
      List* const l = list();
      List::Item* const item = l->Find(slot);
      if (item == l->end()) return false;
      *item = l->items()[--l->count];
      if (l->count == 1) {
        const List::Item last = l->items()[0];
        std::free(l);
        SetOne(last.slot, last.node);
      } else if (l->count * 2 <= l->capacity) {
        SetList(List::Resize(l, l->count));
      }
      return true;
    }
    case kBits: {
      Bits* const b = bits();
      if (!b->Has(slot)) return false;
      b->Erase(slot);
      if (b->count < ThreeQuarters(std::max(kMinBitsHolders, b->words))) {
        BitsToList();
      } else if (b->count * 2 <= b->capacity) {
        SetBits(Bits::Resize(b, b->words, b->count));
      }
      return true;
    }
    default:
      return false;
  }
}

void Holders::Clear() {
  if (Form() == kList) std::free(list());
  if (Form() == kBits) std::free(bits());
  word_ = 0;
}

uint64_t Holders::HeapBytes() const {
  if (Form() == kList) return List::Bytes(list()->capacity);
  if (Form() == kBits) return Bits::Bytes(bits()->words, bits()->capacity);
  return 0;
}

std::span<const uint64_t> Holders::Bitmap(std::span<uint64_t> words) const {
  if (Form() == kBits) {
    return {bits()->bitmap(), std::min<size_t>(bits()->words, words.size())};
  }
  std::fill(words.begin(), words.end(), 0);
  const auto set = [&](uint32_t slot) {
    if (slot / 64 < words.size()) words[slot / 64] |= uint64_t{1} << (slot % 64);
  };
  if (Form() == kOne) set(OnlySlot());
  if (Form() == kList) {
    for (const List::Item* i = list()->items(); i != list()->end(); ++i) set(i->slot);
  }
  return words;
}

}  // namespace epp::prefix_index
