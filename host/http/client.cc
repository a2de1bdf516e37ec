#include "host/http/client.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_format.h"
#include "host/base/clock.h"
#include "host/base/hostport.h"
#include "host/base/unique_fd.h"
#include "host/http/resolver.h"
#include "host/http/response_reader.h"

namespace epp::http {
namespace {

uint64_t After(absl::Duration duration) {
  const int64_t ns = std::max<int64_t>(0, absl::ToInt64Nanoseconds(duration));
  return Clock::Real().mono_ns() + static_cast<uint64_t>(ns);
}

std::string Name(const ClientTarget& target) {
  return target.unix_path.empty() ? JoinHostPort(target.host, target.port)
                                  : "unix:" + target.unix_path;
}

// OpenSSL writes without MSG_NOSIGNAL: block SIGPIPE for the call, and swallow one that came.
class NoSigpipe {
 public:
  NoSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &old_);
  }
  ~NoSigpipe() {
    if (sigismember(&old_, SIGPIPE) == 1) return;
    const timespec now{0, 0};
    sigtimedwait(&pipe_, nullptr, &now);
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
  }

 private:
  sigset_t pipe_;
  sigset_t old_;
};

// One connection, driven by poll.
class Connection {
 public:
  Connection(const ClientTarget& target, int cancel_fd) : target_(target), cancel_fd_(cancel_fd) {}

  absl::Status Open(uint64_t deadline_ns) {
    if (!target_.unix_path.empty()) return OpenUnix(deadline_ns);
    std::vector<Address> addresses = Addresses();
    if (addresses.empty()) {
      return absl::UnavailableError(absl::StrFormat("%s: the name has no address", Name(target_)));
    }
    absl::Status last;
    for (const Address& address : addresses) {
      last =
          Connect(reinterpret_cast<const sockaddr*>(&address.storage), address.length, deadline_ns);
      if (last.ok()) break;
      if (!absl::IsUnavailable(last)) return last;
    }
    if (!last.ok() || target_.tls == nullptr) return last;
    tls_ = TlsStream::Create(target_.tls, fd_.get(),
                             target_.server_name.empty() ? target_.host : target_.server_name);
    if (tls_ == nullptr) return absl::InvalidArgumentError("tls: unusable server name");
    while (true) {
      const Io io = tls_->Handshake();
      if (io == Io::kOk) return absl::OkStatus();
      if (io != Io::kWantRead && io != Io::kWantWrite) {
        return absl::UnauthenticatedError(
            absl::StrFormat("%s: %s", Name(target_),
                            tls_->error().empty() ? "closed in the tls handshake" : tls_->error()));
      }
      if (absl::Status s = Wait(io, deadline_ns); !s.ok()) return s;
    }
  }

  absl::Status Send(std::string_view text, uint64_t deadline_ns) {
    while (!text.empty()) {
      size_t n = 0;
      Io io;
      if (tls_ != nullptr) {
        io = tls_->Write(text.data(), text.size(), &n);
      } else {
        const ssize_t result = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
        n = result > 0 ? static_cast<size_t>(result) : 0;
        io = result >= 0                         ? Io::kOk
             : errno == EAGAIN || errno == EINTR ? Io::kWantWrite
                                                 : Io::kError;
      }
      text.remove_prefix(n);
      if (io == Io::kOk) continue;
      // A server that refuses early closes its side; its answer may be there to read.
      if (io != Io::kWantRead && io != Io::kWantWrite) return absl::OkStatus();
      if (absl::Status s = Wait(io, deadline_ns); !s.ok()) return s;
    }
    return absl::OkStatus();
  }

  // Bytes read; 0 at the end of the connection.
  absl::StatusOr<size_t> Read(char* data, size_t size, uint64_t deadline_ns) {
    while (true) {
      size_t n = 0;
      Io io;
      if (tls_ != nullptr) {
        io = tls_->Read(data, size, &n);
      } else {
        const ssize_t result = ::recv(fd_.get(), data, size, 0);
        n = result > 0 ? static_cast<size_t>(result) : 0;
        io = result >= 0                         ? Io::kOk
             : errno == EAGAIN || errno == EINTR ? Io::kWantRead
                                                 : Io::kClosed;
      }
      if (io == Io::kOk || io == Io::kClosed || io == Io::kError) return n;
      if (absl::Status s = Wait(io, deadline_ns); !s.ok()) return s;
    }
  }

 private:
  std::vector<Address> Addresses() const {
    if (auto address = ParseAddress(target_.host, target_.port)) return {*address};
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    std::vector<Address> out;
    if (getaddrinfo(target_.host.c_str(), std::to_string(target_.port).c_str(), &hints, &list) !=
        0) {
      return out;
    }
    for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
      Address address;
      std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
      address.length = entry->ai_addrlen;
      out.push_back(address);
    }
    freeaddrinfo(list);
    return out;
  }

  absl::Status OpenUnix(uint64_t deadline_ns) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (target_.unix_path.size() >= sizeof(address.sun_path)) {
      return absl::InvalidArgumentError("unix:" + target_.unix_path + ": the path is too long");
    }
    std::memcpy(address.sun_path, target_.unix_path.data(), target_.unix_path.size());
    return Connect(reinterpret_cast<const sockaddr*>(&address), sizeof(address), deadline_ns);
  }

  absl::Status Connect(const sockaddr* address, socklen_t length, uint64_t deadline_ns) {
    fd_.reset(::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    int error = fd_ ? 0 : errno;
    if (fd_ && ::connect(fd_.get(), address, length) != 0) error = errno;
    if (error == EINPROGRESS) {
      if (absl::Status s = Wait(Io::kWantWrite, deadline_ns); !s.ok()) return s;
      socklen_t size = sizeof(error);
      getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error == 0) return absl::OkStatus();
    return absl::UnavailableError(absl::StrFormat("%s: %s", Name(target_), std::strerror(error)));
  }

  absl::Status Wait(Io io, uint64_t deadline_ns) const {
    while (true) {
      const uint64_t now = Clock::Real().mono_ns();
      if (now >= deadline_ns) {
        return absl::DeadlineExceededError(absl::StrFormat("%s: timed out", Name(target_)));
      }
      pollfd fds[2] = {{fd_.get(), static_cast<short>(io == Io::kWantRead ? POLLIN : POLLOUT), 0},
                       {cancel_fd_, POLLIN, 0}};
      const uint64_t ms = std::min<uint64_t>((deadline_ns - now + 999'999) / 1'000'000, 60'000);
      if (::poll(fds, cancel_fd_ >= 0 ? 2 : 1, static_cast<int>(ms)) < 0 && errno != EINTR) {
        return absl::InternalError(std::strerror(errno));
      }
      if (fds[1].revents != 0) return absl::CancelledError("cancelled");
      if (fds[0].revents != 0) return absl::OkStatus();
    }
  }

  const ClientTarget& target_;
  const int cancel_fd_;
  UniqueFd fd_;
  std::unique_ptr<TlsStream> tls_;
};

absl::StatusOr<std::string> Head(const ClientTarget& target, const ClientRequest& request) {
  const auto clean = [](std::string_view text, bool blank_ok) {
    return std::all_of(text.begin(), text.end(), [blank_ok](char c) {
      return (c > ' ' || (blank_ok && (c == ' ' || c == '\t')) || (c & 0x80) != 0) && c != 0x7F;
    });
  };
  if (!clean(request.method, false) || !clean(request.path, false) || request.path.empty() ||
      request.path[0] != '/') {
    return absl::InvalidArgumentError("request: unusable method or path");
  }
  std::string out =
      request.method + " " + request.path + " HTTP/1.1\r\nHost: " +
      (target.unix_path.empty() ? JoinHostPort(target.host, target.port) : "localhost") +
      "\r\nConnection: close\r\n";
  for (const auto& [name, value] : request.headers) {
    if (!clean(name, false) || name.empty() || !clean(value, true)) {
      return absl::InvalidArgumentError("request: unusable header " + name);
    }
    out.append(name).append(": ").append(value).append("\r\n");
  }
  if (!request.body.empty() || request.method == "POST") {
    out.append(absl::StrFormat("Content-Length: %d\r\n", request.body.size()));
  }
  return out.append("\r\n");
}

absl::Status Broken(const ClientTarget& target, ResponseReader::Error error) {
  const char* what = error == ResponseReader::Error::kEndedEarly     ? "the answer was cut short"
                     : error == ResponseReader::Error::kBodyTooLarge ? "the answer is too large"
                                                                     : "the answer is malformed";
  return absl::DataLossError(absl::StrFormat("%s: %s", Name(target), what));
}

absl::StatusOr<ClientResponse> Exchange(const ClientTarget& target, const ClientRequest& request,
                                        const std::function<bool(std::string_view)>* on_data) {
  const NoSigpipe no_sigpipe;
  auto head = Head(target, request);
  if (!head.ok()) return head.status();
  uint64_t deadline = After(request.timeout);
  Connection connection(target, request.cancel_fd);
  if (absl::Status s = connection.Open(deadline); !s.ok()) return s;
  if (absl::Status s = connection.Send(*head + request.body, deadline); !s.ok()) return s;

  ResponseReader reader;
  reader.Reset(on_data != nullptr ? UINT64_MAX : request.max_body_bytes, request.method == "HEAD");
  std::string buffer;
  size_t size = 0;
  auto result = ResponseReader::Result::kNeedMore;
  while (result == ResponseReader::Result::kNeedMore) {
    buffer.resize(std::max<size_t>(buffer.size(), size + 16 * 1024));
    const auto n = connection.Read(buffer.data() + size, buffer.size() - size, deadline);
    if (!n.ok()) return n.status();
    size += *n;
    result = *n == 0 ? reader.Finish() : reader.Advance(buffer.data(), &size);
    if (on_data == nullptr || !reader.head_complete()) continue;
    if (reader.status() != 200) {
      if (reader.body(buffer.data()).size() > request.max_body_bytes) {
        return Broken(target, ResponseReader::Error::kBodyTooLarge);
      }
      continue;
    }
    const std::string_view piece = reader.body(buffer.data());
    if (!piece.empty() && !(*on_data)(piece)) break;
    reader.DropBody(buffer.data(), &size);
    deadline = After(request.idle_timeout);
  }
  if (result == ResponseReader::Result::kError) return Broken(target, reader.error());
  ClientResponse out;
  out.status = reader.status();
  out.content_type = reader.Header(buffer.data(), "content-type");
  out.etag = reader.Header(buffer.data(), "etag");
  if (on_data == nullptr || out.status != 200) out.body = reader.body(buffer.data());
  return out;
}

}  // namespace

absl::StatusOr<ClientResponse> Call(const ClientTarget& target, const ClientRequest& request) {
  return Exchange(target, request, nullptr);
}

absl::StatusOr<ClientResponse> CallStreaming(const ClientTarget& target,
                                             const ClientRequest& request,
                                             const std::function<bool(std::string_view)>& on_data) {
  return Exchange(target, request, &on_data);
}

}  // namespace epp::http
