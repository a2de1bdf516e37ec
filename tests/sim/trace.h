// Readers for public request traces. The files themselves are not part of the repository.
//
//   Mooncake  JSON lines {"timestamp": ms, "input_length": tokens, "output_length": tokens,
//             "hash_ids": [n, ...]}; an id names a 512-token block together with its prefix
//   Azure     CSV with the header TIMESTAMP,ContextTokens,GeneratedTokens; the time is
//             "2023-11-16 18:17:03.9799600" with an optional "+00:00"
//
// Both accept CRLF and blank lines, and return requests in order of arrival, the first at 0.
// Errors: InvalidArgument "<name>:<line>: what: got, want" for the first bad line; NotFound or
// Unavailable for a file that cannot be read.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace epp::sim {

inline constexpr uint32_t kMooncakeBlockTokens = 512;

struct TraceRequest {
  std::chrono::nanoseconds arrival{};  // since the first request of the trace
  uint32_t prompt_tokens = 0;
  uint32_t output_tokens = 0;
  std::vector<uint64_t> hash_ids;  // empty when the trace has none (Azure)
};

// `name` is what errors call the text.
[[nodiscard]] absl::StatusOr<std::vector<TraceRequest>> ParseMooncakeTrace(std::string_view text,
                                                                           std::string_view name);
[[nodiscard]] absl::StatusOr<std::vector<TraceRequest>> ParseAzureTrace(std::string_view text,
                                                                        std::string_view name);

// Reads a file of either kind; a first line that begins with '{' is Mooncake's.
[[nodiscard]] absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path);

}  // namespace epp::sim
