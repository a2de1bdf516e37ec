#include "tests/sim/prompt.h"

#include <xxhash.h>

#include <algorithm>
#include <array>

namespace epp::sim {
namespace {

constexpr std::array<std::string_view, 32> kWords = {
    "the ", "sun ", "has ", "set ", "and ", "all ", "our ", "old ", "men ", "sat ", "off ",
    "now ", "her ", "cat ", "ran ", "out ", "for ", "two ", "new ", "red ", "hat ", "why ",
    "not ", "see ", "how ", "far ", "the ", "big ", "sea ", "can ", "go, ", "eh. "};

}  // namespace

uint32_t CountTokens(std::string_view text) {
  const size_t tokens = (text.size() + kBytesPerToken - 1) / kBytesPerToken;
  return static_cast<uint32_t>(std::min<size_t>(tokens, UINT32_MAX));
}

std::string BytesOfTokens(std::span<const uint32_t> tokens) {
  std::string bytes;
  bytes.reserve(tokens.size() * kBytesPerToken);
  for (const uint32_t token : tokens) {
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(token >> shift));
  }
  return bytes;
}

std::vector<uint64_t> BlockHashes(std::string_view text, uint32_t block_tokens, uint64_t salt) {
  const size_t block_bytes = size_t{std::max(block_tokens, 1u)} * kBytesPerToken;
  std::vector<uint64_t> hashes;
  hashes.reserve(text.size() / block_bytes);
  uint64_t chain = salt;
  for (; text.size() >= block_bytes; text.remove_prefix(block_bytes)) {
    chain = XXH3_64bits_withSeed(text.data(), block_bytes, chain);
    hashes.push_back(chain);
  }
  return hashes;
}

std::vector<uint64_t> ExpandTraceBlocks(std::span<const uint64_t> hash_ids,
                                        uint32_t trace_block_tokens, uint32_t engine_block_tokens,
                                        uint32_t prompt_tokens) {
  const uint64_t engine_block = std::max(engine_block_tokens, 1u);
  const uint64_t trace_block = std::max(trace_block_tokens, 1u);
  std::vector<uint64_t> hashes;
  hashes.reserve(prompt_tokens / engine_block);
  for (uint64_t end = engine_block; end <= prompt_tokens; end += engine_block) {
    const uint64_t block = (end - 1) / trace_block;
    if (block >= hash_ids.size()) break;
    const std::array<uint64_t, 2> name = {hash_ids[block], end - block * trace_block};
    hashes.push_back(XXH3_64bits(name.data(), sizeof(name)));
  }
  return hashes;
}

uint64_t HashText(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

std::string OutputText(uint64_t seed, uint32_t first, uint32_t count) {
  std::string text;
  text.reserve(size_t{count} * kBytesPerToken);
  for (uint32_t i = 0; i < count; ++i) {
    // Any mixing will do; odd factors walk through all words.
    const uint64_t at = seed * 0xD6E8FEB86659FD93u + (uint64_t{first} + i) * 0x9E3779B97F4A7C15u;
    text += kWords[(at >> 32) % kWords.size()];
  }
  return text;
}

}  // namespace epp::sim
