// A blocking HTTP/1.1 client for tests: one connection to 127.0.0.1, byte by byte if need be.
//
// Every wait has a deadline of 30 seconds, after which the connection counts as broken. Threads:
// one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace epp::sim {

struct HttpReply {
  int status = 0;                                            // 0: no answer
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;                                          // so far, decoded
  bool complete = false;  // the body ended as its length or chunks promised

  [[nodiscard]] std::string_view Header(std::string_view lower_case_name) const;
};

class HttpClient {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  // Connects; connected() tells whether that worked.
  explicit HttpClient(uint16_t port);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  [[nodiscard]] bool connected() const { return fd_ >= 0; }

  // Sends a request; a body gets its content-length. False when the connection is broken.
  bool Send(std::string_view method, std::string_view path, std::string_view body = {},
            const Headers& headers = {});
  bool SendRaw(std::string_view bytes);

  // Reads the next answer's head. status is 0 when the connection ended first.
  [[nodiscard]] HttpReply ReadHead();
  // Appends at least one more byte of body; false at its end, or when the connection is broken.
  bool ReadMore(HttpReply* reply);
  // Reads until the body contains `text`; false when it ended without.
  bool ReadUntil(HttpReply* reply, std::string_view text);
  // Head and whole body.
  [[nodiscard]] HttpReply ReadReply();
  // Waits until the peer closes; false at the deadline or when it sends something.
  bool WaitForClose();
  void Close();

 private:
  bool Fill();  // at least one more byte in buffer_
  bool ReadLine(std::string* line);
  bool Take(size_t bytes, HttpReply* reply);

  int fd_ = -1;
  std::string buffer_;
  enum class Framing { kNone, kLength, kChunked, kUntilClose } framing_ = Framing::kNone;
  size_t left_ = 0;  // of the body, or of the current chunk
};

// One request on a connection of its own.
[[nodiscard]] HttpReply Fetch(uint16_t port, std::string_view method, std::string_view path,
                              std::string_view body = {}, const HttpClient::Headers& headers = {});

}  // namespace epp::sim
