#include "host/extproc/stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "host/extproc/ext_proc.pb.h"
#include "host/extproc/message_codec.h"
#include "host/extproc/text.h"
#include "host/extproc/utf8.h"

namespace epp::extproc {
namespace {

// A claimed length reserves at most this much; the rest must really come.
constexpr size_t kMaxReserveBytes = size_t{1} << 20;

}  // namespace

void PieceCutter::Start(std::span<const std::string_view> body, bool end_of_stream,
                        bool at_least_one) {
  body_ = body;
  offset_ = 0;
  bytes_left_ = 0;
  for (std::string_view piece : body) bytes_left_ += piece.size();
  pieces_left_ = (bytes_left_ + kMaxPieceBytes - 1) / kMaxPieceBytes;
  if (pieces_left_ == 0 && at_least_one) pieces_left_ = 1;
  end_of_stream_ = end_of_stream;
}

bool PieceCutter::TakeOnly(std::string* body, std::string* out) {
  const bool whole = body_.size() == 1 && offset_ == 0 && last() &&
                     body_.front().data() == body->data() && body_.front().size() == body->size();
  if (!whole) return Take(out);
  *out = std::move(*body);
  bytes_left_ = 0;
  pieces_left_ = 0;
  return end_of_stream_;
}

bool PieceCutter::Take(std::string* out) {
  size_t want = std::min(bytes_left_, kMaxPieceBytes);
  bytes_left_ -= want;
  --pieces_left_;
  out->clear();
  out->reserve(want);
  while (want > 0) {
    const std::string_view part = body_.front().substr(offset_, want);
    out->append(part);
    want -= part.size();
    offset_ += part.size();
    if (offset_ == body_.front().size()) {
      body_ = body_.subspan(1);
      offset_ = 0;
    }
  }
  return pieces_left_ == 0 && end_of_stream_;
}

Stream::Stream(request::ExchangeFactory& factory, StreamScratch& scratch, StreamOptions options,
               std::shared_ptr<request::Waker> waker)
    : factory_(factory),
      scratch_(scratch),
      options_(options),
      max_body_bytes_(factory.max_body_bytes()),
      waker_(std::move(waker)),
      request_body_mode_(pb::ProcessingMode::FULL_DUPLEX_STREAMED) {}

Stream::~Stream() { End(request::StreamEnd::kCancelled); }

void Stream::End(request::StreamEnd how) {
  if (exchange_ != nullptr) {
    exchange_->OnStreamEnd(how);
    exchange_.reset();
  }
  scratch_.buffers.Give(std::move(request_body_));
  scratch_.buffers.Give(std::move(response_body_));
  state_ = State::kFinished;
}

// ---- Input

void Stream::OnMessage(pb::ProcessingRequest& message) {
  const pb::Metadata& metadata = message.metadata_context();
  switch (message.request_case()) {
    case pb::ProcessingRequest::kRequestHeaders:
      if (message.has_protocol_config()) {
        request_body_mode_ = message.protocol_config().request_body_mode();
      }
      return OnRequestHeaders(message.request_headers(), metadata);
    case pb::ProcessingRequest::kRequestBody:
      return OnRequestBody(message.request_body(), metadata);
    case pb::ProcessingRequest::kRequestTrailers:
      return OnRequestTrailers(metadata);
    case pb::ProcessingRequest::kResponseHeaders:
      return OnResponseHeaders(message.response_headers(), metadata);
    case pb::ProcessingRequest::kResponseBody:
      return OnResponseBody(*message.mutable_response_body());
    case pb::ProcessingRequest::kResponseTrailers:
      return OnResponseTrailers();
    case pb::ProcessingRequest::REQUEST_NOT_SET:
      return;  // a kind of message from a later protocol version
  }
}

void Stream::OnHalfClose() { Finish(absl::OkStatus()); }

void Stream::OnRequestHeaders(const pb::HttpHeaders& headers, const pb::Metadata& metadata) {
  if (phase_ != Phase::kRequestHeaders) return Unexpected("request_headers");
  exchange_ = factory_.NewExchange(options_.worker, waker_);
  const MetadataView view(metadata);
  const bool end = headers.end_of_stream();
  request::RequestVerdict verdict =
      exchange_->OnRequestHeaders(ReadHeaders(headers.headers()), view, end);
  phase_ = end ? Phase::kVerdict : Phase::kRequestBody;
  has_request_body_ = !end;
  const bool refused = verdict.kind == request::RequestVerdict::Kind::kImmediate ||
                       verdict.kind == request::RequestVerdict::Kind::kFail;
  if (end || refused) ApplyVerdict(std::move(verdict));
}

void Stream::OnRequestBody(const pb::HttpBody& body, const pb::Metadata& metadata) {
  if (phase_ == Phase::kRequestHeaders) return Unexpected("request_body");
  if (phase_ != Phase::kRequestBody) return;  // some proxies repeat the end of a large body

  const uint64_t total = request_body_.size() + body.body().size();
  if (max_body_bytes_ != 0 && total > max_body_bytes_) {
    return Reply({.http_status = pb::PayloadTooLarge,
                  .body = absl::StrCat("inference error: PayloadTooLarge - request body is ", total,
                                       " bytes or more, want at most ", max_body_bytes_),
                  .headers = {}});
  }
  if (request_body_.capacity() == 0) {
    request_body_ = scratch_.buffers.Take();
    if (!body.end_of_stream() && !request_body_.Reserve(content_length_)) content_length_ = 0;
  }
  if (!request_body_.Append(body.body())) {
    return Finish(absl::ResourceExhaustedError(
        absl::StrCat("ext-proc stream: no memory for a request body of ", total, " bytes")));
  }
  if (body.end_of_stream()) CompleteRequest(metadata);
}

void Stream::OnRequestTrailers(const pb::Metadata& metadata) {
  if (phase_ == Phase::kRequestHeaders || request_trailers_) return Unexpected("request_trailers");
  request_trailers_ = true;
  if (phase_ == Phase::kRequestBody) {
    answer_trailers_ = true;
    return CompleteRequest(metadata);
  }
  Write(Output::kRequestTrailers);
}

void Stream::CompleteRequest(const pb::Metadata& metadata) {
  phase_ = Phase::kVerdict;
  request::Body body;
  if (!request_body_.Seal(&body)) {
    return Finish(absl::ResourceExhaustedError("ext-proc stream: no memory for a request body"));
  }
  ApplyVerdict(exchange_->OnRequestBody(body, MetadataView(metadata)));
}

void Stream::OnResponseHeaders(const pb::HttpHeaders& headers, const pb::Metadata& metadata) {
  if (phase_ != Phase::kResponseHeaders) return Unexpected("response_headers");
  const bool end = headers.end_of_stream();
  response_headers_ =
      exchange_->OnResponseHeaders(ReadHeaders(headers.headers()), MetadataView(metadata), end);
  stream_response_body_ = response_headers_.stream_body;
  phase_ = end ? Phase::kResponseDone : Phase::kResponseBody;
  Write(Output::kResponseHeaders);
}

void Stream::OnResponseBody(pb::HttpBody& body) {
  if (phase_ == Phase::kResponseDone) return;  // as for requests
  if (phase_ != Phase::kResponseBody) return Unexpected("response_body");
  const bool end = body.end_of_stream();
  if (end) phase_ = Phase::kResponseDone;

  if (!wants_response_body_ || stream_response_body_) {
    chunk_ = std::move(*body.mutable_body());
    if (wants_response_body_) {
      PassResponseBody(chunk_, end, end);
    } else {
      StartResponsePieces(chunk_, end, /*at_least_one=*/true);
    }
    return Write(Output::kResponseBody);
  }

  if (response_body_.capacity() == 0) response_body_ = scratch_.buffers.Take();
  if (!response_body_.Append(body.body())) {
    return Finish(absl::ResourceExhaustedError(
        absl::StrCat("ext-proc stream: no memory for a response body of ",
                     response_body_.size() + body.body().size(), " bytes")));
  }
  if (!end) return;
  PassResponseBody(response_body_.view(), /*exchange_end=*/true, /*end_of_stream=*/true);
  Write(Output::kResponseBody);
}

void Stream::OnResponseTrailers() {
  const bool in_order = phase_ == Phase::kResponseBody || phase_ == Phase::kResponseDone;
  if (!in_order || response_trailers_) return Unexpected("response_trailers");
  response_trailers_ = true;
  if (phase_ == Phase::kResponseBody && wants_response_body_) {
    answer_trailers_ = true;
    PassResponseBody(response_body_.view(), /*exchange_end=*/true, /*end_of_stream=*/false);
  }
  phase_ = Phase::kResponseDone;
  Write(pieces_.done() ? Output::kResponseTrailers : Output::kResponseBody);
}

void Stream::PassResponseBody(std::string_view bytes, bool exchange_end, bool end_of_stream) {
  request::ResponseBodyVerdict verdict = exchange_->OnResponseBody(bytes, exchange_end);
  final_metadata_ = std::move(verdict.metadata);
  // Trailers carry the end of the stream, and need no piece before them.
  StartResponsePieces(verdict.replacement.value_or(bytes), end_of_stream, !answer_trailers_);
}

void Stream::StartResponsePieces(std::string_view bytes, bool end_of_stream, bool at_least_one) {
  response_view_ = bytes;
  pieces_.Start({&response_view_, 1}, end_of_stream, at_least_one);
}

// ---- Verdicts

void Stream::ApplyVerdict(request::RequestVerdict verdict) {
  switch (verdict.kind) {
    case request::RequestVerdict::Kind::kPending:
      state_ = State::kWaiting;
      return;
    case request::RequestVerdict::Kind::kForward:
      phase_ = Phase::kResponseHeaders;
      verdict_ = std::move(verdict);
      wants_response_body_ = verdict_.wants_response_body;
      if (has_request_body_) {
        pieces_.Start(verdict_.body, !answer_trailers_, /*at_least_one=*/!answer_trailers_);
      }
      return Write(Output::kRequestHeaders);
    case request::RequestVerdict::Kind::kImmediate:
      return Reply(std::move(verdict.immediate));
    case request::RequestVerdict::Kind::kFail:
      if (verdict.failure.ok()) verdict.failure = absl::UnknownError("request failed");
      return Finish(std::move(verdict.failure));
  }
}

void Stream::OnWake() {
  if (state_ == State::kFinished || exchange_ == nullptr) return;
  if (state_ == State::kWaiting) return ApplyVerdict(exchange_->TakeVerdict());
  if (phase_ != Phase::kResponseHeaders && phase_ != Phase::kResponseBody) return;
  // The views being written are valid only until the next call on the exchange.
  if (state_ == State::kWriting) {
    wake_pending_ = true;
  } else {
    Evict();
  }
}

void Stream::Evict() {
  request::RequestVerdict verdict = exchange_->TakeVerdict();
  const bool ends = verdict.kind == request::RequestVerdict::Kind::kImmediate ||
                    verdict.kind == request::RequestVerdict::Kind::kFail;
  if (ends) ApplyVerdict(std::move(verdict));
}

// ---- Output

void Stream::Write(Output first) {
  output_ = first;
  state_ = State::kWriting;
}

void Stream::Reply(request::ImmediateReply reply) {
  verdict_.immediate = std::move(reply);
  Write(Output::kImmediate);
}

void Stream::Finish(absl::Status status) {
  status_ = std::move(status);
  state_ = State::kFinished;
}

void Stream::Next(pb::ProcessingResponse* out) {
  const Output sent = output_;
  switch (sent) {
    case Output::kRequestHeaders:
      FillRequestHeaders(out);
      break;
    case Output::kRequestBody:
      FillBody(out->mutable_request_body(), nullptr);
      break;
    case Output::kRequestTrailers:
      out->mutable_request_trailers();
      answer_trailers_ = false;
      break;
    case Output::kResponseHeaders:
      FillResponseHeaders(out);
      break;
    case Output::kResponseBody:
      if (pieces_.last()) AttachMetadata(out);
      FillBody(out->mutable_response_body(), &chunk_);
      break;
    case Output::kResponseTrailers:
      out->mutable_response_trailers();
      AttachMetadata(out);
      answer_trailers_ = false;
      break;
    case Output::kImmediate:
      FillImmediate(out);
      return Finish(absl::OkStatus());
    case Output::kNone:
      break;
  }
  output_ = After(sent);
  if (output_ != Output::kNone) return;
  state_ = State::kReading;
  if (sent == Output::kRequestHeaders || sent == Output::kRequestBody ||
      sent == Output::kRequestTrailers) {
    exchange_->OnRequestSent();
    verdict_ = {};
    scratch_.buffers.Give(std::move(request_body_));
  }
  if (!std::exchange(wake_pending_, false)) return;
  if (phase_ == Phase::kResponseHeaders || phase_ == Phase::kResponseBody) Evict();
}

Stream::Output Stream::After(Output sent) const {
  switch (sent) {
    case Output::kRequestHeaders:
    case Output::kRequestBody:
      if (!pieces_.done()) return Output::kRequestBody;
      return answer_trailers_ ? Output::kRequestTrailers : Output::kNone;
    case Output::kResponseBody:
      if (!pieces_.done()) return Output::kResponseBody;
      return answer_trailers_ ? Output::kResponseTrailers : Output::kNone;
    default:
      return Output::kNone;
  }
}

void Stream::FillRequestHeaders(pb::ProcessingResponse* out) {
  pb::CommonResponse* response = out->mutable_request_headers()->mutable_response();
  response->set_clear_route_cache(true);
  WriteMutation(verdict_.headers, response);
  if (!verdict_.metadata.empty()) {
    WriteMetadata(verdict_.metadata, out->mutable_dynamic_metadata());
  }
  if (!options_.mode_override || wants_response_body_) return;
  // An override replaces the whole mode, so the request side is repeated as it is.
  pb::ProcessingMode* mode = out->mutable_mode_override();
  mode->set_request_header_mode(pb::ProcessingMode::SEND);
  mode->set_request_body_mode(static_cast<pb::ProcessingMode::BodySendMode>(request_body_mode_));
  mode->set_request_trailer_mode(pb::ProcessingMode::SEND);
  mode->set_response_header_mode(pb::ProcessingMode::SEND);
  mode->set_response_body_mode(pb::ProcessingMode::NONE);
  mode->set_response_trailer_mode(pb::ProcessingMode::SKIP);
}

void Stream::FillResponseHeaders(pb::ProcessingResponse* out) {
  WriteMutation(response_headers_.headers, out->mutable_response_headers()->mutable_response());
  if (!response_headers_.metadata.empty()) {
    WriteMetadata(response_headers_.metadata, out->mutable_dynamic_metadata());
  }
}

void Stream::FillImmediate(pb::ProcessingResponse* out) {
  request::ImmediateReply& reply = verdict_.immediate;
  pb::ImmediateResponse* response = out->mutable_immediate_response();
  response->mutable_status()->set_code(static_cast<pb::StatusCode>(reply.http_status));
  // Some proxies declare the field as a string and refuse what is not UTF-8.
  response->set_body(SanitizeUtf8(std::move(reply.body)));
  if (!reply.headers.empty()) WriteHeaders(reply.headers, response->mutable_headers());
}

void Stream::FillBody(pb::BodyResponse* out, std::string* whole) {
  pb::StreamedBodyResponse* piece =
      out->mutable_response()->mutable_body_mutation()->mutable_streamed_response();
  std::string* bytes = piece->mutable_body();
  piece->set_end_of_stream(whole == nullptr ? pieces_.Take(bytes) : pieces_.TakeOnly(whole, bytes));
}

void Stream::AttachMetadata(pb::ProcessingResponse* out) {
  if (final_metadata_.empty()) return;
  WriteMetadata(final_metadata_, out->mutable_dynamic_metadata());
  final_metadata_.clear();
}

// ---- Helpers

std::span<const request::Header> Stream::ReadHeaders(const pb::HeaderMap& map) {
  std::vector<request::Header>& headers = scratch_.headers;
  headers.clear();
  headers.reserve(static_cast<size_t>(map.headers_size()));
  for (const pb::HeaderValue& header : map.headers()) {
    const std::string& value = header.raw_value().empty() ? header.value() : header.raw_value();
    headers.push_back({header.key(), value});
    uint64_t length;
    if (phase_ == Phase::kRequestHeaders &&
        absl::EqualsIgnoreCase(header.key(), "content-length") &&
        absl::SimpleAtoi(value, &length)) {
      content_length_ = static_cast<size_t>(std::min<uint64_t>(length, kMaxReserveBytes));
    }
  }
  return headers;
}

void Stream::Unexpected(std::string_view got) {
  std::string_view want;
  switch (phase_) {
    case Phase::kRequestHeaders:
      want = "request_headers";
      break;
    case Phase::kRequestBody:
      want = "request_body or request_trailers";
      break;
    case Phase::kVerdict:
      want = "nothing before the request is answered";
      break;
    case Phase::kResponseHeaders:
      want = "response_headers";
      break;
    case Phase::kResponseBody:
      want = "response_body or response_trailers";
      break;
    case Phase::kResponseDone:
      want = response_trailers_ ? "the end of the stream"
                                : "response_trailers or the end of the stream";
      break;
  }
  Finish(absl::InvalidArgumentError(
      absl::StrCat("ext-proc stream: got ", Text(got), ", want ", Text(want))));
}

}  // namespace epp::extproc
