// Addresses of other workers, as headers name them, and which of them may be contacted.
//
// Threads: immutable once made.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sidecar {

class TlsContext;

// A host and a port. IPv6 hosts have no brackets here.
struct Target {
  std::string host;
  uint16_t port = 0;
  bool https = false;         // was written so
  TlsContext* tls = nullptr;  // what it is spoken to with; null: in the clear

  // "host:port", IPv6 in brackets and in canonical form; for URLs, keys and comparisons.
  std::string text() const;
  // The host as URLs write it.
  std::string url_host() const;
  bool SameAs(const Target& other) const { return host == other.host && port == other.port; }
};

// "host:port", with an optional "http://" or "https://" before it and "/" behind. Names become
// lower case. Nothing when the host is empty, holds other characters than names and addresses do,
// or the port is no number from 1 to 65535 (`default_port` when it is missing; 0: it must be
// there).
std::optional<Target> ParseTarget(std::string_view text, uint16_t default_port = 0);

// Says which targets are allowed: "host:port", "host" or "host:*" (any port), "10.0.0.0/8:8000"
// (a network), "*:8000", "*". Names are compared as names; nothing is resolved.
class AllowList {
 public:
  // Without rules everything is allowed. False when a rule is malformed; *bad is it.
  bool Add(std::string_view rule, std::string* bad);
  bool Allows(const Target& target) const;
  bool empty() const { return rules_.empty(); }

 private:
  struct Rule {
    std::string host;              // "*" for any
    std::optional<uint16_t> port;  // nothing for any
    std::string network;           // address bytes of a network, empty when it is none
    int bits = 0;
  };
  std::vector<Rule> rules_;
};

}  // namespace sidecar
