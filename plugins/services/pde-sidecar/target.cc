#include "target.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <system_error>

namespace sidecar {
namespace {

// The bytes of an address, 4 or 16; empty for a name. An IPv4 address in IPv6 form becomes IPv4.
std::string AddressBytes(const std::string& host) {
  std::string bytes(16, '\0');
  if (inet_pton(AF_INET, host.c_str(), bytes.data()) == 1) return bytes.substr(0, 4);
  if (inet_pton(AF_INET6, host.c_str(), bytes.data()) != 1) return "";
  static constexpr std::string_view kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  return bytes.starts_with(kMapped) ? bytes.substr(12) : bytes;
}

// One spelling an address.
std::string Canonical(const std::string& host) {
  const std::string bytes = AddressBytes(host);
  if (bytes.empty()) return host;
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text.data(), text.size());
  return text.data();
}

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint32_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, port);
  if (text.empty() || error != std::errc() || at != end || port == 0 || port > 65535) {
    return std::nullopt;
  }
  return static_cast<uint16_t>(port);
}

bool IsName(std::string_view host) {
  return !host.empty() && host.size() <= 253 && std::ranges::all_of(host, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
  });
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return out;
}

// Splits "host:port"; port is empty when there is none. False for unbalanced brackets.
bool Split(std::string_view text, std::string* host, std::string_view* port) {
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == text.npos) return false;
    *host = Lower(text.substr(1, close - 1));
    text.remove_prefix(close + 1);
    if (!text.empty() && !text.starts_with(':')) return false;
    *port = text.empty() ? text : text.substr(1);
    return AddressBytes(*host).size() != 0;
  }
  const size_t colon = text.find(':');
  if (colon != text.npos && text.find(':', colon + 1) != text.npos) {
    *host = Lower(text);  // a bare IPv6 address
    *port = {};
    return AddressBytes(*host).size() == 16;
  }
  *host = Lower(text.substr(0, colon));
  *port = colon == text.npos ? std::string_view() : text.substr(colon + 1);
  return colon == text.npos || !port->empty();
}

bool InNetwork(const std::string& address, const std::string& network, int bits) {
  if (address.size() != network.size()) return false;
  for (size_t i = 0; i < address.size() && bits > 0; ++i, bits -= 8) {
    const int mask = bits >= 8 ? 0xff : 0xff << (8 - bits) & 0xff;
    if ((address[i] ^ network[i]) & mask) return false;
  }
  return true;
}

}  // namespace

std::string Target::url_host() const {
  return host.find(':') == host.npos ? host : "[" + host + "]";
}
std::string Target::text() const { return url_host() + ":" + std::to_string(port); }

std::optional<Target> ParseTarget(std::string_view text, uint16_t default_port) {
  Target out;
  if (text.starts_with("http://")) {
    text.remove_prefix(7);
  } else if (text.starts_with("https://")) {
    text.remove_prefix(8);
    out.https = true;
  }
  if (text.ends_with('/')) text.remove_suffix(1);
  std::string_view port;
  if (!Split(text, &out.host, &port)) return std::nullopt;
  if (AddressBytes(out.host).empty() && !IsName(out.host)) return std::nullopt;
  out.host = Canonical(out.host);
  if (port.empty() && default_port != 0) {
    out.port = default_port;
    return out;
  }
  const std::optional<uint16_t> number = ParsePort(port);
  if (!number) return std::nullopt;
  out.port = *number;
  return out;
}

bool AllowList::Add(std::string_view text, std::string* bad) {
  *bad = text;
  Rule rule;
  std::string_view rest = text;
  if (const size_t slash = text.find('/'); slash != text.npos) {
    const size_t colon = text.find(':', slash);
    const std::string_view bits =
        text.substr(slash + 1, colon == text.npos ? colon : colon - slash - 1);
    std::string_view address = text.substr(0, slash);
    if (address.starts_with('[')) {
      if (!address.ends_with(']')) return false;
      address = address.substr(1, address.size() - 2);
    }
    rule.network = AddressBytes(std::string(address));
    const char* const end = bits.data() + bits.size();
    const auto [at, error] = std::from_chars(bits.data(), end, rule.bits);
    if (rule.network.empty() || bits.empty() || error != std::errc() || at != end ||
        rule.bits < 0 || rule.bits > static_cast<int>(rule.network.size()) * 8) {
      return false;
    }
    rest = colon == text.npos ? "*" : text.substr(colon);
    if (rest.starts_with(':')) {
      if (rest == ":*") {
        rest = "*";
      } else {
        const auto port = ParsePort(rest.substr(1));
        if (!port) return false;
        rule.port = port;
      }
    }
    rules_.push_back(std::move(rule));
    return true;
  }
  std::string_view port;
  if (text == "*" || text.starts_with("*:")) {
    rule.host = "*";
    port = text.size() > 2 ? text.substr(2) : "";
    if (text.ends_with(':')) return false;
  } else {
    if (!Split(text, &rule.host, &port)) return false;
    if (AddressBytes(rule.host).empty() && !IsName(rule.host)) return false;
    rule.host = Canonical(rule.host);
  }
  if (!port.empty() && port != "*") {
    rule.port = ParsePort(port);
    if (!rule.port) return false;
  }
  rules_.push_back(std::move(rule));
  return true;
}

bool AllowList::Allows(const Target& target) const {
  if (rules_.empty()) return true;
  const std::string address = AddressBytes(target.host);
  return std::ranges::any_of(rules_, [&](const Rule& rule) {
    if (rule.port && *rule.port != target.port) return false;
    if (!rule.network.empty()) return InNetwork(address, rule.network, rule.bits);
    return rule.host == "*" || rule.host == target.host;
  });
}

}  // namespace sidecar
