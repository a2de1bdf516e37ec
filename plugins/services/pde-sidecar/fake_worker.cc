#include "fake_worker.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>

namespace sidecar::test {
namespace {

constexpr auto kPatience = std::chrono::seconds(10);

bool SendAll(int fd, const std::string& bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t n = ::send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

std::multimap<std::string, std::string> ParseHeaders(const std::string& head, size_t at) {
  std::multimap<std::string, std::string> out;
  while (at < head.size()) {
    const size_t end = head.find("\r\n", at);
    if (end == head.npos || end == at) break;
    std::string name = head.substr(at, head.find(':', at) - at);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    std::string value = head.substr(at + name.size() + 1, end - at - name.size() - 1);
    value.erase(0, value.find_first_not_of(' '));
    out.emplace(name, value);
    at = end + 2;
  }
  return out;
}

// Reads a body that is framed by these headers. `more` reads more bytes into `in`.
template <class More>
bool ReadBody(const std::multimap<std::string, std::string>& headers, std::string& in, bool answer,
              std::string* out, More&& more) {
  const auto coding = headers.find("transfer-encoding");
  if (coding != headers.end()) {
    for (;;) {
      size_t line;
      while ((line = in.find("\r\n")) == in.npos) {
        if (!more()) return false;
      }
      const size_t size = std::strtoul(in.c_str(), nullptr, 16);
      while (in.size() < line + 4 + size) {
        if (!more()) {
          if (in.size() > line + 2) *out += in.substr(line + 2, size);
          return false;
        }
      }
      *out += in.substr(line + 2, size);
      in.erase(0, line + 4 + size);
      if (size == 0) return true;
    }
  }
  const auto length = headers.find("content-length");
  if (length == headers.end()) {
    if (!answer) return true;
    while (more()) {
    }
    *out = in;
    in.clear();
    return true;
  }
  const size_t size = std::strtoul(length->second.c_str(), nullptr, 10);
  while (in.size() < size) {
    if (!more()) {
      *out = in;
      return false;
    }
  }
  *out = in.substr(0, size);
  in.erase(0, size);
  return true;
}

}  // namespace

FakeWorker::FakeWorker(const std::string& body, int status)
    : FakeWorker([answer = Answer(body, status)](const Received&, const Writer& write) {
        write(answer);
      }) {}

FakeWorker::FakeWorker(Handler handler) : handler_(std::move(handler)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ::bind(listener_, reinterpret_cast<sockaddr*>(&where), sizeof(where));
  ::listen(listener_, 256);
  socklen_t size = sizeof(where);
  getsockname(listener_, reinterpret_cast<sockaddr*>(&where), &size);
  port_ = ntohs(where.sin_port);
  accepter_ = std::thread([this] { Accept(); });
}

FakeWorker::~FakeWorker() {
  stopping_.store(true);
  ::shutdown(listener_, SHUT_RDWR);
  accepter_.join();
  ::close(listener_);
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    changed_.notify_all();
  }
  for (std::thread& t : threads_) t.join();
}

void FakeWorker::Accept() {
  while (!stopping_.load()) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const std::lock_guard lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] { Serve(fd); });
    accepted_.fetch_add(1);
  }
}

void FakeWorker::Serve(int fd) {
  std::string in;
  const auto more = [&] {
    std::array<char, 16384> buffer;
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (n > 0) in.append(buffer.data(), static_cast<size_t>(n));
    return n > 0;
  };
  const Writer writer = [&](const std::string& bytes) {
    if (bytes == kHangUp) {
      ::shutdown(fd, SHUT_RDWR);
      return false;
    }
    if (bytes.empty()) {
      pollfd ready{fd, POLLIN | POLLRDHUP, 0};
      const bool gone = ::poll(&ready, 1, 2) == 1;
      if (gone) left_.fetch_add(1);
      return !gone && !stopping_.load();
    }
    if (SendAll(fd, bytes)) return true;
    left_.fetch_add(1);
    return false;
  };
  for (;;) {
    size_t end;
    while ((end = in.find("\r\n\r\n")) == in.npos) {
      if (!more()) goto out;
    }
    {
      Received request;
      const std::string head = in.substr(0, end + 4);
      in.erase(0, end + 4);
      const size_t line = head.find("\r\n");
      request.method = head.substr(0, head.find(' '));
      request.target =
          head.substr(request.method.size() + 1, head.rfind(' ', line) - request.method.size() - 1);
      request.headers = ParseHeaders(head, line + 2);
      if (!ReadBody(request.headers, in, false, &request.body, more)) goto out;
      {
        const std::lock_guard lock(mutex_);
        received_.push_back(request);
        changed_.notify_all();
      }
      handler_(request, writer);
    }
  }
out:
  const std::lock_guard lock(mutex_);
  std::erase(open_, fd);
  ::close(fd);
}

std::vector<Received> FakeWorker::received() const {
  const std::lock_guard lock(mutex_);
  return received_;
}

bool FakeWorker::WaitForCalls(size_t n) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return received_.size() >= n; });
}

bool FakeWorker::WaitForLeft(int n) const {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (left_.load() < n && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  return left_.load() >= n;
}

bool Eventually(const std::function<bool()>& what) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!what()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

std::string Answer(const std::string& body, int status, const std::string& type) {
  return "HTTP/1.1 " + std::to_string(status) + " Told\r\nContent-Type: " + type +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string StreamHead() {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: "
         "chunked\r\n\r\n";
}

std::string Chunk(const std::string& data) {
  std::array<char, 20> size;
  const int n = std::snprintf(size.data(), size.size(), "%zx\r\n", data.size());
  return std::string(size.data(), static_cast<size_t>(n)) + data + "\r\n";
}

Client::Client(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<uint16_t>(port));
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval limit{std::chrono::seconds(kPatience).count(), 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&where), sizeof(where)) != 0) Close();
}
Client::~Client() { Close(); }
void Client::Close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}
bool Client::Send(const std::string& bytes) const { return fd_ >= 0 && SendAll(fd_, bytes); }

bool Client::More() {
  std::array<char, 16384> buffer;
  const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), 0);
  if (n > 0) in_.append(buffer.data(), static_cast<size_t>(n));
  return n > 0;
}

Response Client::Read(bool head_only) {
  Response out;
  size_t end;
  while ((end = in_.find("\r\n\r\n")) == in_.npos) {
    if (!More()) return out;
  }
  const std::string head = in_.substr(0, end + 4);
  in_.erase(0, end + 4);
  out.status = std::atoi(head.c_str() + 9);
  if (out.status == 100) return Read(head_only);
  out.headers = ParseHeaders(head, head.find("\r\n") + 2);
  out.complete = head_only || out.status == 204 || out.status == 304 ||
                 ReadBody(out.headers, in_, true, &out.body, [this] { return More(); });
  return out;
}

std::string Client::ReadUntil(const std::string& text) {
  while (in_.find(text) == in_.npos) {
    if (!More()) break;
  }
  return in_;
}

bool Client::Closed() {
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (n > 0) continue;
    return n == 0 || errno == ECONNRESET;
  }
}

std::string PostText(const std::string& target, const std::string& body,
                     const std::vector<std::pair<std::string, std::string>>& headers) {
  std::string out = "POST " + target + " HTTP/1.1\r\nHost: client.example\r\n";
  for (const auto& [name, value] : headers) out += name + ": " + value + "\r\n";
  return out + "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

Response Post(int port, const std::string& target, const std::string& body,
              const std::vector<std::pair<std::string, std::string>>& headers) {
  Client client(port);
  client.Send(PostText(target, body, headers));
  return client.Read();
}

Response Get(int port, const std::string& target, const std::string& method) {
  Client client(port);
  client.Send(method + " " + target + " HTTP/1.1\r\nHost: client.example\r\n\r\n");
  return client.Read(method == "HEAD");
}

}  // namespace sidecar::test
