// The border between a proxy's protocol (ext-proc today) and what we do with one HTTP exchange.
//
// A stream state machine owns the protocol: order of messages, chunking, mutation encoding. An
// Exchange owns the meaning: parse, schedule, account. Neither knows the other's types, so a
// second transport needs nothing from here.
//
// Threads: all calls on one Exchange come from one thread at a time, and from the same worker
// thread for its whole life, except Waker::Wake, which any thread may call.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "host/base/waker.h"

namespace epp::request {

// One header as the proxy sent it: pseudo headers included, case as received. The value is the raw
// bytes, or the text value when the raw bytes were empty.
struct Header {
  std::string_view name;
  std::string_view value;
};

// Filter metadata of one message, read on demand. Valid only during the call that it was passed to.
class Metadata {
 public:
  virtual ~Metadata() = default;
  // True when `name_space` is a struct that has `key` and its value is a list; `out` then holds its
  // string elements (others are skipped), as views into the message.
  virtual bool List(std::string_view name_space, std::string_view key,
                    std::vector<std::string_view>* out) const = 0;
  // The string at name_space/key, or nothing.
  virtual std::optional<std::string_view> String(std::string_view name_space,
                                                 std::string_view key) const = 0;
};

// One entry of dynamic metadata that goes back to the proxy; a struct value is name -> number.
struct MetadataEntry {
  std::string name_space;
  std::string key;
  std::variant<std::string, double, std::vector<std::pair<std::string, double>>> value;
};

struct HeaderSet {
  std::string name;
  std::string value;
};

struct HeaderMutation {
  std::vector<HeaderSet> set;       // overwrite or add, in this order
  std::vector<std::string> remove;  // lower-case names
  bool empty() const { return set.empty() && remove.empty(); }
};

// Answers the client instead of forwarding. `body` must be valid UTF-8.
struct ImmediateReply {
  int http_status = 500;  // the ext-proc enum has the same numbers
  std::string body;
  std::vector<HeaderSet> headers;
};

// A request body: one contiguous, writable buffer. At least kPadding bytes behind `size` may be
// read (they are zero), so that a JSON parser works in place.
struct Body {
  static constexpr size_t kPadding = 64;
  char* data = nullptr;
  size_t size = 0;
  std::string_view view() const { return {data, size}; }
};

// What to do with the request, decided once, after its headers (bodyless) or its last body byte.
struct RequestVerdict {
  enum class Kind {
    kPending,    // not decided yet; the exchange will call its Waker
    kForward,    // forward with the mutation and the body pieces below
    kImmediate,  // answer `immediate`, end the stream with OK
    kFail,       // end the stream with `failure`
  };
  Kind kind = Kind::kPending;

  HeaderMutation headers;
  std::vector<MetadataEntry> metadata;
  // The forwarded body, as pieces in order (views into the received body and into memory of the
  // exchange, valid until the next call on it). A bodyless request leaves it empty.
  std::vector<std::string_view> body;
  // False when nothing wants response bodies: the transport may ask the proxy not to send them.
  bool wants_response_body = true;

  ImmediateReply immediate;
  absl::Status failure;
};

struct ResponseHeadersVerdict {
  HeaderMutation headers;
  std::vector<MetadataEntry> metadata;
  // True: body chunks are passed to OnResponseBody and returned one by one as they come. False: the
  // transport collects them and calls OnResponseBody once, with the whole body.
  bool stream_body = true;
};

struct ResponseBodyVerdict {
  // The bytes to send on instead of the received ones, or nothing for the received ones unchanged.
  // Valid until the next call on the exchange.
  std::optional<std::string_view> replacement;
  // Attached to the last piece of the message that ended the body.
  std::vector<MetadataEntry> metadata;
};

// Why a stream ended.
enum class StreamEnd : uint8_t {
  kHalfClosed,    // the proxy closed its side in order
  kCancelled,     // reset by the proxy: a client that left, or an exchange that was over
  kReceiveError,  // a message could not be read
  kSendError,     // a response could not be written
  kDeadline,
};

// Woken by an exchange, from any thread, when a pending verdict may be ready. The transport then
// calls TakeVerdict on the exchange's own thread. Safe to wake after the stream is gone.
using epp::Waker;

class Exchange {
 public:
  virtual ~Exchange() = default;

  // First call, once. With end_of_stream there is no body and the verdict is decided here; else the
  // verdict is kPending, without a wake-up to come, and the body follows.
  virtual RequestVerdict OnRequestHeaders(std::span<const Header> headers, const Metadata& metadata,
                                          bool end_of_stream) = 0;

  // Once, with the whole body; `metadata` is that of the message that ended it. `body` stays valid
  // and unchanged by the caller until OnRequestSent, or the end.
  virtual RequestVerdict OnRequestBody(Body body, const Metadata& metadata) = 0;

  // After a Wake: the verdict that was pending, or kPending when there is none (yet).
  virtual RequestVerdict TakeVerdict() = 0;

  // A forwarding verdict was taken over completely; comes before any call about the response. The
  // body's memory goes with this call, and a response may stay open for minutes, so the exchange
  // lets go of what it no longer needs.
  virtual void OnRequestSent() {}

  virtual ResponseHeadersVerdict OnResponseHeaders(std::span<const Header> headers,
                                                   const Metadata& metadata,
                                                   bool end_of_stream) = 0;

  // A chunk as received (stream_body), or the whole body with end_of_stream true. An empty chunk
  // with end_of_stream true ends a body whose end came in an own message or with trailers.
  virtual ResponseBodyVerdict OnResponseBody(std::string_view chunk, bool end_of_stream) = 0;

  // Last call, exactly once, however the stream ends. The exchange is destroyed after it.
  virtual void OnStreamEnd(StreamEnd how) = 0;
};

// Makes the exchanges of a server. Threads: called concurrently, each worker with its own number.
class ExchangeFactory {
 public:
  virtual ~ExchangeFactory() = default;
  // `worker` is in [0, workers). `waker` outlives the exchange.
  virtual std::unique_ptr<Exchange> NewExchange(uint32_t worker, std::shared_ptr<Waker> waker) = 0;
  // Largest accepted request body in bytes; a larger one is answered 413. 0 means no limit.
  virtual uint64_t max_body_bytes() const = 0;
};

}  // namespace epp::request
