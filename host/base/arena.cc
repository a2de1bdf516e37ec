#include "host/base/arena.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace epp {
namespace {

constexpr size_t kMaxAlign = 4096;

void* SystemAlloc(size_t bytes) noexcept {
  void* p = std::malloc(bytes);
  if (p == nullptr) {
    std::fprintf(stderr, "out of memory: arena block of %zu bytes\n", bytes);
    std::abort();
  }
  return p;
}

void Poison([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) noexcept {
#ifdef EPP_ARENA_ASAN
  __asan_poison_memory_region(p, bytes);
#endif
}

void SystemFree(void* p, [[maybe_unused]] size_t bytes) noexcept {
#ifdef EPP_ARENA_ASAN
  __asan_unpoison_memory_region(p, bytes);
#endif
  std::free(p);
}

}  // namespace

BlockCache::BlockCache(size_t block_bytes, size_t max_spare_blocks)
    : block_bytes_(std::max<size_t>(block_bytes, 256)), max_spare_blocks_(max_spare_blocks) {}

BlockCache::~BlockCache() {
  while (spare_ != nullptr) {
    Block* next = spare_->next;
    SystemFree(spare_, spare_->bytes);
    spare_ = next;
  }
}

BlockCache::Block* BlockCache::Take() {
  if (spare_ != nullptr) {
    Block* block = spare_;
    spare_ = block->next;
    --spare_blocks_;
    return block;
  }
  auto* block = static_cast<Block*>(SystemAlloc(block_bytes_));
  block->bytes = block_bytes_;
  Poison(block + 1, block_bytes_ - sizeof(Block));
  return block;
}

void BlockCache::Give(Block* block) {
  if (spare_blocks_ >= max_spare_blocks_) {
    SystemFree(block, block->bytes);
    return;
  }
  Poison(block + 1, block->bytes - sizeof(Block));
  block->next = spare_;
  spare_ = block;
  ++spare_blocks_;
}

void* Arena::AllocSlow(size_t size, size_t align) noexcept {
  if (align == 0 || align > kMaxAlign || (align & (align - 1)) != 0) return nullptr;
  const size_t block_bytes = cache_->block_bytes();
  const size_t room = block_bytes - sizeof(BlockCache::Block);
  if (size > room / 2 || align > room / 4) {
    const size_t overhead = sizeof(BlockCache::Block) + align;
    if (size > cap_bytes_ || overhead > cap_bytes_ - size ||
        reserved_bytes_ > cap_bytes_ - size - overhead) {
      return nullptr;
    }
    auto* block = static_cast<BlockCache::Block*>(SystemAlloc(size + overhead));
    block->bytes = size + overhead;
    block->next = large_;
    large_ = block;
    reserved_bytes_ += block->bytes;
    used_bytes_ += size;
    const auto first = reinterpret_cast<uintptr_t>(block + 1);
    const uintptr_t start = (first + (align - 1)) & ~uintptr_t{align - 1};
    Poison(block + 1, size + align);
    Unpoison(start, size);
    return reinterpret_cast<void*>(start);
  }
  if (reserved_bytes_ + block_bytes > cap_bytes_) return nullptr;
  BlockCache::Block* block = cache_->Take();
  block->next = blocks_;
  blocks_ = block;
  reserved_bytes_ += block_bytes;
  cursor_ = reinterpret_cast<uintptr_t>(block + 1);
  limit_ = reinterpret_cast<uintptr_t>(block) + block_bytes;
  return Alloc(size, align);
}

void Arena::FreeLarge() noexcept {
  while (large_ != nullptr) {
    BlockCache::Block* next = large_->next;
    reserved_bytes_ -= large_->bytes;
    SystemFree(large_, large_->bytes);
    large_ = next;
  }
}

void Arena::Reset() noexcept {
  FreeLarge();
  used_bytes_ = 0;
  if (blocks_ == nullptr) return;
  while (blocks_->next != nullptr) {
    BlockCache::Block* next = blocks_->next;
    reserved_bytes_ -= blocks_->bytes;
    cache_->Give(blocks_);
    blocks_ = next;
  }
  Poison(blocks_ + 1, blocks_->bytes - sizeof(BlockCache::Block));
  cursor_ = reinterpret_cast<uintptr_t>(blocks_ + 1);
  limit_ = reinterpret_cast<uintptr_t>(blocks_) + blocks_->bytes;
}

void Arena::Release() noexcept {
  Reset();
  if (blocks_ == nullptr) return;
  reserved_bytes_ -= blocks_->bytes;
  cache_->Give(blocks_);
  blocks_ = nullptr;
  cursor_ = limit_ = 0;
}

}  // namespace epp
