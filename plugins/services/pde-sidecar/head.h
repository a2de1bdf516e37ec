// Heads of HTTP/1.1 messages, read strictly: what two readers could frame differently is refused.
//
// Refused are: a bare CR or LF, obsolete line folding, white space before a colon, a
// Transfer-Encoding together with a Content-Length, any transfer coding but a single "chunked",
// several or malformed Content-Lengths, control characters, a missing or repeated Host.
//
// Threads: none. Nothing here does I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sidecar {

struct Header {
  std::string name;  // as received
  std::string value;
};

bool SameName(std::string_view a, std::string_view b);

class Headers {
 public:
  const std::vector<Header>& all() const { return all_; }
  // The first value, or nothing.
  std::optional<std::string_view> Get(std::string_view name) const;
  std::vector<std::string> GetAll(std::string_view name) const;
  void Add(std::string_view name, std::string_view value);
  void Set(std::string_view name, std::string_view value);
  void Remove(std::string_view name);
  // Removes what concerns one hop only: Connection and what it names, Keep-Alive, TE, Upgrade...
  void DropHopByHop();
  // The lines "Name: value\r\n".
  void AppendTo(std::string& out) const;

 private:
  std::vector<Header> all_;
};

// How the body is delimited.
struct Framing {
  enum class Kind : uint8_t { kNone, kLength, kChunked, kUntilClose };
  Kind kind = Kind::kNone;
  uint64_t length = 0;
};

struct RequestHead {
  std::string method;
  std::string target;  // as received
  std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
  Headers headers;
  Framing framing;
  bool http_1_0 = false;
  bool keep_alive = true;
  bool expects_continue = false;
};

struct ResponseHead {
  int status = 0;
  std::string reason;
  Headers headers;
  Framing framing;
  bool keep_alive = true;
  bool ok() const { return status >= 200 && status < 300; }
};

// The size of the head at the beginning of `bytes`, its blank line included; 0 when more is needed.
// `scanned` is where the last search ended, 0 at first.
size_t HeadSize(std::string_view bytes, size_t& scanned);

// Null, or what is wrong with it.
const char* ParseRequest(std::string_view head, RequestHead* out);
const char* ParseResponse(std::string_view head, std::string_view method, ResponseHead* out);

}  // namespace sidecar
