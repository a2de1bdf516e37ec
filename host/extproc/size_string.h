// Sizes as the command line writes them.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace epp::extproc {

// Reads a size in bytes: surrounding blanks and one trailing "B" or "b" are dropped, the rest is a
// Kubernetes quantity: a decimal number with an optional suffix (Ki Mi Gi Ti Pi Ei, k M G T P E,
// m u n, or an exponent e3). "10MiB" is 10485760, "20MB" 20000000, "0.5Ki" 512; "" is 0.
//
// Errors: InvalidArgument for a negative, unreadable, fractional or too large size (more than
// 2^63 - 1).
absl::StatusOr<uint64_t> ParseSizeString(std::string_view text);

}  // namespace epp::extproc
