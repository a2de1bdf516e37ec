// Bump allocation for one request: everything is freed at once, nothing one by one.
//
// An Arena draws fixed-size blocks from the BlockCache of its worker and gives them back on Reset,
// so a steady load allocates from the system only while it grows. Requests above half a block get
// a piece of their own, freed on Reset.
//
// Threads: none of this is thread-safe. A BlockCache belongs to one worker thread, and an Arena is
// used by one thread at a time, on the worker whose cache it was built with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace epp {

// Spare blocks of one worker. Must outlive every Arena built on it.
class BlockCache {
 public:
  static constexpr size_t kDefaultBlockBytes = 16 * 1024;

  // Keeps at most `max_spare_blocks` unused blocks of `block_bytes` each.
  explicit BlockCache(size_t block_bytes = kDefaultBlockBytes, size_t max_spare_blocks = 256);
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  size_t block_bytes() const { return block_bytes_; }
  size_t spare_blocks() const { return spare_blocks_; }

 private:
  friend class Arena;
  struct Block {
    Block* next;
    size_t bytes;  // the whole piece, this header included
  };

  Block* Take();
  void Give(Block* block);

  const size_t block_bytes_;
  const size_t max_spare_blocks_;
  size_t spare_blocks_ = 0;
  Block* spare_ = nullptr;
};

class Arena {
 public:
  static constexpr size_t kDefaultCapBytes = size_t{256} << 20;

  // `cap_bytes` bounds the memory held at any time, block overhead included.
  explicit Arena(BlockCache* cache, size_t cap_bytes = kDefaultCapBytes)
      : cache_(cache), cap_bytes_(cap_bytes) {}
  ~Arena() { Release(); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // `size` bytes aligned to `align`, a power of two up to 4096. Size 0 gives a valid, distinct-or-
  // not pointer. Null only when the cap would be exceeded; a system without memory aborts.
  // Lifetime: until Reset. Under ASan everything not handed out is poisoned.
  [[nodiscard]] void* Alloc(size_t size, size_t align = alignof(std::max_align_t)) noexcept {
    const uintptr_t start = (cursor_ + (align - 1)) & ~uintptr_t{align - 1};
    if (start >= cursor_ && start <= limit_ && size <= limit_ - start && cursor_ != 0) {
      cursor_ = start + size;
      Unpoison(start, size);
      used_bytes_ += size;
      return reinterpret_cast<void*>(start);
    }
    return AllocSlow(size, align);
  }

  // `n` default-initialised values of a type without a destructor; empty when n is 0 or the cap is
  // reached (compare the size).
  template <typename T>
  [[nodiscard]] std::span<T> AllocArray(size_t n) noexcept {
    static_assert(std::is_trivially_destructible_v<T>, "the arena runs no destructors");
    if (n > cap_bytes_ / sizeof(T)) return {};
    void* p = Alloc(n * sizeof(T), alignof(T));
    if (p == nullptr || n == 0) return {};
    if constexpr (std::is_trivially_default_constructible_v<T>) {
      return {static_cast<T*>(p), n};
    } else {
      T* first = static_cast<T*>(p);
      for (size_t i = 0; i < n; ++i) new (first + i) T;
      return {first, n};
    }
  }

  // One value, or null at the cap.
  template <typename T, typename... Args>
  [[nodiscard]] T* New(Args&&... args) noexcept {
    static_assert(std::is_trivially_destructible_v<T>, "the arena runs no destructors");
    void* p = Alloc(sizeof(T), alignof(T));
    return p == nullptr ? nullptr : new (p) T{std::forward<Args>(args)...};
  }

  // A copy of `text`; empty when the cap is reached.
  [[nodiscard]] std::string_view Copy(std::string_view text) noexcept {
    if (text.empty()) return {};
    char* p = static_cast<char*>(Alloc(text.size(), 1));
    if (p == nullptr) return {};
    std::memcpy(p, text.data(), text.size());
    return {p, text.size()};
  }

  // Forgets everything handed out; keeps one block for the next request.
  void Reset() noexcept;
  // As Reset, but keeps nothing: for an arena that rests for long.
  void Release() noexcept;

  size_t used_bytes() const { return used_bytes_; }          // handed out since Reset
  size_t reserved_bytes() const { return reserved_bytes_; }  // held from the system

 private:
  void* AllocSlow(size_t size, size_t align) noexcept;
  void FreeLarge() noexcept;
  static void Unpoison(uintptr_t start, size_t size) noexcept;

  BlockCache* const cache_;
  const size_t cap_bytes_;
  uintptr_t cursor_ = 0;  // next free byte of the newest block; 0 while there is none
  uintptr_t limit_ = 0;   // one past its end
  size_t used_bytes_ = 0;
  size_t reserved_bytes_ = 0;
  BlockCache::Block* blocks_ = nullptr;  // newest first
  BlockCache::Block* large_ = nullptr;
};

}  // namespace epp

#if defined(__SANITIZE_ADDRESS__)
#define EPP_ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EPP_ARENA_ASAN 1
#endif
#endif

#ifdef EPP_ARENA_ASAN
#include <sanitizer/asan_interface.h>
inline void epp::Arena::Unpoison(uintptr_t start, size_t size) noexcept {
  __asan_unpoison_memory_region(reinterpret_cast<void*>(start), size);
}
#else
inline void epp::Arena::Unpoison(uintptr_t, size_t) noexcept {}
#endif
