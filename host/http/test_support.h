// For tests of this folder: peers that misbehave on purpose, certificates, waiting.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "host/base/unique_fd.h"

namespace epp::http::test {

// Runs `serve` on a thread of its own for every connection; closes the connection afterwards.
class RawServer {
 public:
  // `serve` gets the connected descriptor and the connection's number, from 0.
  using Serve = std::function<void(int fd, int number)>;

  explicit RawServer(Serve serve, const char* address = "127.0.0.1");
  ~RawServer();
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;

  uint16_t port() const { return port_; }
  int connections() const { return accepted_.load(); }

 private:
  UniqueFd listener_;
  uint16_t port_ = 0;
  Serve serve_;
  std::atomic<int> accepted_{0};
  std::mutex mu_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread accept_thread_;
};

// Reads up to the empty line that ends a request without a body; false when the peer went away.
bool ReadRequest(int fd, std::string* head = nullptr);
void SendAll(int fd, std::string_view text);
// Everything until the peer closes.
std::string ReadAll(int fd);
// A connected blocking socket.
UniqueFd ConnectTo(uint16_t port);
// Until the peer closes or the server stops.
void WaitForClose(int fd);

// A value handed from one thread to another.
template <typename T>
class Mailbox {
 public:
  void Put(T value) {
    std::lock_guard<std::mutex> lock(mu_);
    values_.push_back(std::move(value));
    changed_.notify_all();
  }
  // Waits for the next value; aborts the wait with `T{}` after 10 s.
  T Take() {
    std::unique_lock<std::mutex> lock(mu_);
    if (!changed_.wait_for(lock, std::chrono::seconds(10), [&] { return !values_.empty(); })) {
      return T{};
    }
    T value = std::move(values_.front());
    values_.erase(values_.begin());
    return value;
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  std::vector<T> values_;
};

// True once `condition` holds, false after 10 s.
bool Eventually(const std::function<bool()>& condition);

// A self-signed certificate for "localhost" and 127.0.0.1, valid for a day, with its key.
struct Certificate {
  std::string cert_pem;
  std::string key_pem;
};
Certificate MakeCertificate();

}  // namespace epp::http::test
