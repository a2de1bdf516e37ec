// Addresses behind the host names of the config, looked up now and then: pods move, and the engines
// want numbers.
//
// The names are known from the start. So no request waits for a lookup: each finds the last address
// that was, while one coroutine looks for newer ones.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "io.h"

namespace sidecar {

class Names {
 public:
  // The addresses of a name; none when there are none, or not in time.
  using Lookup = std::function<Task<std::vector<asio::ip::address>>(std::string name)>;
  // What a lookup after the first one told.
  enum class News : uint8_t { kSame, kChanged, kFailed };

  // Of the hosts, only names are looked up.
  explicit Names(const std::vector<std::string>& hosts);

  // The last address of a name, IPv4 rather than IPv6; anything else as it is. Threads: any.
  std::string Of(const std::string& host) const;
  bool empty() const { return addresses_.empty(); }

  // Looks all names up. Empty, or the first that has no address.
  Task<std::string> First(Lookup lookup);
  // Looks all names up each time that `ttl` has passed. An address stays until another is found.
  Task<void> Follow(asio::io_context& io, Milliseconds ttl, Lookup lookup,
                    std::function<void(News)> tell);

  // With the system's resolver.
  static Lookup System(asio::io_context& io, Milliseconds limit);

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> addresses_;  // values guarded by mutex_; keys never change
};

}  // namespace sidecar
