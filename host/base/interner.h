// Strings as small numbers: equal strings have equal numbers, for the life of the process.
//
// Meant for strings of the operator and the pool (labels, adapter names), which are few; a client's
// strings are only looked up. Threads: any. Find and Text take no lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace epp {

class Interner {
 public:
  Interner();
  ~Interner();
  Interner(const Interner&) = delete;
  Interner& operator=(const Interner&) = delete;

  // The number of `text`, at least 1. 0 when kMaxSymbols strings are known already.
  uint32_t Intern(std::string_view text);
  // 0 when it was never interned.
  uint32_t Find(std::string_view text) const;
  // Lives as long as the interner; "" for 0 or an unknown number.
  std::string_view Text(uint32_t symbol) const;

  static constexpr uint32_t kMaxSymbols = 1u << 20;

 private:
  struct Table;
  static constexpr uint32_t kChunk = 1024;

  std::mutex mutex_;                            // writers
  std::atomic<const Table*> table_;             // open addressing, replaced when full
  std::vector<std::unique_ptr<Table>> tables_;  // all ever published: readers may hold an old one
  std::unique_ptr<std::atomic<const std::string*>[]> chunks_;
  std::vector<std::unique_ptr<std::string[]>> owned_chunks_;
  std::atomic<uint32_t> count_{0};
};

}  // namespace epp
