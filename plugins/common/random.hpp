// Randomness for one call of a plugin, and what is built on it.
//
// Fast is a SplitMix64 stream; seed it from epp::Host::random_u64 once per call, so that a thousand
// draws cost one call of the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace epp::common {

class Fast {
 public:
  explicit Fast(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Uniform in [0, n); n is at least 1. The bias is below n / 2^32.
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>((Next() >> 32) * n >> 32); }

  // Uniform in (0, 1).
  double Unit() { return (static_cast<double>(Next() >> 12) + 0.5) * 0x1p-52; }

 private:
  uint64_t state_;
};

// Brings k random elements, in random order, to the front of items; k <= items.size().
inline void ShuffleFront(std::span<uint32_t> items, size_t k, Fast& random) {
  for (size_t i = 0; i < k; ++i) {
    std::swap(items[i], items[i + random.Below(static_cast<uint32_t>(items.size() - i))]);
  }
}

}  // namespace epp::common
