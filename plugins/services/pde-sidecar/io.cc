#include "io.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>

#include "tls.h"

namespace sidecar {
namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kJoinBytes = 16 * 1024;  // parts up to this size, in all, become one record

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

Stream::~Stream() {
  if (tls_) tls_->Detach();
}

Task<error_code> Stream::Secure(TlsContext& context, const std::string& host, Milliseconds limit) {
  tls_ = std::make_shared<TlsSession>(context, tcp_.socket(), host);
  const error_code error = co_await tls_->Handshake(limit);
  co_return error;
}

std::string Stream::tls_error() const { return tls_ ? tls_->why() : ""; }

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
  if (tls_) {
    const error_code failed = co_await tls_->Read(buffer, kReadBytes, limit);
    co_return failed;
  }
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
  if (tls_) {
    std::string joined;
    if (first.size() + second.size() + third.size() <= kJoinBytes) {
      joined.append(first).append(second).append(third);
      first = joined;
      second = third = {};
    }
    error_code failed;
    for (const std::string_view part : {first, second, third}) {
      if (!failed) failed = co_await tls_->Write(part, limit);
    }
    co_return failed;
  }
  tcp_.expires_after(limit);
  const std::array<asio::const_buffer, 3> parts{asio::buffer(first.data(), first.size()),
                                                asio::buffer(second.data(), second.size()),
                                                asio::buffer(third.data(), third.size())};
  const auto [error, n] = co_await asio::async_write(tcp_, parts, kTuple);
  co_return error;
}

Task<void> Stream::WaitReadable() {
  if (tls_) {
    // Not every record has bytes for us.
    const std::shared_ptr<TlsSession> tls = tls_;
    while (tls->Poll() == TlsSession::State::kNothing) {
      const auto [error] =
          co_await tcp_.socket().async_wait(asio::ip::tcp::socket::wait_read, kTuple);
      if (error) co_return;
    }
    co_return;
  }
  co_await tcp_.socket().async_wait(asio::ip::tcp::socket::wait_read, kTuple);
}

void Stream::StopWaiting() {
  error_code ignored;
  tcp_.socket().cancel(ignored);
}

int Stream::Peek() {
  if (tls_) {
    const TlsSession::State state = tls_->Poll();
    if (state == TlsSession::State::kEnd) return 0;
    return state == TlsSession::State::kBytes ? 1 : -1;
  }
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
  if (tls_) tls_->SayEnd();
  error_code ignored;
  tcp_.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

std::string Stream::peer_ip() const {
  error_code error;
  const auto peer = tcp_.socket().remote_endpoint(error);
  return error ? "" : peer.address().to_string();
}

}  // namespace sidecar
