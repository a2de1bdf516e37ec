// The same request path behind the real ext-proc server, as a proxy sees it.
#include "tests/integration/wire.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/test_plugins.h"

namespace epp::integration {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kBody = R"({"model":"m","prompt":"hello"})";
const Headers kPost = {{":method", "POST"}, {":path", "/v1/completions"}, {"x-request-id", "id"}};
const Headers kJson = {{":status", "200"}, {"content-type", "application/json"}};
const Headers kSse = {{":status", "200"}, {"content-type", "text/event-stream"}};

constexpr const char* kHooks = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {name: hook, type: test-hook}
  - type: test-end
schedulingProfiles:
  - name: default
)";

class Wire : public testing::Test {
 protected:
  explicit Wire(HarnessOptions options = {}) : harness(std::move(options)), server(harness) {
    TakeTrace();
  }
  // The kinds of the next `n` responses.
  static std::vector<std::string> ReadKinds(WireStream& stream, int n) {
    std::vector<std::string> kinds;
    for (int i = 0; i < n; ++i) kinds.push_back(KindOf(stream.Read()));
    return kinds;
  }
  int Ends() {
    EXPECT_TRUE(server.Idle());
    int ends = 0;
    for (const std::string& line : TakeTrace()) ends += line.starts_with("end ");
    return ends;
  }
  Harness harness;
  WireServer server;
};

class WireWithHooks : public Wire {
 protected:
  WireWithHooks()
      : Wire({.config = kHooks, .request = {.echo_headers = true, .observe_responses = true}}) {
    harness.SetPods({{"a", "10.0.0.1"}});
  }
  void Send(WireStream& stream, std::string_view body, const Headers& more = {}) {
    Headers headers = kPost;
    headers.insert(headers.end(), more.begin(), more.end());
    ASSERT_TRUE(stream.RequestHeaders(headers));
    ASSERT_TRUE(stream.RequestBody(body, true));
    ASSERT_THAT(ReadKinds(stream, 2), ElementsAre("request_headers", "request_body end"));
  }
};

TEST_F(WireWithHooks, C020StreamingWithoutTrailers) {
  WireStream stream(server);
  Send(stream, kBody);
  stream.ResponseHeaders(kSse);
  const pb::ProcessingResponse head = stream.Read();
  EXPECT_THAT(SetHeaders(head), Contains("x-went-into-resp-headers: true"));
  stream.ResponseBody("data: {}\n\n", true);
  const pb::ProcessingResponse last = stream.Read();
  EXPECT_EQ(KindOf(last), "response_body end");
  EXPECT_EQ(BytesOf(last), "data: {}\n\n");
  EXPECT_EQ(last.dynamic_metadata().fields().at("test").struct_value().fields().count("hook"), 1u);
  stream.HalfClose();
  EXPECT_EQ(stream.Finish(), "OK");
  EXPECT_EQ(Ends(), 1);
}

TEST_F(WireWithHooks, C021StreamingWithTrailers) {
  WireStream stream(server);
  Send(stream, kBody);
  stream.ResponseHeaders(kSse);
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  stream.ResponseBody("data: {}\n\n", false);
  EXPECT_EQ(KindOf(stream.Read()), "response_body");
  stream.ResponseTrailers();
  const pb::ProcessingResponse trailers = stream.Read();
  EXPECT_EQ(KindOf(trailers), "response_trailers");
  EXPECT_TRUE(trailers.dynamic_metadata().fields().contains("test"));
  stream.HalfClose();
  EXPECT_EQ(stream.Finish(), "OK");
  EXPECT_EQ(Ends(), 1);
}

TEST_F(WireWithHooks, C022BufferedWithTrailers) {
  WireStream stream(server);
  Send(stream, kBody);
  stream.ResponseHeaders(kJson);
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  stream.ResponseBody("{}", false);
  stream.ResponseTrailers();
  EXPECT_THAT(ReadKinds(stream, 2), ElementsAre("response_body", "response_trailers"));
  stream.HalfClose();
  EXPECT_EQ(stream.Finish(), "OK");
  EXPECT_EQ(Ends(), 1);
}

TEST_F(WireWithHooks, C023StreamTrueWithoutSseHeader) {
  WireStream stream(server);
  Send(stream, R"({"model":"m","prompt":"p","stream":true})");
  stream.ResponseHeaders(kJson);
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  stream.ResponseBody("{\"a\":", false);
  EXPECT_EQ(BytesOf(stream.Read()), "{\"a\":");
  stream.ResponseTrailers();
  EXPECT_EQ(KindOf(stream.Read()), "response_trailers");
}

TEST_F(WireWithHooks, C025MetadataIsThatOfTheBodyMessage) {
  harness.SetPods({{"a", "10.0.0.1"}, {"b", "10.0.0.2"}});
  const auto hint = [](pb::ProcessingRequest& message, const char* address) {
    auto& space =
        (*message.mutable_metadata_context()->mutable_filter_metadata())["envoy.lb.subset_hint"];
    (*space.mutable_fields())["x-gateway-destination-endpoint-subset"]
        .mutable_list_value()
        ->add_values()
        ->set_string_value(address);
  };
  for (int i = 0; i < 8; ++i) {
    WireStream stream(server);
    pb::ProcessingRequest headers;
    auto* path = headers.mutable_request_headers()->mutable_headers()->add_headers();
    path->set_key(":path");
    path->set_value("/v1/completions");  // C004: the text value counts when raw_value is empty
    hint(headers, "10.0.0.1:8000");
    stream.Send(headers);
    pb::ProcessingRequest body;
    body.mutable_request_body()->set_body(std::string(kBody));
    body.mutable_request_body()->set_end_of_stream(true);
    hint(body, "10.0.0.2:8000");
    stream.Send(body);
    EXPECT_EQ(DestinationOf(stream.Read()), "10.0.0.2:8000");
  }
}

TEST_F(WireWithHooks, C002AndC004RawValueBeforeValue) {
  WireStream stream(server);
  pb::ProcessingRequest headers;
  const auto add = [&](const char* key, const char* value, const char* raw) {
    auto* header = headers.mutable_request_headers()->mutable_headers()->add_headers();
    header->set_key(key);
    header->set_value(value);
    header->set_raw_value(raw);
  };
  add(":path", "/v1/completions", "");
  add("x-llm-d-inference-objective", "wrong-id", "binary-id");
  add("x-llm-d-inference-fairness-id", "text-flow", "");
  stream.Send(headers);
  stream.RequestBody(kBody, true);
  EXPECT_EQ(KindOf(stream.Read()), "request_headers");
  EXPECT_EQ(harness.LastDecision().objective.view(), "binary-id");
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", "text-flow"), 1);
}

TEST_F(WireWithHooks, C026FairnessIsSeenAndNotEchoed) {
  WireStream stream(server);
  Headers headers = kPost;
  headers.emplace_back("x-llm-d-inference-fairness-id", "flow");
  stream.RequestHeaders(headers);
  stream.RequestBody(kBody, true);
  const std::vector<std::string> set = SetHeaders(stream.Read());
  EXPECT_THAT(set, Contains(":method: POST"));
  EXPECT_THAT(set, Not(Contains(HasSubstr("fairness"))));
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", "fairness_id=\"flow\""), 1);
}

TEST_F(WireWithHooks, C027SkippedResponsesPassThrough) {
  WireStream stream(server);
  stream.RequestHeaders({{":path", "/v1/messages/count_tokens"}});
  stream.RequestBody("not even json", true);
  EXPECT_EQ(KindOf(stream.Read()), "request_headers");
  EXPECT_EQ(BytesOf(stream.Read()), "not even json");
  stream.ResponseHeaders(kJson);
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  stream.ResponseBody("{\"input_tokens\":3}", true);
  EXPECT_EQ(BytesOf(stream.Read()), "{\"input_tokens\":3}");
  stream.HalfClose();
  EXPECT_EQ(stream.Finish(), "OK");
  EXPECT_EQ(Ends(), 1);
}

TEST_F(WireWithHooks, C132ResponseEndsWithItsHeaders) {
  WireStream stream(server);
  Send(stream, kBody);
  stream.ResponseHeaders({{":status", "204"}}, true);
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  stream.HalfClose();
  EXPECT_EQ(stream.Finish(), "OK");
  ASSERT_TRUE(server.Idle());
  EXPECT_THAT(TakeTrace(), Contains(StartsWith("end last end=1")));
}

TEST_F(WireWithHooks, C134BodiesEndedByAnEmptyChunk) {
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody(kBody, false);
  stream.RequestBody("", true);
  EXPECT_EQ(KindOf(stream.Read()), "request_headers");
  const pb::ProcessingResponse body = stream.Read();
  EXPECT_EQ(BytesOf(body), kBody);
  EXPECT_EQ(KindOf(body), "request_body end");
  stream.ResponseHeaders(kJson);
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  stream.ResponseBody("{}", false);
  stream.ResponseBody("", true);
  const pb::ProcessingResponse answer = stream.Read();
  EXPECT_EQ(BytesOf(answer), "{}");
  EXPECT_EQ(KindOf(answer), "response_body end");
}

TEST_F(WireWithHooks, C143ResetMidStream) {
  WireStream stream(server);
  Send(stream, kBody);
  stream.ResponseHeaders(kSse);
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  stream.ResponseBody("data: {}\n\n", false);
  EXPECT_EQ(KindOf(stream.Read()), "response_body");
  stream.Cancel();
  EXPECT_THAT(stream.Finish(), StartsWith("1: "));
  ASSERT_TRUE(server.Idle());
  EXPECT_THAT(TakeTrace(), Contains(StartsWith("end last end=2")).Times(1));
  EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
}

TEST_F(WireWithHooks, PreRequestErrorIsAnsweredAndToldAsError) {
  WireStream stream(server);
  Headers headers = kPost;
  headers.emplace_back("x-test", "hook.pre=" + std::to_string(EPP_FAILED_PRECONDITION));
  stream.RequestHeaders(headers);
  stream.RequestBody(kBody, true);
  EXPECT_THAT(ImmediateOf(stream.Read()), StartsWith("412 "));
  EXPECT_EQ(stream.Finish(), "OK");
  ASSERT_TRUE(server.Idle());
  EXPECT_THAT(TakeTrace(), Contains(StartsWith("end last end=4")).Times(1));
}

TEST_F(WireWithHooks, C144ThrowingPluginsLeaveOtherStreamsAlone) {
  WireStream other(server);
  Send(other, kBody);
  for (const char* order : {"hook.pre=throw", "hook.pre=throw-int"}) {
    WireStream stream(server);
    Headers headers = kPost;
    headers.emplace_back("x-test", order);
    stream.RequestHeaders(headers);
    stream.RequestBody(kBody, true);
    EXPECT_THAT(ImmediateOf(stream.Read()), StartsWith("500 ")) << order;
    EXPECT_EQ(stream.Finish(), "OK");
  }
  other.ResponseHeaders(kJson);
  EXPECT_EQ(KindOf(other.Read()), "response_headers");
  other.ResponseBody("{}", true);
  EXPECT_EQ(KindOf(other.Read()), "response_body end");
}

// Messages out of order end the stream with an error, and only that stream.
TEST_F(WireWithHooks, MessagesOutOfOrder) {
  using Step = void (*)(WireStream&);
  const Step request_body = [](WireStream& s) { s.RequestBody("{}", true); };
  const Step response_headers = [](WireStream& s) { s.ResponseHeaders(kJson); };
  const Step response_body = [](WireStream& s) { s.ResponseBody("{}", true); };
  const Step trailers = [](WireStream& s) { s.ResponseTrailers(); };
  const Step request = [](WireStream& s) {
    s.RequestHeaders(kPost);
    s.RequestBody(kBody, true);
  };
  const Step headers = [](WireStream& s) { s.RequestHeaders(kPost); };
  for (const std::vector<Step>& steps :
       std::vector<std::vector<Step>>{{request_body},
                                      {response_headers},
                                      {response_body},
                                      {trailers},
                                      {headers, headers},
                                      {headers, response_headers},
                                      {headers, response_body},
                                      {request, response_body},
                                      {request, trailers},
                                      {request, headers},
                                      {request, response_headers, response_headers},
                                      {request, response_headers, trailers, trailers},
                                      {request, response_headers, headers}}) {
    WireStream stream(server);
    for (const Step step : steps) step(stream);
    stream.HalfClose();
    EXPECT_THAT(stream.Finish(), StartsWith("3: ext-proc stream: got ")) << steps.size();
  }
  EXPECT_TRUE(server.Idle());
  EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
  WireStream stream(server);
  Send(stream, kBody);
}

TEST_F(WireWithHooks, AllMessagesAtOnce) {
  // A proxy in full duplex waits for nothing.
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody(kBody, true);
  EXPECT_EQ(KindOf(stream.Read()), "request_headers");
  stream.ResponseHeaders(kSse);
  for (int i = 0; i < 50; ++i) stream.ResponseBody("data: {}\n\n", i == 49);
  EXPECT_EQ(KindOf(stream.Read()), "request_body end");
  EXPECT_EQ(KindOf(stream.Read()), "response_headers");
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(KindOf(stream.Read()), i == 49 ? "response_body end" : "response_body");
  }
}

class CappedWire : public Wire {
 protected:
  CappedWire() : Wire({.request = {.max_body_bytes = 1000}}) {
    harness.SetPods({{"a", "10.0.0.1"}});
  }
};

TEST_F(CappedWire, BodiesBeyondTheCapAre413) {
  const std::string fits = R"({"model":"m","prompt":")" + std::string(1000 - 25, 'x') + "\"}";
  ASSERT_EQ(fits.size(), 1000u);
  {
    WireStream stream(server);
    stream.RequestHeaders(kPost);
    stream.RequestBody(fits, true);
    EXPECT_EQ(DestinationOf(stream.Read()), "10.0.0.1:8000");
  }
  for (const bool in_pieces : {false, true}) {
    WireStream stream(server);
    stream.RequestHeaders(kPost);
    if (in_pieces) {
      stream.RequestBody(fits, false);
      stream.RequestBody("x", true);
    } else {
      stream.RequestBody(fits + "x", true);
    }
    EXPECT_THAT(ImmediateOf(stream.Read()), StartsWith("413 inference error: PayloadTooLarge - "));
    EXPECT_EQ(stream.Finish(), "OK");
  }
}

}  // namespace
}  // namespace epp::integration
