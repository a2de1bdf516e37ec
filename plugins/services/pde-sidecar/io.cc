#include "io.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>

#include "tls.h"

namespace sidecar {
namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kReadBytes = 64 * 1024;
constexpr uint8_t kReadsInARow = 8;       // then others have their turn
constexpr size_t kJoinBytes = 16 * 1024;  // parts up to this size, in all, become one record

error_code LastError() { return {errno, boost::system::system_category()}; }

}  // namespace

// What the streams of an io_context share: the buffer that they read into, so that a stream that
// waits has none, and the timer of their limits.
class Streams final : public asio::execution_context::service {
 public:
  using key_type = Streams;
  static asio::execution_context::id id;

  explicit Streams(asio::execution_context& context)
      : service(context), timer_(std::in_place, static_cast<asio::io_context&>(context)) {}

  static Streams& Of(asio::ip::tcp::socket& socket) {
    return asio::use_service<Streams>(asio::query(socket.get_executor(), asio::execution::context));
  }

  char* scratch() { return scratch_.data(); }

  void LookAt(Stream* stream, Stream::Clock::time_point when) {
    Forget(stream);
    stream->look_ = looks_.emplace(when, stream);
    stream->looked_at_ = true;
    if (when < timer_at_) Set(when);
  }

  void Forget(Stream* stream) {
    if (!stream->looked_at_) return;
    looks_.erase(stream->look_);
    stream->looked_at_ = false;
  }

 private:
  void shutdown() override { timer_.reset(); }

  void Set(Stream::Clock::time_point when) {
    timer_at_ = when;
    if (!timer_) return;
    timer_->expires_at(when);
    timer_->async_wait([this](error_code error) {
      if (!error) Look();
    });
  }

  void Look() {
    const auto now = Stream::Clock::now();
    while (!looks_.empty() && looks_.begin()->first <= now) {
      Stream* const stream = looks_.begin()->second;
      Forget(stream);
      if (stream->deadline_ <= now) {
        stream->timed_out_ = true;
        stream->Close();
      } else if (stream->deadline_ != Stream::Clock::time_point::max()) {
        stream->look_ = looks_.emplace(stream->deadline_, stream);
        stream->looked_at_ = true;
      }
    }
    timer_at_ = Stream::Clock::time_point::max();
    if (!looks_.empty()) Set(looks_.begin()->first);
  }

  std::array<char, kReadBytes> scratch_;
  std::multimap<Stream::Clock::time_point, Stream*> looks_;
  std::optional<asio::steady_timer> timer_;
  Stream::Clock::time_point timer_at_ = Stream::Clock::time_point::max();
};

asio::execution_context::id Streams::id;

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

Stream::Stream(asio::ip::tcp::socket socket)
    : tcp_(std::move(socket)), all_(Streams::Of(tcp_)), may_read_(true) {
  error_code ignored;
  tcp_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

Stream::Stream(asio::io_context& io) : tcp_(io), all_(Streams::Of(tcp_)) {}

Stream::~Stream() {
  all_.Forget(this);
  if (tls_) tls_->Detach();
}

void Stream::Limit(Milliseconds limit) {
  deadline_ = Clock::now() + limit;
  if (!looked_at_ || look_->first > deadline_) all_.LookAt(this, deadline_);
}

error_code Stream::Told(error_code error) const {
  return timed_out_ ? error_code(boost::beast::error::timeout) : error;
}

Task<error_code> Stream::Secure(TlsContext& context, const std::string& host, Milliseconds limit) {
  tls_ = std::make_shared<TlsSession>(context, tcp_, host);
  const error_code error = co_await tls_->Handshake(limit);
  co_return error;
}

std::string Stream::tls_error() const { return tls_ ? tls_->why() : ""; }

Task<error_code> Stream::Connect(asio::ip::tcp::endpoint where, Milliseconds limit) {
  Limit(limit);
  const auto [error] = co_await tcp_.async_connect(where, kTuple);
  Unlimit();
  if (!error) {
    error_code ignored;
    tcp_.set_option(asio::ip::tcp::no_delay(true), ignored);
  }
  co_return Told(error);
}

Task<error_code> Stream::Read(std::string& buffer, Milliseconds limit) {
  if (tls_) {
    const error_code failed = co_await tls_->Read(buffer, kReadBytes, limit);
    co_return failed;
  }
  if (!may_read_ || in_a_row_ >= kReadsInARow) {
    in_a_row_ = 0;
  } else {
    ++in_a_row_;
  }
  bool wait = in_a_row_ == 0;
  for (;;) {
    if (wait) {
      Limit(limit);
      const auto [error] = co_await tcp_.async_wait(asio::ip::tcp::socket::wait_read, kTuple);
      Unlimit();
      if (error || timed_out_) co_return Told(error);
    }
    if (!open()) co_return Told(asio::error::operation_aborted);
    const ssize_t n = ::recv(tcp_.native_handle(), all_.scratch(), kReadBytes, MSG_DONTWAIT);
    if (n > 0) {
      buffer.append(all_.scratch(), static_cast<size_t>(n));
      may_read_ = n == static_cast<ssize_t>(kReadBytes);
      co_return error_code();
    }
    if (n == 0) co_return error_code(asio::error::eof);
    if (errno != EAGAIN && errno != EINTR) co_return LastError();
    wait = true;
  }
}

size_t Stream::WriteNow(std::string_view bytes) {
  if (tls_) return 0;
  const ssize_t n =
      ::send(tcp_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return n > 0 ? static_cast<size_t>(n) : 0;
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
  std::array<std::string_view, 3> parts{first, second, third};
  bool limited = false;
  for (;;) {
    std::array<iovec, 3> vector;
    size_t count = 0;
    size_t left = 0;
    for (const std::string_view part : parts) {
      if (part.empty()) continue;
      vector[count++] = {const_cast<char*>(part.data()), part.size()};
      left += part.size();
    }
    if (!open()) co_return Told(asio::error::operation_aborted);
    if (left == 0) break;
    msghdr message{};
    message.msg_iov = vector.data();
    message.msg_iovlen = count;
    const ssize_t n = ::sendmsg(tcp_.native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) co_return LastError();
    size_t sent = n > 0 ? static_cast<size_t>(n) : 0;
    if (sent == left) break;
    for (std::string_view& part : parts) {
      const size_t taken = std::min(sent, part.size());
      part.remove_prefix(taken);
      sent -= taken;
    }
    if (!limited) Limit(limit);
    limited = true;
    const auto [error] = co_await tcp_.async_wait(asio::ip::tcp::socket::wait_write, kTuple);
    if (error || timed_out_) {
      Unlimit();
      co_return Told(error);
    }
  }
  Unlimit();
  co_return error_code();
}

Task<void> Stream::WaitReadable() {
  if (tls_) {
    // Not every record has bytes for us.
    const std::shared_ptr<TlsSession> tls = tls_;
    while (tls->Poll() == TlsSession::State::kNothing) {
      const auto [error] = co_await tcp_.async_wait(asio::ip::tcp::socket::wait_read, kTuple);
      if (error) co_return;
    }
    co_return;
  }
  co_await tcp_.async_wait(asio::ip::tcp::socket::wait_read, kTuple);
}

void Stream::StopWaiting() {
  error_code ignored;
  tcp_.cancel(ignored);
}

int Stream::Peek() {
  if (tls_) {
    const TlsSession::State state = tls_->Poll();
    if (state == TlsSession::State::kEnd) return 0;
    return state == TlsSession::State::kBytes ? 1 : -1;
  }
  char byte;
  const ssize_t n = ::recv(tcp_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
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
  tcp_.close(ignored);
}

void Stream::FinishWriting() {
  if (tls_) tls_->SayEnd();
  error_code ignored;
  tcp_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
}

const std::string& Stream::peer_ip() {
  if (peer_ip_.empty()) {
    error_code error;
    const auto peer = tcp_.remote_endpoint(error);
    if (!error) peer_ip_ = peer.address().to_string();
  }
  return peer_ip_;
}

}  // namespace sidecar
