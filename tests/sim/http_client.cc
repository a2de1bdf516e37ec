#include "tests/sim/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/text.h"

namespace epp::sim {
namespace {

constexpr timeval kDeadline = {.tv_sec = 30, .tv_usec = 0};

size_t ParseSize(std::string_view text, int base) {
  size_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

}  // namespace

std::string_view HttpReply::Header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

HttpClient::HttpClient(uint16_t port) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return;
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kDeadline, sizeof(kDeadline));
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &kDeadline, sizeof(kDeadline));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) Close();
}

HttpClient::~HttpClient() { Close(); }

void HttpClient::Close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool HttpClient::SendRaw(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool HttpClient::Send(std::string_view method, std::string_view path, std::string_view body,
                      const Headers& headers) {
  std::string head =
      absl::StrCat(ToAbsl(method), " ", ToAbsl(path), " HTTP/1.1\r\nhost: localhost\r\n");
  for (const auto& [name, value] : headers) absl::StrAppend(&head, name, ": ", value, "\r\n");
  if (!body.empty()) absl::StrAppend(&head, "content-length: ", body.size(), "\r\n");
  return SendRaw(absl::StrCat(head, "\r\n", ToAbsl(body)));
}

bool HttpClient::Fill() {
  char bytes[16384];
  const ssize_t got = fd_ < 0 ? -1 : ::recv(fd_, bytes, sizeof(bytes), 0);
  if (got <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(got));
  return true;
}

bool HttpClient::ReadLine(std::string* line) {
  size_t end = 0;
  while ((end = buffer_.find("\r\n")) == std::string::npos) {
    if (!Fill()) return false;
  }
  *line = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  return true;
}

HttpReply HttpClient::ReadHead() {
  HttpReply reply;
  std::string line;
  if (!ReadLine(&line)) return reply;
  const size_t space = line.find(' ');
  const int status =
      space == std::string::npos ? 0 : static_cast<int>(ParseSize(line.substr(space + 1), 10));
  framing_ = Framing::kUntilClose;
  left_ = 0;
  while (ReadLine(&line)) {
    if (line.empty()) {
      // Only a whole head counts as an answer.
      reply.status = status;
      reply.complete = framing_ == Framing::kLength && left_ == 0;
      if (reply.complete) framing_ = Framing::kNone;
      return reply;
    }
    const size_t colon = std::min(line.find(':'), line.size());
    const std::string name = absl::AsciiStrToLower(line.substr(0, colon));
    std::string value(absl::StripAsciiWhitespace(line.substr(std::min(colon + 1, line.size()))));
    if (name == "content-length") {
      framing_ = Framing::kLength;
      left_ = ParseSize(value, 10);
    } else if (name == "transfer-encoding") {
      framing_ = Framing::kChunked;
    }
    reply.headers.emplace_back(name, std::move(value));
  }
  return reply;
}

bool HttpClient::Take(size_t bytes, HttpReply* reply) {
  if (buffer_.empty() && !Fill()) return false;
  bytes = std::min(bytes, buffer_.size());
  reply->body.append(buffer_, 0, bytes);
  buffer_.erase(0, bytes);
  left_ -= std::min(left_, bytes);
  return true;
}

bool HttpClient::ReadMore(HttpReply* reply) {
  std::string line;
  switch (framing_) {
    case Framing::kNone:
      return false;
    case Framing::kUntilClose:
      if (Take(SIZE_MAX, reply)) return true;
      reply->complete = true;
      return false;
    case Framing::kLength:
      if (!Take(left_, reply)) return false;
      if (left_ == 0) {
        reply->complete = true;
        framing_ = Framing::kNone;
      }
      return true;
    case Framing::kChunked:
      if (left_ == 0) {
        if (!ReadLine(&line)) return false;
        left_ = ParseSize(line, 16);
        if (left_ == 0) {
          reply->complete = ReadLine(&line);
          framing_ = Framing::kNone;
          return false;
        }
      }
      if (!Take(left_, reply)) return false;
      return left_ > 0 || ReadLine(&line);
  }
  return false;
}

bool HttpClient::ReadUntil(HttpReply* reply, std::string_view text) {
  while (reply->body.find(text) == std::string::npos) {
    if (!ReadMore(reply)) return reply->body.find(text) != std::string::npos;
  }
  return true;
}

HttpReply HttpClient::ReadReply() {
  HttpReply reply = ReadHead();
  while (reply.status != 0 && ReadMore(&reply)) {
  }
  return reply;
}

bool HttpClient::WaitForClose() {
  char byte = 0;
  const ssize_t got = ::recv(fd_, &byte, 1, 0);
  return got == 0 || (got < 0 && errno == ECONNRESET);
}

HttpReply Fetch(uint16_t port, std::string_view method, std::string_view path,
                std::string_view body, const HttpClient::Headers& headers) {
  HttpClient client(port);
  if (!client.Send(method, path, body, headers)) return {};
  return client.ReadReply();
}

}  // namespace epp::sim
