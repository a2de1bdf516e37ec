#include "host/base/hostport.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "absl/strings/str_format.h"
#include "host/base/strings.h"

namespace epp {
namespace {

absl::Status Bad(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrFormat("address \"%s\" %s, want host:port", MiddleEllipsis(text, 64), why));
}

bool HostByte(char c) {
  return c > ' ' && c < 0x7F && c != '/' && c != '@' && c != '?' && c != '#' && c != '[' &&
         c != ']' && c != '\\' && c != '"';
}

}  // namespace

absl::StatusOr<HostPort> SplitHostPort(std::string_view text) {
  std::string_view host, port;
  if (!text.empty() && text[0] == '[') {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return Bad(text, "lacks a closing bracket");
    host = text.substr(1, close - 1);
    std::string_view rest = text.substr(close + 1);
    if (rest.empty() || rest[0] != ':') return Bad(text, "lacks a port");
    port = rest.substr(1);
    if (host.find(':') == std::string_view::npos)
      return Bad(text, "has no IPv6 address in brackets");
  } else {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return Bad(text, "lacks a port");
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (host.find(':') != std::string_view::npos) {
      return Bad(text, "has an IPv6 address without brackets");
    }
  }
  if (host.size() > 255 || !std::all_of(host.begin(), host.end(), HostByte)) {
    return Bad(text, "has an unusable host");
  }
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc{} || end != port.data() + port.size()) {
    return Bad(text, "has a port outside 0..65535");
  }
  return HostPort{std::string(host), number};
}

std::string JoinHostPort(std::string_view host, uint16_t port) {
  if (host.find(':') == std::string_view::npos) return absl::StrFormat("%s:%d", host, port);
  return absl::StrFormat("[%s]:%d", host, port);
}

bool IsIpLiteral(std::string_view host) {
  if (host.size() > 45) return false;
  const std::string text(host);
  in6_addr address;
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

}  // namespace epp
