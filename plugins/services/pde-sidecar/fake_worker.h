// For tests: an engine that answers as it is told, and a client that speaks plain HTTP/1.1.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sidecar::test {

struct Received {
  std::string method, target, body;
  std::multimap<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? "" : it->second;
  }
};

// Written, it closes the connection.
inline const char* const kHangUp = "hang up";
// Writes raw bytes to the client; false when it is gone. Empty ones only ask whether it is.
using Writer = std::function<bool(const std::string&)>;
using Handler = std::function<void(const Received&, const Writer&)>;

class FakeWorker {
 public:
  explicit FakeWorker(Handler handler);
  // Answers every request with this.
  explicit FakeWorker(const std::string& body, int status = 200);
  ~FakeWorker();
  FakeWorker(const FakeWorker&) = delete;
  FakeWorker& operator=(const FakeWorker&) = delete;

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::vector<Received> received() const;
  size_t calls() const { return received().size(); }
  // False after ten seconds.
  bool WaitForCalls(size_t n) const;
  // How many clients have left before their answer was complete.
  int left() const { return left_.load(); }
  bool WaitForLeft(int n) const;
  // Connections accepted so far.
  int accepted() const { return accepted_.load(); }

 private:
  void Accept();
  void Serve(int fd);

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> left_{0};
  std::atomic<int> accepted_{0};
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<Received> received_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread accepter_;
};

// Whether it becomes true within ten seconds.
bool Eventually(const std::function<bool()>& what);

// A whole answer with a Content-Length.
std::string Answer(const std::string& body, int status = 200,
                   const std::string& type = "application/json");
// The head of an event stream, chunked; one chunk; the end.
std::string StreamHead();
std::string Chunk(const std::string& data);
inline std::string LastChunk() { return "0\r\n\r\n"; }

struct Response {
  int status = 0;  // 0: the connection broke before a head
  std::multimap<std::string, std::string> headers;
  std::string body;  // freed from chunks
  bool complete = false;
  std::string header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? "" : it->second;
  }
};

class Client {
 public:
  explicit Client(int port);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  bool Send(const std::string& bytes) const;
  // Waits for one whole answer, ten seconds at most.
  Response Read(bool head_only = false);
  // Bytes until `text` was seen; what was read so far.
  std::string ReadUntil(const std::string& text);
  int fd() const { return fd_; }
  // The peer closed within ten seconds.
  bool Closed();
  void Close();

 private:
  bool More();
  int fd_;
  std::string in_;
};

// A request with a body, to a fresh connection.
Response Post(int port, const std::string& target, const std::string& body,
              const std::vector<std::pair<std::string, std::string>>& headers = {});
Response Get(int port, const std::string& target, const std::string& method = "GET");
std::string PostText(const std::string& target, const std::string& body,
                     const std::vector<std::pair<std::string, std::string>>& headers = {});

}  // namespace sidecar::test
