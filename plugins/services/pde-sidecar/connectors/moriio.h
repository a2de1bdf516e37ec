// Which data-parallel rank of the other side a request belongs to.
#pragma once

#include <cstdint>
#include <string_view>

#include "../splice.h"

namespace sidecar {

// The same on both sides: the first eight bytes of BLAKE2s-256 of the id, modulo the size.
int64_t MoriRank(std::string_view id, int64_t dp_size);
// The rank that prefill chose, or, when it says none that is valid, MoriRank.
int64_t MoriDecodeRank(const Splice& params, std::string_view id, int64_t dp_size);

}  // namespace sidecar
