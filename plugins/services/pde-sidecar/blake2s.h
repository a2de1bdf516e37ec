// BLAKE2s with 32 bytes of digest and no key (RFC 7693).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace sidecar {

std::array<uint8_t, 32> Blake2s(std::string_view text);

}  // namespace sidecar
