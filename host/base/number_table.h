// Objects under numbers that strangers hand back.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace epp {

// Gives objects the numbers 1, 2, ... and finds them again. A number that was never given finds
// nothing. Objects stay where they are for as long as the table.
template <class T>
class NumberTable {
 public:
  static constexpr size_t kMost = 1024 * 1024;

  // The new object's number, or 0 when the table is full. One thread at a time.
  uint64_t Append(T value) {
    const uint64_t at = size_.load(std::memory_order_relaxed);
    if (at == kMost) return 0;
    std::unique_ptr<T[]>& block = blocks_[at / kBlock];
    if (block == nullptr) block = std::make_unique<T[]>(kBlock);
    block[at % kBlock] = std::move(value);
    size_.store(at + 1, std::memory_order_release);
    return at + 1;
  }
  // Any thread, without a lock.
  const T* Find(uint64_t number) const {
    if (number - 1 >= size_.load(std::memory_order_acquire)) return nullptr;  // 0 is far beyond
    return &blocks_[(number - 1) / kBlock][(number - 1) % kBlock];
  }

 private:
  static constexpr size_t kBlock = 1024;

  std::atomic<uint64_t> size_{0};
  std::array<std::unique_ptr<T[]>, kMost / kBlock> blocks_;
};

}  // namespace epp
