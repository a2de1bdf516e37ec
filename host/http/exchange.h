// The thread-safe half of one request: what Responder and Stream hold.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/base/mutex.h"
#include "host/http/message.h"

namespace epp::http::internal {

// Runs functions on the server's thread while the server lives; drops them afterwards.
class Poster {
 public:
  virtual ~Poster() = default;
  // False when the server is gone.
  virtual bool Post(std::function<void()> fn) = 0;
};

// The connection's side; called on the server's thread only.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void SendWhole(Response response) = 0;
  virtual void StartStream(Response head) = 0;
  // Looks for new pieces in the exchange.
  virtual void Drain() = 0;
};

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(std::shared_ptr<Poster> poster, std::weak_ptr<Sink> sink, size_t max_pending_bytes)
      : poster_(std::move(poster)), sink_(std::move(sink)), max_pending_bytes_(max_pending_bytes) {}

  // From Responder and Stream, any thread.
  void Send(Response response);
  void Start(Response head);
  bool Write(std::string piece);
  void End();
  void OnClose(std::function<void()> fn);
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  // True for the first caller: a request is answered once.
  bool Claim() { return !answered_.exchange(true, std::memory_order_acq_rel); }

  // From the connection, on the server's thread.
  // Pieces to send now, and whether the stream ends after them.
  std::string TakePending(bool* ended);
  // `n` bytes that TakePending gave are on their way.
  void Sent(size_t n);
  // True when more waits than a reader may let wait.
  bool Overflowed() const { return overflowed_.load(std::memory_order_acquire); }
  // The client is gone or the response complete.
  void Close();

 private:
  void PostDrain();

  const std::shared_ptr<Poster> poster_;
  const std::weak_ptr<Sink> sink_;
  const size_t max_pending_bytes_;
  std::atomic<bool> answered_{false};
  std::atomic<bool> closed_{false};
  std::atomic<bool> overflowed_{false};
  Mutex mu_;
  std::string pending_ ABSL_GUARDED_BY(mu_);
  size_t unsent_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // pending and handed to the connection
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  bool drain_posted_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::function<void()>> on_close_ ABSL_GUARDED_BY(mu_);
};

}  // namespace epp::http::internal
