#include "io.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>

namespace sidecar {
namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = 64 * 1024;

}  // namespace

Task<bool> Event::Wait(Milliseconds limit) {
  if (!set_) {
    if (limit == Milliseconds::max()) {
      timer_.expires_at(asio::steady_timer::time_point::max());
    } else {
      timer_.expires_after(limit);
    }
    co_await timer_.async_wait(kTuple);
  }
  co_return set_;
}

Task<void> Sleep(asio::io_context& io, Milliseconds time) {
  asio::steady_timer timer(io, time);
  co_await timer.async_wait(kTuple);
}

Stream::Stream(asio::ip::tcp::socket socket) : tcp_(std::move(socket)) {
  error_code ignored;
  tcp_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
}

Stream::Stream(asio::io_context& io) : tcp_(io) {}

Task<error_code> Stream::Connect(asio::ip::tcp::endpoint where, Milliseconds limit) {
  tcp_.expires_after(limit);
  const auto [error] = co_await tcp_.async_connect(where, kTuple);
  if (!error) {
    error_code ignored;
    tcp_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  }
  co_return error;
}

Task<error_code> Stream::Read(std::string& buffer, Milliseconds limit) {
  const size_t before = buffer.size();
  buffer.resize(before + kReadBytes);
  tcp_.expires_after(limit);
  const auto [error, n] =
      co_await tcp_.async_read_some(asio::buffer(buffer.data() + before, kReadBytes), kTuple);
  buffer.resize(before + n);
  co_return error;
}

Task<error_code> Stream::Write(std::string_view first, std::string_view second,
                               std::string_view third, Milliseconds limit) {
  tcp_.expires_after(limit);
  const std::array<asio::const_buffer, 3> parts{asio::buffer(first.data(), first.size()),
                                                asio::buffer(second.data(), second.size()),
                                                asio::buffer(third.data(), third.size())};
  const auto [error, n] = co_await asio::async_write(tcp_, parts, kTuple);
  co_return error;
}

Task<void> Stream::WaitReadable() {
  co_await tcp_.socket().async_wait(asio::ip::tcp::socket::wait_read, kTuple);
}

void Stream::StopWaiting() {
  error_code ignored;
  tcp_.socket().cancel(ignored);
}

int Stream::Peek() {
  char byte;
  const ssize_t n = ::recv(tcp_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (n >= 0) return static_cast<int>(n);
  return errno == EAGAIN || errno == EWOULDBLOCK ? -1 : -2;
}

bool Stream::PeerGone() {
  if (!open()) return true;
  const int state = Peek();
  return state == 0 || state == -2;
}

bool Stream::Quiet() { return open() && Peek() == -1; }

void Stream::Close() {
  error_code ignored;
  tcp_.socket().close(ignored);
}

void Stream::FinishWriting() {
  error_code ignored;
  tcp_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

std::string Stream::peer_ip() const {
  error_code error;
  const auto peer = tcp_.socket().remote_endpoint(error);
  return error ? "" : peer.address().to_string();
}

}  // namespace sidecar
