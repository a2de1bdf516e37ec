#include "hashing.h"

#include <algorithm>
#include <bit>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace epp::approx {

static_assert(std::endian::native == std::endian::little, "hashes are defined on LE bytes");

uint64_t HashRoot(std::string_view model, std::string_view salt) {
  XXH64_state_t state;
  XXH64_reset(&state, 0);
  if (!model.empty()) XXH64_update(&state, model.data(), model.size());
  if (!salt.empty()) XXH64_update(&state, salt.data(), salt.size());
  return XXH64_digest(&state);
}

void HashBlocks(uint64_t root, std::span<const uint32_t> tokens, size_t block_tokens,
                std::span<uint64_t> out) {
  uint64_t pair[2] = {0, root};
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t first = i * block_tokens;
    const size_t count = std::min(block_tokens, tokens.size() - first);
    pair[0] = XXH64(tokens.data() + first, count * sizeof(uint32_t), 0);
    pair[1] = out[i] = XXH64(pair, sizeof(pair), 0);
  }
}

}  // namespace epp::approx
