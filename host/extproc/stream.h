// One ext-proc stream as a state machine: decoded messages in, responses out, in order.
//
// The machine does not know who carries the messages. A transport drives it:
//
//   kReading   read a message, call OnMessage, or OnHalfClose when the proxy closed its side
//   kWriting   call Next and send what it filled in, until the state changes
//   kWaiting   the verdict is pending: call OnWake after the waker was called
//   kFinished  end the stream with status(), then End
//
// Responses are made one at a time, when they can be sent: a body that is forwarded is never held a
// second time, and nothing queues. A stream that fails (kFinished with an error) names what came
// and what was expected.
//
// Body modes: FULL_DUPLEX_STREAMED in both directions. Deliberate differences from other endpoint
// pickers: request trailers end the body and are answered; request body messages after the end of
// the body are ignored; a response that ends with its headers, and metadata that arises at response
// trailers, are not lost; an empty body piece is never put before trailers.
//
// Threads: one at a time; Cost: no allocation per header beyond the message's own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "host/extproc/body_buffer.h"
#include "host/request/exchange.h"

namespace google::protobuf {
class Struct;
}  // namespace google::protobuf

namespace envoy::service::ext_proc::v3 {
class BodyResponse;
class HeaderMap;
class HttpBody;
class HttpHeaders;
class Metadata;
class ProcessingRequest;
class ProcessingResponse;
}  // namespace envoy::service::ext_proc::v3

namespace epp::extproc {

namespace pb = ::envoy::service::ext_proc::v3;

// Largest piece of a body in one response.
inline constexpr size_t kMaxPieceBytes = 62000;

// What one worker lends to its streams; not thread-safe, outlives them.
struct StreamScratch {
  BufferPool buffers{64, size_t{4} << 20, size_t{64} << 20};
  std::vector<request::Header> headers;
};

struct StreamOptions {
  uint32_t worker = 0;
  // Ask the proxy, on the request-headers response, not to send response bodies and trailers that
  // nothing wants. A proxy may ignore it; such bodies are returned unchanged.
  bool mode_override = false;
};

// Cuts a body, given as pieces of any size, into pieces of at most kMaxPieceBytes. The views are
// borrowed until the last piece is taken.
class PieceCutter {
 public:
  // `end_of_stream` marks the last piece; `at_least_one` makes one empty piece of an empty body.
  void Start(std::span<const std::string_view> body, bool end_of_stream, bool at_least_one);
  bool done() const { return pieces_left_ == 0; }
  bool last() const { return pieces_left_ == 1; }
  // Copies the next piece to `out`, and tells whether it carries the end of the stream.
  bool Take(std::string* out);
  // The same, but moves `body` when that string is the whole body and fits into one piece.
  bool TakeOnly(std::string* body, std::string* out);

 private:
  std::span<const std::string_view> body_;
  size_t offset_ = 0;  // into body_.front()
  size_t bytes_left_ = 0;
  size_t pieces_left_ = 0;
  bool end_of_stream_ = false;
};

class Stream {
 public:
  enum class State : uint8_t { kReading, kWriting, kWaiting, kFinished };

  // `factory` and `scratch` outlive the stream. The exchange is made when request headers come, and
  // is handed `waker`.
  Stream(request::ExchangeFactory& factory, StreamScratch& scratch, StreamOptions options,
         std::shared_ptr<request::Waker> waker);
  // Ends the exchange as cancelled when End was not called.
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  State state() const { return state_; }
  // With kFinished: what the stream ends with.
  const absl::Status& status() const { return status_; }
  // With kWriting: true when no further response follows the next one and the stream then ends OK,
  // so that a transport may send both together.
  bool next_is_last() const { return output_ == Output::kImmediate; }

  // With kReading. Takes strings out of `message`.
  void OnMessage(pb::ProcessingRequest& message);
  // With kReading.
  void OnHalfClose();
  // In any state, also when nothing waits; then it asks the exchange whether an answered request
  // shall be ended after all (an immediate reply: the request is evicted, or a failure).
  void OnWake();
  // With kWriting. `out` must be empty.
  void Next(pb::ProcessingResponse* out);
  // Tells the exchange, at most once, and destroys it. Nothing else may be called afterwards.
  void End(request::StreamEnd how);

 private:
  enum class Phase : uint8_t {
    kRequestHeaders,   // nothing came yet
    kRequestBody,      // collecting
    kVerdict,          // complete, not decided yet
    kResponseHeaders,  // answered
    kResponseBody,
    kResponseDone,
  };
  enum class Output : uint8_t {
    kNone,
    kRequestHeaders,
    kRequestBody,
    kRequestTrailers,
    kResponseHeaders,
    kResponseBody,
    kResponseTrailers,
    kImmediate,
  };

  void OnRequestHeaders(const pb::HttpHeaders& headers, const pb::Metadata& metadata);
  void OnRequestBody(const pb::HttpBody& body, const pb::Metadata& metadata);
  void OnRequestTrailers(const pb::Metadata& metadata);
  void OnResponseHeaders(const pb::HttpHeaders& headers, const pb::Metadata& metadata);
  void OnResponseBody(pb::HttpBody& body);
  void OnResponseTrailers();

  void CompleteRequest(const pb::Metadata& metadata);
  void ApplyVerdict(request::RequestVerdict verdict);
  // Calls the exchange with bytes of the response and readies the pieces that result.
  void PassResponseBody(std::string_view bytes, bool exchange_end, bool end_of_stream);
  void StartResponsePieces(std::string_view bytes, bool end_of_stream, bool at_least_one);
  void Evict();

  void FillRequestHeaders(pb::ProcessingResponse* out);
  void FillResponseHeaders(pb::ProcessingResponse* out);
  void FillImmediate(pb::ProcessingResponse* out);
  // `whole` is moved when it is all that there is to send; may be null.
  void FillBody(pb::BodyResponse* out, std::string* whole);
  void AttachMetadata(pb::ProcessingResponse* out);
  Output After(Output sent) const;

  std::span<const request::Header> ReadHeaders(const pb::HeaderMap& map);
  void Write(Output first);
  void Reply(request::ImmediateReply reply);
  void Finish(absl::Status status);
  void Unexpected(std::string_view got);

  request::ExchangeFactory& factory_;
  StreamScratch& scratch_;
  const StreamOptions options_;
  const uint64_t max_body_bytes_;  // 0: no limit
  std::shared_ptr<request::Waker> waker_;
  std::unique_ptr<request::Exchange> exchange_;

  State state_ = State::kReading;
  Phase phase_ = Phase::kRequestHeaders;
  Output output_ = Output::kNone;
  bool has_request_body_ = false;
  bool request_trailers_ = false;     // came
  bool answer_trailers_ = false;      // the response in work ends with a trailers response
  bool response_trailers_ = false;    // came
  bool stream_response_body_ = true;  // pass chunks on as they come
  bool wants_response_body_ = true;
  bool wake_pending_ = false;
  int request_body_mode_;  // of the proxy, as it said, for the mode override

  size_t content_length_ = 0;  // as the request headers claim; a hint only
  BodyBuffer request_body_;    // lives as long as the exchange, which may keep views into it
  BodyBuffer response_body_;   // collected
  std::string chunk_;          // the response chunk in work

  request::RequestVerdict verdict_;
  request::ResponseHeadersVerdict response_headers_;
  std::vector<request::MetadataEntry> final_metadata_;
  std::string_view response_view_;
  PieceCutter pieces_;
  absl::Status status_;
};

}  // namespace epp::extproc
