#include "host/validate/heap_probe.h"

#include <execinfo.h>
#include <malloc.h>

#include <atomic>
#include <cerrno>
#include <utility>

namespace epp::validate {

#if defined(EPP_COUNT_HEAP)

namespace {
thread_local AllocationCount* counting = nullptr;
std::atomic<bool> watching{false};
std::atomic<int64_t> live_blocks{0};
std::atomic<int64_t> live_bytes{0};
}  // namespace

bool HeapIsCounted() { return true; }

void AllocationCount::Start() {
  void* frame = nullptr;
  backtrace(&frame, 1);  // allocates when it is called for the first time
  counting = this;
}
void AllocationCount::Stop() { counting = nullptr; }

NotCounted::NotCounted() : former_(std::exchange(counting, nullptr)) {}
NotCounted::~NotCounted() { counting = former_; }

void Allocated() {
  AllocationCount* const count = std::exchange(counting, nullptr);
  if (count == nullptr) return;
  if (count->count_++ == 0) {
    count->frame_count_ = static_cast<size_t>(
        backtrace(count->frames_.data(), static_cast<int>(AllocationCount::kMaxFrames)));
  }
  counting = count;
}

void* Noted(void* block) {
  if (block != nullptr && watching.load(std::memory_order_relaxed)) {
    live_blocks.fetch_add(1, std::memory_order_relaxed);
    live_bytes.fetch_add(static_cast<int64_t>(malloc_usable_size(block)),
                         std::memory_order_relaxed);
  }
  return block;
}
void Freed(void* block) {
  if (block == nullptr || !watching.load(std::memory_order_relaxed)) return;
  live_blocks.fetch_sub(1, std::memory_order_relaxed);
  live_bytes.fetch_sub(static_cast<int64_t>(malloc_usable_size(block)), std::memory_order_relaxed);
}

void WatchHeap() {
  live_blocks = 0;
  live_bytes = 0;
  watching = true;
}
HeapUse HeapSinceWatch() { return {live_blocks.load(), live_bytes.load()}; }

#else

bool HeapIsCounted() { return false; }
void AllocationCount::Start() {}
void AllocationCount::Stop() {}
NotCounted::NotCounted() : former_(nullptr) {}
NotCounted::~NotCounted() = default;
void WatchHeap() {}
HeapUse HeapSinceWatch() { return {}; }

#endif

}  // namespace epp::validate

#if defined(EPP_COUNT_HEAP)

extern "C" {
// The allocator itself, as glibc offers it to those who wrap it.
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* block, size_t size);
void* __libc_memalign(size_t align, size_t size);
void __libc_free(void* block);

void* malloc(size_t size) {
  epp::validate::Allocated();
  return epp::validate::Noted(__libc_malloc(size));
}
void* calloc(size_t count, size_t size) {
  epp::validate::Allocated();
  return epp::validate::Noted(__libc_calloc(count, size));
}
void* realloc(void* block, size_t size) {
  epp::validate::Allocated();
  epp::validate::Freed(block);
  return epp::validate::Noted(__libc_realloc(block, size));
}
void* memalign(size_t align, size_t size) {
  epp::validate::Allocated();
  return epp::validate::Noted(__libc_memalign(align, size));
}
void* aligned_alloc(size_t align, size_t size) { return memalign(align, size); }
int posix_memalign(void** out, size_t align, size_t size) {
  void* const block = memalign(align, size);
  if (block == nullptr) return ENOMEM;
  *out = block;
  return 0;
}
void free(void* block) {
  epp::validate::Freed(block);
  __libc_free(block);
}
}

#endif
