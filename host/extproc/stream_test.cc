#include "host/extproc/stream.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/extproc/ext_proc.pb.h"
#include "host/extproc/fake_exchange.h"
#include "host/extproc/utf8.h"

namespace epp::extproc {
namespace {

using ::testing::ElementsAre;
using testing::FakeExchange;
using testing::FakeFactory;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Verdict = request::RequestVerdict;
using State = Stream::State;

class NoWaker : public request::Waker {
 public:
  void Wake() override {}
};

pb::ProcessingRequest Headers(bool end,
                              std::vector<std::pair<std::string, std::string>> headers = {}) {
  pb::ProcessingRequest message;
  message.mutable_request_headers()->set_end_of_stream(end);
  for (auto& [name, value] : headers) {
    auto* header = message.mutable_request_headers()->mutable_headers()->add_headers();
    header->set_key(name);
    header->set_raw_value(value);
  }
  return message;
}

pb::ProcessingRequest Body(std::string bytes, bool end) {
  pb::ProcessingRequest message;
  message.mutable_request_body()->set_body(std::move(bytes));
  message.mutable_request_body()->set_end_of_stream(end);
  return message;
}

pb::ProcessingRequest Trailers() {
  pb::ProcessingRequest message;
  message.mutable_request_trailers();
  return message;
}

pb::ProcessingRequest ResponseHeaders(bool end = false) {
  pb::ProcessingRequest message;
  message.mutable_response_headers()->set_end_of_stream(end);
  return message;
}

pb::ProcessingRequest ResponseBody(std::string bytes, bool end) {
  pb::ProcessingRequest message;
  message.mutable_response_body()->set_body(std::move(bytes));
  message.mutable_response_body()->set_end_of_stream(end);
  return message;
}

pb::ProcessingRequest ResponseTrailers() {
  pb::ProcessingRequest message;
  message.mutable_response_trailers();
  return message;
}

void SetMetadata(pb::ProcessingRequest* message, const std::string& key, const std::string& value) {
  auto& space = (*message->mutable_metadata_context()->mutable_filter_metadata())["test"];
  (*space.mutable_fields())[key].set_string_value(value);
}

// A short name of a response, such as "request-body 12 end".
std::string Name(const pb::ProcessingResponse& response) {
  const auto body = [](const char* name, const pb::BodyResponse& piece) {
    const auto& streamed = piece.response().body_mutation().streamed_response();
    return std::string(name) + " " + std::to_string(streamed.body().size()) +
           (streamed.end_of_stream() ? " end" : "");
  };
  switch (response.response_case()) {
    case pb::ProcessingResponse::kRequestHeaders:
      return "request-headers";
    case pb::ProcessingResponse::kResponseHeaders:
      return "response-headers";
    case pb::ProcessingResponse::kRequestBody:
      return body("request-body", response.request_body());
    case pb::ProcessingResponse::kResponseBody:
      return body("response-body", response.response_body());
    case pb::ProcessingResponse::kRequestTrailers:
      return "request-trailers";
    case pb::ProcessingResponse::kResponseTrailers:
      return "response-trailers";
    case pb::ProcessingResponse::kImmediateResponse:
      return "immediate " + std::to_string(response.immediate_response().status().code());
    case pb::ProcessingResponse::RESPONSE_NOT_SET:
      return "nothing";
  }
  return "?";
}

class StreamTest : public ::testing::Test {
 protected:
  void Open(StreamOptions options = {}) {
    stream = std::make_unique<Stream>(factory, scratch, options, std::make_shared<NoWaker>());
  }

  // Feeds one message and returns the names of the responses that it caused.
  std::vector<std::string> Feed(pb::ProcessingRequest message) {
    if (stream == nullptr) Open();
    EXPECT_EQ(stream->state(), State::kReading);
    stream->OnMessage(message);
    return Drain();
  }

  std::vector<std::string> Drain() {
    last.clear();
    std::vector<std::string> names;
    while (stream->state() == State::kWriting) {
      const bool is_last = stream->next_is_last();
      stream->Next(&last.emplace_back());
      EXPECT_EQ(is_last, stream->state() == State::kFinished);
      names.push_back(Name(last.back()));
    }
    return names;
  }

  // Feeds a request up to its answer.
  void Answered(const std::string& body = "{}") {
    Feed(Headers(false));
    Feed(Body(body, true));
    ASSERT_EQ(stream->state(), State::kReading) << stream->status();
  }

  FakeFactory factory;
  StreamScratch scratch;
  std::vector<pb::ProcessingResponse> last;
  std::unique_ptr<Stream> stream;
};

// ---- Request phase

TEST_F(StreamTest, C002_RawValueBeforeValue) {
  std::multimap<std::string, std::string> seen;
  factory.on_bodyless = [&](FakeExchange& exchange) {
    seen = exchange.headers;
    return FakeFactory::Forward(exchange);
  };
  auto message = Headers(true, {{"X-Test", "binary-id"}});
  auto& map = *message.mutable_request_headers()->mutable_headers();
  map.mutable_headers(0)->set_value("wrong-id");
  auto* text = map.add_headers();
  text->set_key(":path");
  text->set_value("/v1/completions");
  map.add_headers()->set_key("empty");
  EXPECT_THAT(Feed(message), ElementsAre("request-headers"));
  EXPECT_THAT(seen, ElementsAre(std::pair(":path", "/v1/completions"),
                                std::pair("X-Test", "binary-id"), std::pair("empty", "")));
}

TEST_F(StreamTest, C012_BodylessIsAnsweredWithHeadersOnly) {
  EXPECT_THAT(Feed(Headers(true)), ElementsAre("request-headers"));
  const auto& response = last[0].request_headers().response();
  EXPECT_TRUE(response.clear_route_cache());
  EXPECT_FALSE(last[0].has_dynamic_metadata());
  ASSERT_EQ(response.header_mutation().set_headers_size(), 1);
  const auto& header = response.header_mutation().set_headers(0);
  EXPECT_EQ(header.ShortDebugString(),
            "header { key: \"x-gateway-destination-endpoint\" raw_value: \"192.168.1.2:8000\" }");
}

TEST_F(StreamTest, C013_MetadataOfTheMessage) {
  std::optional<std::string> text;
  bool has_list = true;
  factory.on_bodyless = [&](FakeExchange& exchange) {
    text = exchange.string;
    has_list = exchange.has_list;
    return FakeFactory::Forward(exchange);
  };
  auto message = Headers(true);
  SetMetadata(&message, "phase", "headers");
  SetMetadata(&message, "list", "not a list");
  Feed(message);
  EXPECT_EQ(text, "headers");
  EXPECT_FALSE(has_list);

  stream.reset();
  Feed(Headers(true));
  EXPECT_EQ(text, std::nullopt);
}

TEST_F(StreamTest, C148_ListsSkipWhatIsNotAString) {
  std::vector<std::string> list;
  factory.on_bodyless = [&](FakeExchange& exchange) {
    EXPECT_TRUE(exchange.has_list);
    list = exchange.list;
    return FakeFactory::Forward(exchange);
  };
  auto message = Headers(true);
  auto& space = (*message.mutable_metadata_context()->mutable_filter_metadata())["test"];
  auto* values = (*space.mutable_fields())["list"].mutable_list_value();
  values->add_values()->set_string_value("10.0.0.1:80");
  values->add_values()->set_number_value(7);
  values->add_values()->set_string_value("10.0.0.2:80");
  Feed(message);
  EXPECT_THAT(list, ElementsAre("10.0.0.1:80", "10.0.0.2:80"));
}

struct Cut {
  size_t bytes;
  std::vector<size_t> pieces;
};

TEST(PieceCutterTest, C014_C015_PiecesOf62000Bytes) {
  const Cut cuts[] = {{0, {0}},
                      {61000, {61000}},
                      {62000, {62000}},
                      {62001, {62000, 1}},
                      {63000, {62000, 1000}},
                      {125000, {62000, 62000, 1000}}};
  for (const Cut& cut : cuts) {
    std::string body(cut.bytes, 'x');
    for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 31);
    // The same body whole, and in parts that do not fall on the cuts.
    for (size_t part : {cut.bytes + 1, size_t{7777}}) {
      std::vector<std::string_view> parts;
      for (size_t at = 0; at < body.size(); at += part) {
        parts.push_back(std::string_view(body).substr(at, part));
      }
      for (const bool end : {true, false}) {
        PieceCutter cutter;
        cutter.Start(parts, end, true);
        std::vector<size_t> sizes;
        std::string joined;
        while (!cutter.done()) {
          std::string piece;
          const bool last = cutter.last();
          EXPECT_EQ(cutter.Take(&piece), last && end);
          sizes.push_back(piece.size());
          joined += piece;
        }
        EXPECT_EQ(sizes, cut.pieces) << cut.bytes;
        EXPECT_EQ(joined, body);
      }
    }
  }
  PieceCutter none;
  none.Start({}, true, /*at_least_one=*/false);
  EXPECT_TRUE(none.done());
}

TEST_F(StreamTest, C016_C018_ImmediateReplies) {
  for (int status : {400, 401, 403, 404, 412, 413, 429, 500, 503}) {
    stream.reset();
    factory.on_body = [&](FakeExchange&) { return FakeFactory::Immediate(status, "text"); };
    EXPECT_THAT(Feed(Headers(false)), IsEmpty());
    EXPECT_THAT(Feed(Body("x", true)), ElementsAre("immediate " + std::to_string(status)));
    EXPECT_EQ(last[0].immediate_response().body(), "text");
    EXPECT_FALSE(last[0].immediate_response().has_headers());
    EXPECT_EQ(stream->state(), State::kFinished);
    EXPECT_TRUE(stream->status().ok());
  }
  stream.reset();
  factory.on_body = [&](FakeExchange&) {
    auto verdict = FakeFactory::Immediate(503, "");
    verdict.immediate.headers.push_back({"x-llm-d-request-dropped-reason", "rejected-saturated"});
    return verdict;
  };
  Feed(Headers(false));
  Feed(Body("x", true));
  EXPECT_EQ(last[0].immediate_response().headers().ShortDebugString(),
            "set_headers { header { key: \"x-llm-d-request-dropped-reason\" "
            "raw_value: \"rejected-saturated\" } }");
}

TEST_F(StreamTest, C017_FailureEndsTheStreamWithItsStatus) {
  factory.on_body = [](FakeExchange&) {
    Verdict verdict;
    verdict.kind = Verdict::Kind::kFail;
    verdict.failure = absl::UnknownError("failed to handle request: boom");
    return verdict;
  };
  Feed(Headers(false));
  EXPECT_THAT(Feed(Body("x", true)), IsEmpty());
  EXPECT_EQ(stream->state(), State::kFinished);
  EXPECT_EQ(stream->status(), absl::UnknownError("failed to handle request: boom"));
}

TEST_F(StreamTest, C018_RefusedAtTheHeaders) {
  factory.on_headers = [](FakeExchange&) { return FakeFactory::Immediate(400, "no"); };
  EXPECT_THAT(Feed(Headers(false)), ElementsAre("immediate 400"));
}

TEST_F(StreamTest, C025_MetadataOfTheMessageThatEndedTheBody) {
  std::optional<std::string> text;
  factory.on_body = [&](FakeExchange& exchange) {
    text = exchange.string;
    return FakeFactory::Forward(exchange);
  };
  auto headers = Headers(false);
  SetMetadata(&headers, "phase", "headers");
  Feed(headers);
  auto first = Body("a", false);
  SetMetadata(&first, "phase", "chunk");
  Feed(first);
  auto end = Body("b", true);
  SetMetadata(&end, "phase", "body");
  Feed(end);
  EXPECT_EQ(text, "body");
}

TEST_F(StreamTest, C095_C099_AnswersOnceTheBodyIsWhole) {
  factory.on_body = [](FakeExchange& exchange) {
    Verdict verdict = FakeFactory::Forward(exchange);
    verdict.headers.set.push_back({"Content-Length", "12"});
    verdict.headers.remove.push_back("x-gone");
    verdict.metadata = {
        {"envoy.lb", "x-gateway-destination-endpoint", "192.168.1.2:8000"},
        {"envoy.lb", "cost", 1.5},
        {"other", "scores", std::vector<std::pair<std::string, double>>{{"a", 0.5}}}};
    return verdict;
  };
  EXPECT_THAT(Feed(Headers(false)), IsEmpty());
  EXPECT_THAT(Feed(Body("{\"mod", false)), IsEmpty());
  EXPECT_THAT(Feed(Body("el\":1}", true)), ElementsAre("request-headers", "request-body 11 end"));
  EXPECT_EQ(last[1].request_body().response().body_mutation().streamed_response().body(),
            "{\"model\":1}");

  const auto& mutation = last[0].request_headers().response().header_mutation();
  ASSERT_EQ(mutation.set_headers_size(), 2);
  EXPECT_EQ(mutation.set_headers(1).ShortDebugString(),
            "header { key: \"Content-Length\" raw_value: \"12\" }");
  EXPECT_THAT(mutation.remove_headers(), ElementsAre("x-gone"));

  const auto& spaces = last[0].dynamic_metadata().fields();
  const auto& lb = spaces.at("envoy.lb").struct_value().fields();
  EXPECT_EQ(lb.at("x-gateway-destination-endpoint").string_value(), "192.168.1.2:8000");
  EXPECT_EQ(lb.at("cost").number_value(), 1.5);
  const auto& other = spaces.at("other").struct_value().fields();
  EXPECT_EQ(other.at("scores").struct_value().fields().at("a").number_value(), 0.5);
}

TEST_F(StreamTest, C097_AnyBytesAreForwardedVerbatim) {
  std::string body = std::string("no JSON \xff\xfe {") + '\0';
  for (int i = 0; i < 70000; ++i) body.push_back(static_cast<char>(i));
  Feed(Headers(false));
  Feed(Body(body.substr(0, 7), false));
  Feed(Body(body.substr(7), true));
  std::string forwarded;
  for (const auto& response : last) {
    forwarded += response.request_body().response().body_mutation().streamed_response().body();
  }
  EXPECT_EQ(forwarded, body);
}

TEST_F(StreamTest, C098_C102_C112_RefusalsAreImmediate) {
  const std::pair<int, const char*> refusals[] = {
      {400, "inference error: BadRequest - error unmarshaling request bodyMap: "},
      {503,
       "inference error: ServiceUnavailable - failed to find endpoint candidates for serving "
       "the request"}};
  for (const auto& [status, text] : refusals) {
    factory.on_body = [&, status = status, text = text](FakeExchange&) {
      return FakeFactory::Immediate(status, text);
    };
    Open();
    Feed(Headers(false));
    EXPECT_THAT(Feed(Body("no healthy upstream", true)),
                ElementsAre("immediate " + std::to_string(status)));
    EXPECT_EQ(last[0].immediate_response().body(), text);
  }
}

TEST_F(StreamTest, C101_NothingAfterAnImmediateReply) {
  factory.on_body = [](FakeExchange&) {
    return FakeFactory::Immediate(400,
                                  "inference error: BadRequest - model not found in request body");
  };
  Feed(Headers(false));
  EXPECT_THAT(Feed(Body("{}", true)), ElementsAre("immediate 400"));
  stream->End(request::StreamEnd::kHalfClosed);
  EXPECT_THAT(factory.log(), ElementsAre("request-headers", "request-body 2", "end half-closed"));
}

TEST_F(StreamTest, LargeBodiesAreForwardedInPieces) {
  const std::string body(150000, 'x');
  Feed(Headers(false, {{"content-length", "99999999999"}}));
  for (size_t at = 0; at < body.size(); at += 50000) {
    EXPECT_THAT(Feed(Body(body.substr(at, 50000), false)), IsEmpty());
  }
  EXPECT_THAT(Feed(Body("", true)), ElementsAre("request-headers", "request-body 62000",
                                                "request-body 62000", "request-body 26000 end"));
}

TEST_F(StreamTest, EmptyBodyIsOneEmptyPiece) {
  Feed(Headers(false));
  EXPECT_THAT(Feed(Body("", true)), ElementsAre("request-headers", "request-body 0 end"));
}

TEST_F(StreamTest, BodyOverTheLimitIs413) {
  factory.body_limit = 10;
  Feed(Headers(false));
  EXPECT_THAT(Feed(Body("123456", false)), IsEmpty());
  EXPECT_THAT(Feed(Body("789012", false)), ElementsAre("immediate 413"));
  EXPECT_EQ(last[0].immediate_response().body(),
            "inference error: PayloadTooLarge - request body is 12 bytes or more, want at most 10");
  stream.reset();
  Feed(Headers(false));
  EXPECT_THAT(Feed(Body("1234567890", true)),
              ElementsAre("request-headers", "request-body 10 end"));
}

TEST_F(StreamTest, C130_RequestTrailersEndTheBody) {
  Feed(Headers(false));
  Feed(Body(std::string(62001, 'x'), false));
  EXPECT_THAT(Feed(Trailers()), ElementsAre("request-headers", "request-body 62000",
                                            "request-body 1", "request-trailers"));
  EXPECT_THAT(factory.log(), ElementsAre("request-headers", "request-body 62001"));
  EXPECT_THAT(Feed(ResponseHeaders()), ElementsAre("response-headers"));
}

TEST_F(StreamTest, C130_TrailersWithoutABody) {
  Feed(Headers(false));
  EXPECT_THAT(Feed(Trailers()), ElementsAre("request-headers", "request-trailers"));
}

TEST_F(StreamTest, C130_TrailersAfterTheEndOfTheBodyAreAnswered) {
  Answered();
  EXPECT_THAT(Feed(Trailers()), ElementsAre("request-trailers"));
  EXPECT_THAT(Feed(ResponseHeaders(true)), ElementsAre("response-headers"));
}

TEST_F(StreamTest, C131_BodyAfterTheEndIsIgnored) {
  Answered("{}");
  EXPECT_THAT(Feed(Body("{}", true)), IsEmpty());
  EXPECT_THAT(Feed(Body("", true)), IsEmpty());
  EXPECT_THAT(Feed(ResponseHeaders()), ElementsAre("response-headers"));
  EXPECT_THAT(Feed(Body("late", false)), IsEmpty());
  EXPECT_THAT(factory.log(), ElementsAre("request-headers", "request-body 2", "response-headers"));
}

TEST_F(StreamTest, C133_PseudoHeadersInValue) {
  std::multimap<std::string, std::string> seen;
  factory.on_response_headers = [&](FakeExchange& exchange) {
    seen = exchange.headers;
    return request::ResponseHeadersVerdict();
  };
  Answered();
  auto message = ResponseHeaders();
  auto* status = message.mutable_response_headers()->mutable_headers()->add_headers();
  status->set_key(":status");
  status->set_value("503");
  Feed(message);
  EXPECT_THAT(seen, ElementsAre(std::pair(":status", "503")));
}

TEST_F(StreamTest, C134_EndInAnEmptyChunk) {
  Feed(Headers(false));
  Feed(Body("{}", false));
  EXPECT_THAT(Feed(Body("", true)), ElementsAre("request-headers", "request-body 2 end"));
  Feed(ResponseHeaders());
  EXPECT_THAT(Feed(ResponseBody("data", false)), ElementsAre("response-body 4"));
  EXPECT_THAT(Feed(ResponseBody("", true)), ElementsAre("response-body 0 end"));
  EXPECT_EQ(factory.Count("response-body 0 end"), 1U);
}

TEST_F(StreamTest, C136_RepeatedHeadersReachTheExchange) {
  std::vector<std::string> cookies;
  factory.on_bodyless = [&](FakeExchange& exchange) {
    for (const auto& [name, value] : exchange.headers) cookies.push_back(value);
    return FakeFactory::Forward(exchange);
  };
  Feed(Headers(true, {{"cookie", "a=1"}, {"cookie", "b=2"}}));
  EXPECT_THAT(cookies, ElementsAre("a=1", "b=2"));
}

TEST_F(StreamTest, C146_ImmediateBodiesAreValidUtf8) {
  factory.on_body = [](FakeExchange&) {
    return FakeFactory::Immediate(400, "bad path: /\xff\xfe\xc3\xa9\xe2\x82");
  };
  Feed(Headers(false));
  Feed(Body("x", true));
  EXPECT_EQ(last[0].immediate_response().body(),
            "bad path: /\xEF\xBF\xBD\xEF\xBF\xBD\xc3\xa9\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_F(StreamTest, C147_UnknownMessagesAreIgnored) {
  EXPECT_THAT(Feed(pb::ProcessingRequest()), IsEmpty());
  pb::ProcessingRequest unknown;
  ASSERT_TRUE(
      unknown.ParseFromString("\xa2\x06\x03"
                              "abc\x80\x7d\x01"));  // fields 100 and 2000
  EXPECT_THAT(Feed(unknown), IsEmpty());
  Feed(Headers(false));
  EXPECT_THAT(Feed(unknown), IsEmpty());
  EXPECT_THAT(Feed(Body("x", true)), ElementsAre("request-headers", "request-body 1 end"));
}

// ---- Pending verdicts

TEST_F(StreamTest, PendingVerdictWaitsForTheWaker) {
  factory.on_body = [](FakeExchange&) { return Verdict(); };
  Feed(Headers(false));
  EXPECT_THAT(Feed(Body("{}", true)), IsEmpty());
  EXPECT_EQ(stream->state(), State::kWaiting);
  factory.take_verdict = [](FakeExchange&) { return Verdict(); };
  stream->OnWake();
  EXPECT_EQ(stream->state(), State::kWaiting);
  factory.take_verdict = FakeFactory::Forward;
  stream->OnWake();
  EXPECT_THAT(Drain(), ElementsAre("request-headers", "request-body 2 end"));
}

TEST_F(StreamTest, PendingBodylessRequest) {
  factory.on_bodyless = [](FakeExchange&) { return Verdict(); };
  EXPECT_THAT(Feed(Headers(true)), IsEmpty());
  EXPECT_EQ(stream->state(), State::kWaiting);
  stream->OnWake();
  EXPECT_THAT(Drain(), ElementsAre("request-headers"));
}

TEST_F(StreamTest, C142_EndWhilePending) {
  factory.on_body = [](FakeExchange&) { return Verdict(); };
  Feed(Headers(false));
  Feed(Body("{}", true));
  stream->End(request::StreamEnd::kCancelled);
  stream->OnWake();
  EXPECT_THAT(factory.log(), ElementsAre("request-headers", "request-body 2", "end cancelled"));
}

FakeFactory::Verdict Evicted(FakeExchange&) {
  auto verdict = FakeFactory::Immediate(429, "request evicted by flow control");
  verdict.immediate.headers.push_back({"x-llm-d-request-dropped-reason", "evicted"});
  return verdict;
}

TEST_F(StreamTest, C029_AnsweredRequestIsEvicted) {
  factory.take_verdict = Evicted;
  Answered();
  stream->OnWake();
  EXPECT_THAT(Drain(), ElementsAre("immediate 429"));
  EXPECT_EQ(last[0].immediate_response().body(), "request evicted by flow control");
  EXPECT_TRUE(stream->status().ok());
}

TEST_F(StreamTest, C029_EvictionWaitsForThePieceBeingSent) {
  factory.take_verdict = Evicted;
  Feed(Headers(false));
  auto end = Body("{}", true);
  stream->OnMessage(end);
  stream->OnWake();
  EXPECT_EQ(factory.Count("take-verdict"), 0U);
  EXPECT_THAT(Drain(), ElementsAre("request-headers", "request-body 2 end", "immediate 429"));
}

TEST_F(StreamTest, C030_WakeWithoutAReasonSendsNothing) {
  Answered();
  stream->OnWake();
  EXPECT_THAT(Drain(), IsEmpty());
  EXPECT_THAT(Feed(ResponseHeaders()), ElementsAre("response-headers"));
  EXPECT_THAT(Feed(ResponseBody("x", true)), ElementsAre("response-body 1 end"));
  factory.take_verdict = Evicted;
  stream->OnWake();  // too late: the response is complete
  EXPECT_EQ(stream->state(), State::kReading);
}

// ---- Response phase

TEST_F(StreamTest, C020_StreamingResponseWithoutTrailers) {
  factory.on_response_headers = [](FakeExchange&) {
    request::ResponseHeadersVerdict verdict;
    verdict.headers.set.push_back({"x-went-into-resp-headers", "true"});
    return verdict;
  };
  Answered();
  EXPECT_THAT(Feed(ResponseHeaders()), ElementsAre("response-headers"));
  EXPECT_EQ(last[0].response_headers().response().ShortDebugString(),
            "header_mutation { set_headers { header { key: \"x-went-into-resp-headers\" "
            "raw_value: \"true\" } } }");
  EXPECT_THAT(Feed(ResponseBody("chunk", true)), ElementsAre("response-body 5 end"));
  stream->OnHalfClose();
  EXPECT_TRUE(stream->status().ok());
  stream->End(request::StreamEnd::kHalfClosed);
  EXPECT_EQ(factory.Count("end half-closed"), 1U);
}

TEST_F(StreamTest, C021_StreamingResponseWithTrailers) {
  factory.on_response_body = [](FakeExchange&, std::string_view, bool end) {
    request::ResponseBodyVerdict verdict;
    if (end) verdict.metadata = {{"envoy.lb", "cost", 10.0}};
    return verdict;
  };
  Answered();
  Feed(ResponseHeaders());
  EXPECT_THAT(Feed(ResponseBody("chunk", false)), ElementsAre("response-body 5"));
  EXPECT_FALSE(last[0].has_dynamic_metadata());
  EXPECT_THAT(Feed(ResponseTrailers()), ElementsAre("response-trailers"));
  EXPECT_EQ(last[0]
                .dynamic_metadata()
                .fields()
                .at("envoy.lb")
                .struct_value()
                .fields()
                .at("cost")
                .number_value(),
            10);
  EXPECT_EQ(factory.Count("response-body 0 end"), 1U);
}

TEST_F(StreamTest, C022_CollectedResponseWithTrailers) {
  factory.on_response_headers = [](FakeExchange&) {
    return request::ResponseHeadersVerdict{.headers = {}, .metadata = {}, .stream_body = false};
  };
  Answered();
  Feed(ResponseHeaders());
  EXPECT_THAT(Feed(ResponseBody("abc", false)), IsEmpty());
  EXPECT_THAT(Feed(ResponseBody("def", false)), IsEmpty());
  EXPECT_THAT(Feed(ResponseTrailers()), ElementsAre("response-body 6", "response-trailers"));
  EXPECT_EQ(factory.Count("response-body 6 end"), 1U);
}

TEST_F(StreamTest, C022_CollectedResponseWithTrailersOnly) {
  factory.on_response_headers = [](FakeExchange&) {
    return request::ResponseHeadersVerdict{.headers = {}, .metadata = {}, .stream_body = false};
  };
  Answered();
  Feed(ResponseHeaders());
  EXPECT_THAT(Feed(ResponseTrailers()), ElementsAre("response-trailers"));
  EXPECT_EQ(factory.Count("response-body 0 end"), 1U);
}

TEST_F(StreamTest, C034_MetadataOnTheLastPiece) {
  factory.on_response_body = [](FakeExchange&, std::string_view, bool end) {
    request::ResponseBodyVerdict verdict;
    if (end) verdict.metadata = {{"envoy.lb", "cost", 10.0}};
    return verdict;
  };
  Answered();
  Feed(ResponseHeaders());
  EXPECT_THAT(Feed(ResponseBody(std::string(62001, 'x'), true)),
              ElementsAre("response-body 62000", "response-body 1 end"));
  EXPECT_FALSE(last[0].has_dynamic_metadata());
  EXPECT_TRUE(last[1].has_dynamic_metadata());
}

TEST_F(StreamTest, C104_CollectedResponse) {
  std::string replaced;
  factory.on_response_headers = [](FakeExchange&) {
    return request::ResponseHeadersVerdict{.headers = {}, .metadata = {}, .stream_body = false};
  };
  factory.on_response_body = [&](FakeExchange&, std::string_view body, bool) {
    replaced = "<" + std::string(body) + ">";
    return request::ResponseBodyVerdict{.replacement = replaced, .metadata = {}};
  };
  Answered();
  Feed(ResponseHeaders());
  EXPECT_THAT(Feed(ResponseBody("abc", false)), IsEmpty());
  EXPECT_THAT(Feed(ResponseBody("", true)), ElementsAre("response-body 5 end"));
  EXPECT_EQ(last[0].response_body().response().body_mutation().streamed_response().body(), "<abc>");
}

TEST_F(StreamTest, ReplacementMayBeAPartOfTheChunk) {
  factory.on_response_body = [&](FakeExchange&, std::string_view body, bool) {
    return request::ResponseBodyVerdict{.replacement = body.substr(0, 3), .metadata = {}};
  };
  Answered();
  Feed(ResponseHeaders());
  EXPECT_THAT(Feed(ResponseBody("abcdef", true)), ElementsAre("response-body 3 end"));
  EXPECT_EQ(last[0].response_body().response().body_mutation().streamed_response().body(), "abc");
}

TEST_F(StreamTest, C105_StreamedChunksOneToOne) {
  Answered();
  Feed(ResponseHeaders());
  for (const char* chunk : {"data: 1\n\n", "", "data: [DONE]\n\n"}) {
    EXPECT_THAT(Feed(ResponseBody(chunk, false)),
                ElementsAre("response-body " + std::to_string(std::string(chunk).size())));
    EXPECT_EQ(last[0].response_body().response().body_mutation().streamed_response().body(), chunk);
  }
  EXPECT_THAT(Feed(ResponseBody("", true)), ElementsAre("response-body 0 end"));
}

TEST_F(StreamTest, C106_CompleteFramesThenTrailers) {
  Answered();
  Feed(ResponseHeaders());
  EXPECT_THAT(Feed(ResponseBody("one", false)), ElementsAre("response-body 3"));
  EXPECT_THAT(Feed(ResponseBody("two", false)), ElementsAre("response-body 3"));
  EXPECT_THAT(Feed(ResponseTrailers()), ElementsAre("response-trailers"));
}

TEST_F(StreamTest, C132_HeaderOnlyResponseIsComplete) {
  Answered();
  EXPECT_THAT(Feed(ResponseHeaders(true)), ElementsAre("response-headers"));
  EXPECT_FALSE(last[0].response_headers().response().has_header_mutation());
  EXPECT_EQ(factory.Count("response-headers end"), 1U);
  EXPECT_THAT(Feed(ResponseTrailers()), ElementsAre("response-trailers"));
}

TEST_F(StreamTest, ResponseBodyAfterTheEndIsIgnored) {
  Answered();
  Feed(ResponseHeaders());
  Feed(ResponseBody("x", true));
  EXPECT_THAT(Feed(ResponseBody("x", true)), IsEmpty());
  EXPECT_THAT(Feed(ResponseTrailers()), ElementsAre("response-trailers"));
}

TEST_F(StreamTest, UnwantedResponseBodiesAreReturnedUnseen) {
  factory.on_body = [](FakeExchange& exchange) {
    Verdict verdict = FakeFactory::Forward(exchange);
    verdict.wants_response_body = false;
    return verdict;
  };
  for (const bool mode_override : {false, true}) {
    Open({.worker = 0, .mode_override = mode_override});
    Feed(Headers(false));
    Feed(Body("{}", true));
    ASSERT_EQ(last.size(), 2U);
    EXPECT_EQ(last[0].has_mode_override(), mode_override);
    if (mode_override) {
      EXPECT_EQ(last[0].mode_override().request_body_mode(),
                pb::ProcessingMode::FULL_DUPLEX_STREAMED);
      EXPECT_EQ(last[0].mode_override().response_header_mode(), pb::ProcessingMode::SEND);
      EXPECT_EQ(last[0].mode_override().response_body_mode(), pb::ProcessingMode::NONE);
      EXPECT_EQ(last[0].mode_override().response_trailer_mode(), pb::ProcessingMode::SKIP);
    }
    Feed(ResponseHeaders());
    EXPECT_THAT(Feed(ResponseBody(std::string(62001, 'x'), false)),
                ElementsAre("response-body 62000", "response-body 1"));
    EXPECT_THAT(Feed(ResponseTrailers()), ElementsAre("response-trailers"));
    EXPECT_EQ(factory.Count("response-body 0 end"), 0U);
    EXPECT_EQ(factory.Count("response-body 62001"), 0U);
  }
}

// ---- Order

struct OrderCase {
  const char* name;
  std::vector<pb::ProcessingRequest> before;
  pb::ProcessingRequest message;
  const char* text;
};

TEST_F(StreamTest, MessagesOutOfOrderEndTheStream) {
  const OrderCase cases[] = {
      {"body first", {}, Body("x", true), "got request_body, want request_headers"},
      {"trailers first", {}, Trailers(), "got request_trailers, want request_headers"},
      {"response first", {}, ResponseHeaders(), "got response_headers, want request_headers"},
      {"headers twice",
       {Headers(false)},
       Headers(false),
       "got request_headers, want request_body or request_trailers"},
      {"response before the answer",
       {Headers(false), Body("x", false)},
       ResponseHeaders(),
       "got response_headers, want request_body or request_trailers"},
      {"response body before headers",
       {Headers(true)},
       ResponseBody("x", true),
       "got response_body, want response_headers"},
      {"response trailers before headers",
       {Headers(true)},
       ResponseTrailers(),
       "got response_trailers, want response_headers"},
      {"response headers twice",
       {Headers(true), ResponseHeaders()},
       ResponseHeaders(),
       "got response_headers, want response_body or response_trailers"},
      {"response trailers twice",
       {Headers(true), ResponseHeaders(), ResponseTrailers()},
       ResponseTrailers(),
       "got response_trailers, want the end of the stream"},
      {"request trailers twice",
       {Headers(false), Trailers()},
       Trailers(),
       "got request_trailers, want response_headers"},
  };
  for (const OrderCase& c : cases) {
    SCOPED_TRACE(c.name);
    Open();
    for (const auto& message : c.before) Feed(message);
    EXPECT_THAT(Feed(c.message), IsEmpty());
    EXPECT_EQ(stream->state(), State::kFinished);
    EXPECT_EQ(stream->status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(stream->status().message()), HasSubstr(c.text));
  }
}

TEST_F(StreamTest, TheExchangeIsToldOnce) {
  Feed(Headers(false));
  stream->End(request::StreamEnd::kDeadline);
  stream->End(request::StreamEnd::kCancelled);
  stream.reset();
  EXPECT_THAT(factory.log(), ElementsAre("request-headers", "end deadline"));
  Feed(Headers(false));
  stream.reset();
  EXPECT_EQ(factory.log().back(), "end cancelled");
}

TEST_F(StreamTest, BodyMemoryGoesBackOnceTheRequestWasSent) {
  Feed(Headers(false));
  Feed(Body(std::string(10000, 'x'), false));
  EXPECT_EQ(scratch.buffers.pooled_bytes(), 0U);
  Feed(Body("", true));
  EXPECT_GE(scratch.buffers.pooled_bytes(), 10000U);
}

TEST(BufferPoolTest, KeepsWithinItsBounds) {
  BufferPool pool(2, 10000, 15000);
  const auto buffer = [](size_t bytes) {
    BodyBuffer b;
    EXPECT_TRUE(b.Append(std::string(bytes, 'x')));
    return b;
  };
  pool.Give(buffer(20000));
  EXPECT_EQ(pool.pooled_bytes(), 0U);
  pool.Give(BodyBuffer());
  pool.Give(buffer(9000));
  EXPECT_GE(pool.pooled_bytes(), 9000U);
  pool.Give(buffer(9000));  // together too much
  EXPECT_LT(pool.pooled_bytes(), 10000U);
  pool.Give(buffer(100));
  pool.Give(buffer(100));  // one too many
  EXPECT_EQ(pool.Take().size(), 0U);
  EXPECT_GT(pool.Take().capacity(), 9000U);
  EXPECT_EQ(pool.pooled_bytes(), 0U);
  EXPECT_EQ(pool.Take().capacity(), 0U);
}

TEST(Utf8Test, ReplacesWhatIsNotValid) {
  const std::string kReplacement = "\xEF\xBF\xBD";
  EXPECT_EQ(SanitizeUtf8("plain \xf0\x9f\x98\x80 \xe2\x82\xac"),
            "plain \xf0\x9f\x98\x80 \xe2\x82\xac");
  for (const char* bad : {"\xff", "\x80", "\xc0"}) {
    EXPECT_EQ(SanitizeUtf8(std::string("a") + bad + "b"), "a" + kReplacement + "b");
  }
  // Overlong, surrogate, above U+10FFFF, cut short.
  for (const char* bad : {"\xc1\x81", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xe2\x82", "\xf0\x9f\x98"}) {
    const std::string clean = SanitizeUtf8(bad);
    EXPECT_EQ(ValidUtf8Prefix(clean), clean.size());
    EXPECT_EQ(clean.size(), std::string(bad).size() * kReplacement.size());
  }
}

}  // namespace
}  // namespace epp::extproc
