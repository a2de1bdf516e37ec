#include "reply.h"

#include <array>
#include <charconv>

#include "splice.h"

namespace sidecar {
namespace {

std::string StatusLine(int status, std::string_view reason) {
  std::string out = "HTTP/1.1 " + std::to_string(status) + " ";
  out += reason.empty() ? ReasonOf(status) : reason;
  return out + "\r\n";
}

void AppendChunkSize(std::string& out, size_t size) {
  std::array<char, 16> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), size, 16).ptr;
  out.append(text.data(), end);
  out += "\r\n";
}

}  // namespace

std::string_view ReasonOf(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return "";
  }
}

Task<bool> Reply::Write(std::string_view first, std::string_view second, std::string_view third) {
  const error_code error = co_await stream_.Write(first, second, third, config_.stream_timeout);
  if (error) broken_ = true;
  Sent(first.size() + second.size() + third.size());
  co_return !broken_;
}

Task<bool> Reply::Whole(int status, std::string_view reason, Headers headers,
                        std::string_view body) {
  status_ = status;
  begun_ = ended_ = true;
  headers.DropHopByHop();
  headers.Remove("content-length");
  std::string head = StatusLine(status, reason);
  headers.AppendTo(head);
  if (status != 204 && status != 304) {
    head += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  }
  if (close_) head += "Connection: close\r\n";
  head += "\r\n";
  const bool sent = co_await Write(head, head_only_ ? std::string_view() : body, "");
  co_return sent;
}

Task<bool> Reply::Error(int status, std::string_view type, std::string_view message) {
  if (begun_) co_return false;
  why_ = message;
  std::string body = R"({"object":"error","message":)" + JsonString(message) + R"(,"type":)" +
                     JsonString(type) + R"(,"param":"","code":)" + std::to_string(status) + "}";
  Headers headers;
  headers.Add("Content-Type", "application/json");
  const bool sent = co_await Whole(status, "", std::move(headers), body);
  co_return sent;
}

void Reply::Begin(int status, std::string_view reason, Headers headers, const Framing& framing) {
  status_ = status;
  begun_ = true;
  headers.DropHopByHop();
  headers.Remove("content-length");
  pending_ = StatusLine(status, reason);
  headers.AppendTo(pending_);
  if (framing.kind == Framing::Kind::kLength) {
    pending_ += "Content-Length: " + std::to_string(framing.length) + "\r\n";
  } else if (framing.kind != Framing::Kind::kNone) {
    if (http_1_0_) {
      close_ = true;
    } else {
      chunked_ = true;
      pending_ += "Transfer-Encoding: chunked\r\n";
    }
  } else if (status >= 200 && status != 204 && status != 304 && !head_only_) {
    pending_ += "Content-Length: 0\r\n";
  }
  if (close_) pending_ += "Connection: close\r\n";
  pending_ += "\r\n";
}

Task<bool> Reply::Piece(std::string_view piece) {
  if (head_only_ || piece.empty()) co_return !broken_;
  std::string before = std::move(pending_);
  pending_.clear();
  if (chunked_) AppendChunkSize(before, piece.size());
  const bool sent = co_await Write(before, piece, chunked_ ? "\r\n" : "");
  co_return sent;
}

void Reply::Add(std::string_view piece) {
  if (head_only_ || piece.empty()) return;
  if (chunked_) AppendChunkSize(pending_, piece.size());
  pending_ += piece;
  if (chunked_) pending_ += "\r\n";
}

bool Reply::FlushNow() {
  if (pending_.empty()) return !broken_;
  const size_t sent = stream_.WriteNow(pending_);
  if (sent != 0) Sent(sent);
  if (sent < pending_.size()) {
    pending_.erase(0, sent);
    return false;
  }
  Empty(pending_);
  return true;
}

Task<bool> Reply::Flush() {
  if (pending_.empty()) co_return !broken_;
  const std::string bytes = std::move(pending_);
  pending_.clear();
  const bool sent = co_await Write(bytes, "", "");
  co_return sent;
}

Task<bool> Reply::End() {
  if (chunked_ && !head_only_) pending_ += "0\r\n\r\n";
  ended_ = FlushNow();
  if (!ended_) ended_ = co_await Flush();
  co_return ended_;
}

}  // namespace sidecar
