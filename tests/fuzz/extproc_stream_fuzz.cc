// Feeds arbitrary sequences of ProcessingRequests, wake-ups and ends to the ext-proc stream
// machine, with an exchange that answers in every way it may.
//
// Input: what FuzzedDataProvider reads: which message comes next (well-formed, or parsed from bytes
// of the input), and what the exchange answers.

#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/extproc/ext_proc.pb.h"
#include "host/extproc/stream.h"
#include "host/extproc/utf8.h"

namespace epp::extproc {
namespace {

using request::RequestVerdict;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

class FuzzExchange final : public request::Exchange {
 public:
  FuzzExchange(FuzzedDataProvider& choices, int& alive) : choices_(choices), alive_(alive) {
    ++alive_;
  }
  ~FuzzExchange() override {
    Check(ended_, "an exchange is told of the end before it is destroyed");
    --alive_;
  }

  RequestVerdict OnRequestHeaders(std::span<const request::Header> headers,
                                  const request::Metadata& metadata, bool end) override {
    Called();
    Check(!headers_seen_, "request headers once");
    headers_seen_ = true;
    Touch(headers, metadata);
    return end ? Verdict() : (choices_.ConsumeBool() ? RequestVerdict() : Verdict());
  }

  RequestVerdict OnRequestBody(request::Body body, const request::Metadata& metadata) override {
    Called();
    Check(!body_seen_, "request body once");
    body_seen_ = true;
    Touch({}, metadata);
    for (size_t i = 0; i < request::Body::kPadding; ++i) {
      Check(body.data[body.size + i] == 0, "padding is zero");
    }
    body_ = body;
    return Verdict();
  }

  RequestVerdict TakeVerdict() override {
    Called();
    return Verdict();
  }

  request::ResponseHeadersVerdict OnResponseHeaders(std::span<const request::Header> headers,
                                                    const request::Metadata& metadata,
                                                    bool) override {
    Called();
    Touch(headers, metadata);
    request::ResponseHeadersVerdict verdict;
    verdict.stream_body = choices_.ConsumeBool();
    if (choices_.ConsumeBool()) verdict.headers.set.push_back({Text(), Text()});
    return verdict;
  }

  request::ResponseBodyVerdict OnResponseBody(std::string_view chunk, bool end) override {
    Called();
    Check(!response_ended_, "nothing after the end of the response");
    response_ended_ = end;
    request::ResponseBodyVerdict verdict;
    switch (choices_.ConsumeIntegralInRange(0, 2)) {
      case 0:
        break;
      case 1:
        replacement_ = std::string(chunk) + Text();
        verdict.replacement = replacement_;
        break;
      default:
        replacement_.assign(choices_.ConsumeIntegralInRange<size_t>(0, 200000), 'r');
        verdict.replacement = replacement_;
        break;
    }
    if (end && choices_.ConsumeBool()) verdict.metadata.push_back({Text(), Text(), 1.0});
    return verdict;
  }

  void OnStreamEnd(request::StreamEnd) override {
    Called();
    ended_ = true;
  }

 private:
  void Called() { Check(!ended_, "nothing after the end"); }

  std::string Text() { return choices_.ConsumeRandomLengthString(16); }

  void Touch(std::span<const request::Header> headers, const request::Metadata& metadata) {
    size_t sum = 0;
    for (const request::Header& header : headers) sum += header.name.size() + header.value.size();
    std::vector<std::string_view> list;
    if (metadata.List("envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset", &list)) {
      sum += list.size();
    }
    sum += metadata.String("envoy.lb", "served").value_or("").size();
    Check(sum < (size_t{1} << 40), "views are sane");
  }

  RequestVerdict Verdict() {
    RequestVerdict verdict;
    verdict.kind = static_cast<RequestVerdict::Kind>(choices_.ConsumeIntegralInRange(0, 3));
    verdict.wants_response_body = choices_.ConsumeBool();
    verdict.immediate.http_status = choices_.ConsumeIntegralInRange(0, 599);
    verdict.immediate.body = Text();
    if (choices_.ConsumeBool()) verdict.failure = absl::InternalError("failure");
    if (choices_.ConsumeBool()) verdict.headers.set.push_back({Text(), Text()});
    if (choices_.ConsumeBool()) verdict.headers.remove.push_back(Text());
    if (choices_.ConsumeBool()) verdict.metadata.push_back({Text(), Text(), Text()});
    // The body in two views, with something between them.
    const std::string_view body = body_.view();
    const size_t cut = body.empty() ? 0 : choices_.ConsumeIntegralInRange<size_t>(0, body.size());
    verdict.body = {body.substr(0, cut), "spliced", body.substr(cut)};
    return verdict;
  }

  FuzzedDataProvider& choices_;
  int& alive_;
  request::Body body_;
  std::string replacement_;
  bool headers_seen_ = false;
  bool body_seen_ = false;
  bool response_ended_ = false;
  bool ended_ = false;
};

class FuzzFactory final : public request::ExchangeFactory {
 public:
  explicit FuzzFactory(FuzzedDataProvider& choices)
      : choices_(choices), limit_(choices.ConsumeBool() ? 100 : 0) {}
  std::unique_ptr<request::Exchange> NewExchange(uint32_t,
                                                 std::shared_ptr<request::Waker>) override {
    return std::make_unique<FuzzExchange>(choices_, alive);
  }
  uint64_t max_body_bytes() const override { return limit_; }

  int alive = 0;

 private:
  FuzzedDataProvider& choices_;
  const uint64_t limit_;
};

void CheckPiece(const pb::BodyResponse& response) {
  Check(response.response().body_mutation().has_streamed_response(), "bodies are streamed");
  Check(response.response().body_mutation().streamed_response().body().size() <= kMaxPieceBytes,
        "pieces are small enough");
}

void CheckResponse(const pb::ProcessingResponse& response) {
  Check(response.response_case() != pb::ProcessingResponse::RESPONSE_NOT_SET,
        "responses say something");
  if (response.has_request_body()) CheckPiece(response.request_body());
  if (response.has_response_body()) CheckPiece(response.response_body());
  if (response.has_immediate_response()) {
    const std::string& body = response.immediate_response().body();
    Check(ValidUtf8Prefix(body) == body.size(), "immediate bodies are UTF-8");
  }
  pb::ProcessingResponse again;
  Check(again.ParseFromString(response.SerializeAsString()), "a response can be read");
}

pb::ProcessingRequest MakeMessage(FuzzedDataProvider& input) {
  pb::ProcessingRequest message;
  const int kind = input.ConsumeIntegralInRange(0, 6);
  const bool end = input.ConsumeBool();
  std::string bytes = input.ConsumeRandomLengthString(input.ConsumeIntegralInRange(0, 300));
  if (kind != 0 && input.ConsumeIntegralInRange(0, 15) == 0) bytes.resize(70000, 'b');
  switch (kind) {
    case 0:
      (void)message.ParseFromString(bytes);
      break;
    case 1: {
      auto* headers = message.mutable_request_headers();
      headers->set_end_of_stream(end);
      auto* header = headers->mutable_headers()->add_headers();
      header->set_key("content-length");
      header->set_raw_value(bytes);
      break;
    }
    case 2:
      message.mutable_request_body()->set_body(std::move(bytes));
      message.mutable_request_body()->set_end_of_stream(end);
      break;
    case 3:
      message.mutable_request_trailers();
      break;
    case 4:
      message.mutable_response_headers()->set_end_of_stream(end);
      break;
    case 5:
      message.mutable_response_body()->set_body(std::move(bytes));
      message.mutable_response_body()->set_end_of_stream(end);
      break;
    default:
      message.mutable_response_trailers();
      break;
  }
  return message;
}

void RunOne(FuzzedDataProvider& input) {
  FuzzFactory factory(input);
  StreamScratch scratch;
  {
    Stream stream(factory, scratch, {.worker = 0, .mode_override = input.ConsumeBool()}, nullptr);
    while (input.remaining_bytes() > 0 && stream.state() != Stream::State::kFinished) {
      if (input.ConsumeIntegralInRange(0, 7) == 0) stream.OnWake();
      switch (stream.state()) {
        case Stream::State::kReading:
          if (input.ConsumeIntegralInRange(0, 31) == 0) {
            stream.OnHalfClose();
          } else {
            pb::ProcessingRequest message = MakeMessage(input);
            stream.OnMessage(message);
          }
          break;
        case Stream::State::kWriting: {
          pb::ProcessingResponse response;
          stream.Next(&response);
          CheckResponse(response);
          break;
        }
        case Stream::State::kWaiting:
          if (input.ConsumeBool()) stream.End(request::StreamEnd::kCancelled);
          break;
        case Stream::State::kFinished:
          break;
      }
    }
  }
  Check(factory.alive == 0, "exchanges go with their stream");
}

}  // namespace
}  // namespace epp::extproc

// Complaints of the protobuf library about text that is not UTF-8 would drown everything else.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  epp::extproc::RunOne(input);
  return 0;
}
