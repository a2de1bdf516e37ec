// Host names to addresses, off the caller's thread.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace epp::http {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  bool operator==(const Address& other) const;
};

// The address of a literal, with an optional IPv6 zone; nothing for a name.
std::optional<Address> ParseAddress(const std::string& host, uint16_t port);

// Asks the system's resolver on up to two threads, started when needed. Look-ups cannot be
// interrupted, so the threads outlive this object until theirs return; no callback runs after the
// destructor began.
class Resolver {
 public:
  // An empty list means failure. Called on a resolver thread; must not block.
  using Callback = std::function<void(std::vector<Address>)>;

  Resolver();
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  void Resolve(const std::string& host, uint16_t port, Callback done);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace epp::http
