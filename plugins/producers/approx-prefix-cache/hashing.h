// Block hashes of a prompt.
//
//   h[0] = XXH64(model bytes, salt bytes)                   seed 0; the salt may be empty
//   h[i] = XXH64(LE64(content[i]), LE64(h[i - 1]))          i = 1 ...
//   content[i] = XXH64(token ids of block i, LE32 each)     the last block may be partial
//
// h[i] stands for the whole prefix up to block i, for one model and salt. h[0] is not a block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace epp::approx {

// h[0].
uint64_t HashRoot(std::string_view model, std::string_view salt);

// Blocks of a prompt, the partial one included. block_tokens is at least 1.
constexpr size_t BlockCount(size_t tokens, size_t block_tokens) {
  return tokens / block_tokens + (tokens % block_tokens != 0);
}

// Writes h[1] ... h[out.size()]. out.size() is at most BlockCount(tokens.size(), block_tokens).
void HashBlocks(uint64_t root, std::span<const uint32_t> tokens, size_t block_tokens,
                std::span<uint64_t> out);

}  // namespace epp::approx
