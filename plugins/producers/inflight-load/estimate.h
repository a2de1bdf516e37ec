// How many tokens a request costs an endpoint.
//
//   uncached = max(0, (total - match) * block size) + max(0, input - total * block size)
//              or input, when nothing is known about the prefix
//   output   = round(input * ratio), at most the client's and the operator's limit
//
// Shapes:  counts of tokens and blocks, >= 0; others count as 0. Results saturate.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

namespace epp::inflight {

// No prompt comes near it, and a thousand of them still fit 63 bits.
inline constexpr int64_t kMaxTokens = int64_t{1} << 50;

struct PrefixMatch {
  int64_t match_blocks;
  int64_t total_blocks;
  int64_t block_tokens;
};

inline int64_t TokensOf(int64_t blocks, int64_t block_tokens) {
  blocks = std::max<int64_t>(blocks, 0);
  block_tokens = std::max<int64_t>(block_tokens, 0);
  const double tokens = static_cast<double>(blocks) * static_cast<double>(block_tokens);
  return tokens < static_cast<double>(kMaxTokens) ? blocks * block_tokens : kMaxTokens;
}

inline int64_t UncachedTokens(int64_t input, const std::optional<PrefixMatch>& prefix) {
  input = std::clamp<int64_t>(input, 0, kMaxTokens);
  if (!prefix) return input;
  const int64_t total = std::clamp<int64_t>(prefix->total_blocks, 0, kMaxTokens);
  const int64_t match = std::clamp<int64_t>(prefix->match_blocks, 0, total);
  return TokensOf(total - match, prefix->block_tokens) +
         std::max<int64_t>(0, input - TokensOf(total, prefix->block_tokens));
}

struct OutputRule {
  double ratio;             // >= 0
  int64_t max_tokens = -1;  // the operator's limit; negative: none
};

// client_max is the request's own limit; negative: none.
inline int64_t OutputTokens(int64_t input, int64_t client_max, const OutputRule& rule) {
  if (input <= 0) return 0;
  const double wanted = std::round(static_cast<double>(input) * rule.ratio);
  int64_t tokens =
      wanted < static_cast<double>(kMaxTokens) ? static_cast<int64_t>(wanted) : kMaxTokens;
  if (client_max >= 0) tokens = std::min(tokens, client_max);
  if (rule.max_tokens >= 0) tokens = std::min(tokens, rule.max_tokens);
  return tokens;
}

}  // namespace epp::inflight
