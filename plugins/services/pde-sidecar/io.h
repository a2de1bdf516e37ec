// Sockets as coroutines: every operation has a time limit and reports errors as values.
//
// GCC 12 miscompiles a coroutine that ends in `co_return co_await f()` behind another co_return;
// name the value first.
//
// Threads: everything belongs to the one thread that runs its io_context.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/error.hpp>
#include <chrono>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace sidecar {

namespace asio = boost::asio;
using boost::system::error_code;
using Milliseconds = std::chrono::milliseconds;
template <class T>
using Task = asio::awaitable<T>;

// Runs a task that must not throw: our coroutines report errors as values, and what remains is the
// want of memory.
inline void Spawn(asio::io_context& io, Task<void> task) {
  asio::co_spawn(io, std::move(task), [](std::exception_ptr thrown) {
    if (thrown) std::terminate();
  });
}

// Empties a buffer, which keeps room for little only: most connections are idle most of the time.
inline void Empty(std::string& buffer) {
  static constexpr size_t kKeptBytes = 4 * 1024;
  buffer.clear();
  if (buffer.capacity() > kKeptBytes) buffer.shrink_to_fit();
}

// A flag that one coroutine waits for. Set is remembered.
class Event {
 public:
  explicit Event(asio::io_context& io) : timer_(io, asio::steady_timer::time_point::max()) {}
  void Set() {
    set_ = true;
    timer_.cancel();
  }
  bool is_set() const { return set_; }
  // False when `limit` passes first.
  Task<bool> Wait(Milliseconds limit = Milliseconds::max());

 private:
  asio::steady_timer timer_;
  bool set_ = false;
};

Task<void> Sleep(asio::io_context& io, Milliseconds time);

class Streams;
class TlsContext;
class TlsSession;

class Stream {
 public:
  explicit Stream(asio::ip::tcp::socket socket);
  explicit Stream(asio::io_context& io);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // True when connected. An operation whose time is over ends with boost::beast::error::timeout,
  // and the connection is cut.
  Task<error_code> Connect(asio::ip::tcp::endpoint where, Milliseconds limit);
  // From here on everything is encrypted: the side that the context is for, `host` being the
  // server.
  Task<error_code> Secure(TlsContext& context, const std::string& host, Milliseconds limit);
  bool secured() const { return tls_ != nullptr; }
  // Why Secure failed.
  std::string tls_error() const;
  // Appends what comes to `buffer`, 64 KiB at most. asio::error::eof at the end.
  Task<error_code> Read(std::string& buffer, Milliseconds limit);
  // All parts, wholly.
  Task<error_code> Write(std::string_view first, std::string_view second, std::string_view third,
                         Milliseconds limit);
  // What can be written without waiting, in bytes from the front; errors are for Write to tell.
  size_t WriteNow(std::string_view bytes);
  // Until bytes or the end come. Ended by StopWaiting and Close.
  Task<void> WaitReadable();
  void StopWaiting();
  // The peer has closed or reset: nothing can be read any more.
  bool PeerGone();
  // Nothing has come and the peer is there.
  bool Quiet();
  // Cuts the connection; operations under way end with an error.
  void Close();
  // Tells the peer that no more comes.
  void FinishWriting();
  bool open() const { return tcp_.is_open(); }
  const std::string& peer_ip();

 private:
  friend class Streams;
  using Clock = std::chrono::steady_clock;

  // What MSG_PEEK says, or would of decrypted bytes: 1 bytes, 0 the end, -1 nothing yet, -2 an
  // error.
  int Peek();
  // An operation begins, or has ended. There is one with a limit at a time.
  void Limit(Milliseconds limit);
  void Unlimit() { deadline_ = Clock::time_point::max(); }
  error_code Told(error_code error) const;

  asio::ip::tcp::socket tcp_;
  Streams& all_;
  // Setting a timer for each operation would cost more than the operation. A stream is looked at
  // when a limit that it once had has passed, and by then has another, most likely.
  Clock::time_point deadline_ = Clock::time_point::max();
  std::multimap<Clock::time_point, Stream*>::iterator look_;
  bool looked_at_ = false;  // look_ is valid
  bool timed_out_ = false;
  bool may_read_ = false;  // bytes are likely to be there
  uint8_t in_a_row_ = 0;   // reads without waiting
  std::string peer_ip_;
  std::shared_ptr<TlsSession> tls_;  // null: in the clear
};

}  // namespace sidecar
