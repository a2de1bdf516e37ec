// The two notations that configuration borrows: Go durations and Kubernetes quantities.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace epp {

// "1m30s", "250ms", "1.5h", "-2s", "0": signed decimal numbers with a unit each (ns us µs ms s m
// h), and 0 alone without one.
// Errors: InvalidArgument, naming the text; also beyond +-2^63 ns, as in Go.
absl::StatusOr<absl::Duration> ParseGoDuration(std::string_view text);

// Nanoseconds of the same notation.
absl::StatusOr<int64_t> ParseGoDurationNs(std::string_view text);

// What ParseGoDuration reads back, without zero parts: "1m30s", "1.5s", "250ms", "1h", "0s".
std::string FormatGoDuration(absl::Duration duration);

// "10Gi", "1k", "500", "1.5M", "2e3": a count of bytes or things. Suffixes Ki Mi Gi Ti Pi Ei, k M G
// T P E, or a decimal exponent; `m` and finer (fractions) round up to whole units, as Kubernetes
// does.
// Errors: InvalidArgument for anything else, a negative number, or more than 2^64 - 1.
absl::StatusOr<uint64_t> ParseQuantity(std::string_view text);

}  // namespace epp
