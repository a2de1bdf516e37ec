// Memory whose ends can be watched: what a plugin gets and what it writes to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace epp::validate {

// Where memory that cannot be touched begins: nowhere near, right behind the block, right before.
enum class Edge : uint8_t { kNone, kBehind, kBefore };

struct Layout {
  Edge arrays = Edge::kNone;
  Edge structs = Edge::kNone;
  // Bytes that a newer host would have appended to every struct, filled with a pattern.
  uint32_t newer_bytes = 0;
};

// Blocks of one call or one request. They live as long as this object.
class Memory {
 public:
  explicit Memory(const Layout& layout) : layout_(layout) {}
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // `count` zeroed items. `what` names the array in messages and must outlive this object.
  template <class T>
  T* Array(const char* what, size_t count) {
    return static_cast<T*>(Bytes(what, sizeof(T), count, alignof(T)));
  }
  void* Bytes(const char* what, size_t item_bytes, size_t count, size_t align) {
    return Place(what, item_bytes, count, align, layout_.arrays);
  }
  // A zeroed struct of the ABI with its struct_size.
  template <class T>
  T* Struct(const char* what) {
    void* p = Place(what, 1, sizeof(T) + layout_.newer_bytes, alignof(T), layout_.structs);
    std::memset(static_cast<char*>(p) + sizeof(T), kPattern, layout_.newer_bytes);
    const auto size = static_cast<uint32_t>(sizeof(T) + layout_.newer_bytes);
    std::memcpy(p, &size, sizeof(size));
    if (layout_.newer_bytes != 0) structs_.push_back({what, p, sizeof(T)});
    return static_cast<T*>(p);
  }
  // The name of a struct of which more was written than is known, or null.
  const char* Overwritten() const;

 private:
  struct Block {
    void* start;
    size_t mapped_bytes;  // 0: from the heap
    size_t align;
  };
  struct Tail {
    const char* what;
    const void* start;
    size_t known_bytes;
  };
  static constexpr int kPattern = 0xa5;

  void* Place(const char* what, size_t item_bytes, size_t count, size_t align, Edge edge);

  const Layout layout_;
  std::vector<Block> blocks_;
  std::vector<Tail> structs_;
};

// What an address in the untouchable memory around a block means: "wrote out[65], one past the
// end". False when it lies in none. Safe in a signal handler.
bool ExplainFault(const void* address, bool write, char* text, size_t room);

}  // namespace epp::validate
