// SipHash-2-4 (Aumasson and Bernstein, 2012): a short hash that nobody without the key can compute,
// or invert by trying likely texts.
#pragma once

#include <cstdint>
#include <string_view>

namespace epp {

struct SipKey {
  uint64_t k0 = 0;
  uint64_t k1 = 0;
  // From the system's random device.
  static SipKey Random();
};

uint64_t SipHash(std::string_view text, const SipKey& key);

}  // namespace epp
