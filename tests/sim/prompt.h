// Text as the simulated engine sees it: every token is four bytes.
//
// A prompt given as token ids becomes four bytes per id, so that text and ids share one path.
// Hashes are chained: each names its block and everything before it, as the engine wants them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace epp::sim {

inline constexpr uint32_t kBytesPerToken = 4;

// Tokens of `text`, the last one possibly short.
[[nodiscard]] uint32_t CountTokens(std::string_view text);

// Four bytes, least significant first, per token id.
[[nodiscard]] std::string BytesOfTokens(std::span<const uint32_t> tokens);

// Chained hashes of the full blocks of `text`. `salt` separates caches that must not share (an
// adapter, a cache salt).
[[nodiscard]] std::vector<uint64_t> BlockHashes(std::string_view text, uint32_t block_tokens,
                                                uint64_t salt);

// Block hashes of an engine from a trace's: `hash_ids[i]` names the prefix that ends with the
// trace's block i (Mooncake: 512 tokens), and a block of the engine is named by the trace block
// that it ends in and the place where it ends. Neither size has to divide the other. Only full
// engine blocks within the prompt get a hash.
[[nodiscard]] std::vector<uint64_t> ExpandTraceBlocks(std::span<const uint64_t> hash_ids,
                                                      uint32_t trace_block_tokens,
                                                      uint32_t engine_block_tokens,
                                                      uint32_t prompt_tokens);

// A number for `text`, for seeds and salts.
[[nodiscard]] uint64_t HashText(std::string_view text);

// `count` tokens of readable output starting at token `first`, four bytes each; the same seed gives
// the same endless text.
[[nodiscard]] std::string OutputText(uint64_t seed, uint32_t first, uint32_t count);

}  // namespace epp::sim
