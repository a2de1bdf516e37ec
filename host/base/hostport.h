// "host:port" in both directions, with IPv6 addresses in brackets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace epp {

struct HostPort {
  std::string host;  // without brackets; may carry a zone ("fe80::1%eth0")
  uint16_t port = 0;
  bool operator==(const HostPort&) const = default;
};

// "10.0.0.1:80", "name:80", "[::1]:80", ":80" (empty host: all addresses).
// Errors: InvalidArgument without a port, with one outside 0..65535, with an unbracketed IPv6
// address, or with characters that no host has.
absl::StatusOr<HostPort> SplitHostPort(std::string_view text);

// The inverse; adds brackets when the host contains a colon.
std::string JoinHostPort(std::string_view host, uint16_t port);

// True for an IPv4 or IPv6 literal (no brackets), which needs no resolver.
bool IsIpLiteral(std::string_view host);

}  // namespace epp
