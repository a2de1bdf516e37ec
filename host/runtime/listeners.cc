#include "host/runtime/listeners.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>
#include <utility>

#include "host/base/str_cat.h"

namespace epp::runtime {
namespace {

constexpr int kBacklog = 4096;

// The socket address that "IPv4:port" or "[IPv6]:port" names.
bool Parse(std::string_view text, sockaddr_storage* out, socklen_t* size) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos) return false;
  uint32_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data() + colon + 1, end, port);
  if (error != std::errc() || at != end || port > 65535) return false;
  std::string host(text.substr(0, colon));
  *out = {};
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(out);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    *size = sizeof(sockaddr_in6);
    return inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6->sin6_addr) == 1;
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(out);
  v4->sin_family = AF_INET;
  v4->sin_port = htons(static_cast<uint16_t>(port));
  *size = sizeof(sockaddr_in);
  return inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1;
}

absl::Status Failed(std::string_view what, std::string_view address) {
  return absl::UnavailableError(
      StrCat(what, " ", address, ": ", std::generic_category().message(errno)));
}

absl::StatusOr<UniqueFd> Listen(std::string_view address) {
  sockaddr_storage where;
  socklen_t size;
  if (!Parse(address, &where, &size)) {
    return absl::InvalidArgumentError(
        StrCat("listen address is \"", address, "\", want IPv4:port or [IPv6]:port"));
  }
  UniqueFd fd(::socket(where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!fd || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return Failed("cannot open a socket for", address);
  }
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), size) != 0 ||
      ::listen(fd.get(), kBacklog) != 0) {
    return Failed("cannot listen on", address);
  }
  return fd;
}

}  // namespace

absl::StatusOr<int> Listeners::Borrow(std::string_view address) noexcept {
  std::lock_guard lock(mutex_);
  auto it = shared_.find(address);
  if (it == shared_.end()) {
    absl::StatusOr<UniqueFd> socket = Listen(address);
    if (!socket.ok()) return socket.status();
    it = shared_.emplace(address, Shared{*std::move(socket), 0}).first;
  }
  const int fd = fcntl(it->second.socket.get(), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) {
    const absl::Status failed = Failed("cannot lend", address);
    if (it->second.lent == 0) shared_.erase(it);
    return failed;
  }
  ++it->second.lent;
  lent_.emplace(fd, it->first);
  return fd;
}

void Listeners::GiveBack(int fd) noexcept {
  std::lock_guard lock(mutex_);
  const auto lent = lent_.find(fd);
  if (lent == lent_.end()) return;
  ::close(fd);
  const auto it = shared_.find(lent->second);
  lent_.erase(lent);
  if (--it->second.lent == 0) shared_.erase(it);
}

size_t Listeners::open() const {
  std::lock_guard lock(mutex_);
  return shared_.size();
}

}  // namespace epp::runtime
