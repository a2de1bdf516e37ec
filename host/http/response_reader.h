// An incremental HTTP/1.1 response parser that works in the receive buffer.
//
// The caller appends received bytes to one buffer and calls Advance; the body ends up contiguous
// behind the head, chunk framing removed in place, so nothing is copied twice. Strict where
// leniency has let servers and clients disagree about lengths: conflicting lengths, unknown
// transfer codings, folded headers and odd chunk sizes are errors.
//
// Threads: one at a time. No allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace epp::http {

class ResponseReader {
 public:
  enum class Result { kNeedMore, kDone, kError };
  enum class Error {
    kNone,
    kMalformed,     // not an HTTP/1.x response that we accept
    kHeadTooLarge,  // status line and headers, or trailers, above the limit
    kBodyTooLarge,  // announced or received above the limit
    kEndedEarly,    // the connection ended inside the response
  };

  static constexpr size_t kMaxHeadBytes = 16 * 1024;
  static constexpr size_t kMaxLineBytes = 256;  // of a chunk size with extensions
  static constexpr size_t kMaxTrailerBytes = 4 * 1024;

  // Starts a response. `max_body_bytes` bounds the whole body; `no_body` is for answers to HEAD.
  void Reset(uint64_t max_body_bytes, bool no_body = false);

  // Parses what was appended since the last call. `data[0, *size)` holds the response from its
  // first byte; the unparsed rest may move down and *size shrink. kDone and kError are final.
  Result Advance(char* data, size_t* size);

  // The connection ended: completes a body that lasts until then, else an error.
  Result Finish();

  // Frees the room of the body received so far, for callers that consume it in pieces; the head
  // stays. Call between Advance calls.
  void DropBody(char* data, size_t* size);

  Error error() const { return error_; }
  bool head_complete() const { return phase_ > Phase::kHeaders; }
  // The rest is valid once the head is complete.
  int status() const { return status_; }
  // Whether the connection can carry another exchange; false until done.
  bool keep_alive() const { return phase_ == Phase::kDone && keep_alive_; }
  // Body bytes still to come, where the length is known, else 0.
  uint64_t remaining() const { return phase_ == Phase::kFixed ? remaining_ : 0; }
  std::string_view body(const char* data) const { return {data + head_bytes_, body_bytes_}; }
  // First header of that name (any case), trimmed; empty when absent.
  std::string_view Header(const char* data, std::string_view name) const;

 private:
  enum class Phase {
    kStatusLine,
    kHeaders,
    kFixed,
    kChunkSize,
    kChunkData,
    kChunkEnd,
    kTrailers,
    kUntilClose,
    kDone,
    kFailed,
  };

  Result Fail(Error error);
  Result Done();
  // The next line from next_, without its end; false when it is not complete yet.
  bool TakeLine(const char* data, size_t size, std::string_view* line);
  bool ParseStatusLine(std::string_view line);
  bool ParseHeader(std::string_view line);
  bool ParseChunkSize(std::string_view line);
  // Decides from the headers how the body is delimited.
  Result EndHead(char* data, size_t* size);
  // Takes up to `limit` body bytes from next_ and packs them behind the body.
  uint64_t TakeBody(char* data, size_t size, uint64_t limit);
  // Moves unparsed bytes down to the end of the body.
  void Pack(char* data, size_t* size);

  Phase phase_ = Phase::kStatusLine;
  Error error_ = Error::kNone;
  bool no_body_ = false;
  bool http10_ = false;
  bool keep_alive_ = false;
  bool chunked_ = false;
  bool has_length_ = false;
  int status_ = 0;
  size_t next_ = 0;        // first unparsed byte
  size_t scanned_ = 0;     // no line end before this
  size_t head_bytes_ = 0;  // including the empty line; the body starts here
  size_t body_bytes_ = 0;  // in the buffer
  size_t trailer_bytes_ = 0;
  uint64_t body_total_ = 0;  // received, dropped parts included
  uint64_t remaining_ = 0;   // of the body or of the chunk
  uint64_t max_body_bytes_ = 0;
};

}  // namespace epp::http
