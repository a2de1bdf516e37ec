// Bit sets over borrowed words: bit i lives in word i / 64, least significant first.
//
// Bits at and above the logical size must stay 0; SetAll and Clear keep it so, and the counting
// and iterating functions rely on it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace epp::bitmap {

constexpr size_t WordsFor(size_t bits) { return bits / 64 + (bits % 64 != 0); }

// Precondition of all single-bit functions: i < 64 * words.size().
inline bool Test(std::span<const uint64_t> words, size_t i) {
  return (words[i / 64] >> (i % 64)) & 1;
}
inline void Set(std::span<uint64_t> words, size_t i) { words[i / 64] |= uint64_t{1} << (i % 64); }
inline void Unset(std::span<uint64_t> words, size_t i) {
  words[i / 64] &= ~(uint64_t{1} << (i % 64));
}

inline void Clear(std::span<uint64_t> words) {
  for (uint64_t& word : words) word = 0;
}

// Clears what lies at or above `bits`.
inline void Trim(std::span<uint64_t> words, size_t bits) {
  for (size_t w = bits / 64; w < words.size(); ++w) {
    words[w] &= w == bits / 64 ? (uint64_t{1} << (bits % 64)) - 1 : 0;
  }
}

// Sets the first `bits` bits, clears the rest.
inline void SetAll(std::span<uint64_t> words, size_t bits) {
  for (uint64_t& word : words) word = ~uint64_t{0};
  Trim(words, bits);
}

inline size_t Count(std::span<const uint64_t> words) {
  size_t n = 0;
  for (uint64_t word : words) n += static_cast<size_t>(std::popcount(word));
  return n;
}

inline bool None(std::span<const uint64_t> words) {
  uint64_t any = 0;
  for (uint64_t word : words) any |= word;
  return any == 0;
}

// into &= other, over the shorter of the two; the rest of `into` becomes 0.
inline void And(std::span<uint64_t> into, std::span<const uint64_t> other) {
  for (size_t w = 0; w < into.size(); ++w) into[w] &= w < other.size() ? other[w] : 0;
}
// into |= other; both have the same size.
inline void Or(std::span<uint64_t> into, std::span<const uint64_t> other) {
  for (size_t w = 0; w < into.size() && w < other.size(); ++w) into[w] |= other[w];
}

// Calls fn(i) for every set bit in rising order.
template <typename Fn>
void ForEach(std::span<const uint64_t> words, Fn&& fn) {
  for (size_t w = 0; w < words.size(); ++w) {
    for (uint64_t rest = words[w]; rest != 0; rest &= rest - 1) {
      fn(w * 64 + static_cast<size_t>(std::countr_zero(rest)));
    }
  }
}

// Position of the first set bit at or after `from`, or `none`.
inline size_t Next(std::span<const uint64_t> words, size_t from, size_t none = SIZE_MAX) {
  for (size_t w = from / 64; w < words.size(); ++w) {
    uint64_t rest = words[w];
    if (w == from / 64) rest &= ~uint64_t{0} << (from % 64);
    if (rest != 0) return w * 64 + static_cast<size_t>(std::countr_zero(rest));
  }
  return none;
}

}  // namespace epp::bitmap
