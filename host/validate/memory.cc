#include "host/validate/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <new>

namespace epp::validate {
namespace {

// Every block that has untouchable memory beside it. Read by the signal handler without the lock.
struct Watched {
  std::atomic<uintptr_t> begin{0};  // of the mapping; 0: the slot is free
  uintptr_t end = 0;
  uintptr_t block = 0;
  size_t item_bytes = 0;
  size_t count = 0;
  const char* what = nullptr;
};
constexpr size_t kSlots = 8192;
std::array<Watched, kSlots> watched;
std::atomic<size_t> used_slots{0};
std::mutex mutex;

void Watch(uintptr_t begin, uintptr_t end, uintptr_t block, size_t item_bytes, size_t count,
           const char* what) {
  const std::lock_guard lock(mutex);
  for (size_t i = 0; i < kSlots; ++i) {
    Watched& w = watched[i];
    if (w.begin.load(std::memory_order_relaxed) != 0) continue;
    w.end = end;
    w.block = block;
    w.item_bytes = item_bytes;
    w.count = count;
    w.what = what;
    w.begin.store(begin, std::memory_order_release);
    if (used_slots.load(std::memory_order_relaxed) <= i) used_slots = i + 1;
    return;
  }
}

void Forget(uintptr_t begin) {
  const std::lock_guard lock(mutex);
  const size_t n = used_slots;
  for (size_t i = 0; i < n; ++i) {
    if (watched[i].begin.load(std::memory_order_relaxed) == begin) watched[i].begin = 0;
  }
}

size_t PageBytes() {
  static const auto bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

void* Memory::Place(const char* what, size_t item_bytes, size_t count, size_t align, Edge edge) {
  const size_t bytes = item_bytes * count;
  if (edge == Edge::kNone) {
    void* p = ::operator new(std::max<size_t>(bytes, 1), std::align_val_t(align));
    std::memset(p, 0, std::max<size_t>(bytes, 1));
    blocks_.push_back({p, 0, align});
    return p;
  }
  const size_t page = PageBytes();
  const size_t usable = std::max(page, (bytes + page - 1) / page * page);
  const size_t mapped = usable + 2 * page;
  void* const map = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  char* const start = static_cast<char*>(map) + page;
  mprotect(start, usable, PROT_READ | PROT_WRITE);
  size_t offset = 0;
  if (edge == Edge::kBehind) offset = (usable - bytes) / align * align;
  blocks_.push_back({map, mapped, align});
  char* const block = start + offset;
  Watch(reinterpret_cast<uintptr_t>(map), reinterpret_cast<uintptr_t>(map) + mapped,
        reinterpret_cast<uintptr_t>(block), item_bytes, count, what);
  return block;
}

Memory::~Memory() {
  for (const Block& block : blocks_) {
    if (block.mapped_bytes == 0) {
      ::operator delete(block.start, std::align_val_t(block.align));
    } else {
      Forget(reinterpret_cast<uintptr_t>(block.start));
      munmap(block.start, block.mapped_bytes);
    }
  }
}

const char* Memory::Overwritten() const {
  for (const Tail& tail : structs_) {
    const auto* const from = static_cast<const unsigned char*>(tail.start) + tail.known_bytes;
    if (!std::all_of(from, from + layout_.newer_bytes,
                     [](unsigned char c) { return c == kPattern; })) {
      return tail.what;
    }
  }
  return nullptr;
}

bool ExplainFault(const void* address, bool write, char* text, size_t room) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  const size_t n = used_slots.load(std::memory_order_relaxed);
  for (size_t i = 0; i < n; ++i) {
    const Watched& w = watched[i];
    const uintptr_t begin = w.begin.load(std::memory_order_acquire);
    if (begin == 0 || at < begin || at >= w.end) continue;
    const char* const verb = write ? "wrote" : "read";
    const auto past = static_cast<long long>(at) - static_cast<long long>(w.block);
    const auto items = w.item_bytes == 0 ? past : past / static_cast<long long>(w.item_bytes);
    if (w.item_bytes == 1) {
      std::snprintf(text, room, "%s byte %lld of %s, which has %zu bytes", verb, past, w.what,
                    w.count);
    } else if (past < 0) {
      std::snprintf(text, room, "%s %lld bytes before %s", verb, -past, w.what);
    } else if (items == static_cast<long long>(w.count)) {
      std::snprintf(text, room, "%s %s[%lld], one past the end", verb, w.what, items);
    } else {
      std::snprintf(text, room, "%s %s[%lld], which has %zu items", verb, w.what, items, w.count);
    }
    return true;
  }
  return false;
}

}  // namespace epp::validate
