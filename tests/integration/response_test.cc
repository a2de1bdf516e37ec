// The response phase: modes, hooks, ends, accounting of usage, the client's model name.
#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/harness.h"
#include "tests/integration/test_plugins.h"

namespace epp::integration {
namespace {

using request::StreamEnd;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;
using Verdict = request::RequestVerdict;

constexpr std::string_view kBody = R"({"model":"m","prompt":"hello"})";
constexpr std::string_view kStream = R"({"model":"m","prompt":"hello","stream":true})";
const Headers kOk = {{":status", "200"}, {"content-type", "application/json"}};
const Headers kSse = {{":status", "200"}, {"Content-Type", "Text/Event-Stream; charset=utf-8"}};

constexpr const char* kHooks = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {name: one, type: test-hook}
  - {name: two, type: test-hook}
  - {type: test-end}
schedulingProfiles:
  - name: default
)";

class Response : public testing::Test {
 protected:
  explicit Response(request::RequestOptions options = {.observe_responses = true})
      : harness({.config = kHooks, .request = options}) {
    harness.SetPods({{"a", "10.0.0.1"}, {"b", "10.0.0.2"}});
    TakeTrace();
  }
  double Count(const char* what) { return harness.Metric(std::string("llm_d_epp_") + what); }
  Harness harness;
};

int Ends(const std::vector<std::string>& trace) {
  return static_cast<int>(std::count_if(trace.begin(), trace.end(), [](const std::string& line) {
    return line.starts_with("end ");
  }));
}

// One way for an exchange to end, and what the end hook has to see: 1 natural, 2 the client left,
// 4 error.
struct Ending {
  const char* name;
  int end;
  void (*run)(Flow& flow);
};

const Ending kEndings[] = {
    {"NaturalSse", 1,
     [](Flow& flow) {
       flow.Post(kCompletions, kStream);
       flow.Head(kSse);
       flow.Chunk("data: {}\n\n", false);
       flow.Chunk("data: [DONE]\n\n", true);
       flow.End(StreamEnd::kCancelled);
     }},
    {"BufferedJson", 1,
     [](Flow& flow) {
       flow.Post(kCompletions, kBody);
       flow.Head(kOk);
       flow.Chunk("{}", true);
       flow.End(StreamEnd::kHalfClosed);
     }},
    {"C132HeadersOnly", 1,
     [](Flow& flow) {
       flow.Post(kCompletions, kBody);
       flow.Head({{":status", "204"}}, true);
       flow.End(StreamEnd::kCancelled);
     }},
    {"Trailers", 1,
     [](Flow& flow) {
       flow.Post(kCompletions, kStream);
       flow.Head(kSse);
       flow.Chunk("data: {}\n\n", false);
       flow.Chunk("", true);
       flow.End(StreamEnd::kHalfClosed);
     }},
    {"NaturalErrorStatus", 1,
     [](Flow& flow) {
       flow.Post(kCompletions, kBody);
       flow.Head({{":status", "503"}, {"content-type", "application/json"}});
       flow.Chunk(R"({"error":"overloaded"})", true);
       flow.End();
     }},
    {"C143CancelledMidStream", 2,
     [](Flow& flow) {
       flow.Post(kCompletions, kStream);
       flow.Head(kSse);
       flow.Chunk("data: {}\n\n", false);
       flow.End(StreamEnd::kCancelled);
     }},
    {"CancelledBeforeResponse", 2,
     [](Flow& flow) {
       flow.Post(kCompletions, kBody);
       flow.End(StreamEnd::kCancelled);
     }},
    {"DeadlineMidStream", 2,
     [](Flow& flow) {
       flow.Post(kCompletions, kStream);
       flow.Head(kSse);
       flow.End(StreamEnd::kDeadline);
     }},
    {"C031HalfClosedBeforeResponse", 4,
     [](Flow& flow) {
       flow.Post(kCompletions, kBody);
       flow.End(StreamEnd::kHalfClosed);
     }},
    {"C031SendErrorMidStream", 4,
     [](Flow& flow) {
       flow.Post(kCompletions, kStream);
       flow.Head(kSse);
       flow.End(StreamEnd::kSendError);
     }},
    {"ReceiveErrorBeforeResponse", 4,
     [](Flow& flow) {
       flow.Post(kCompletions, kBody);
       flow.End(StreamEnd::kReceiveError);
     }},
    {"PreRequestError", 4,
     [](Flow& flow) {
       flow.Post(kCompletions, kBody, {{"x-test", "two.pre=throw"}});
       flow.End(StreamEnd::kHalfClosed);
     }},
    {"ThrowingHooks", 1,
     [](Flow& flow) {
       flow.Post(kCompletions, kBody, {{"x-test", "one.headers=throw,one.body=throw-int"}});
       flow.Head(kOk);
       flow.Chunk("{}", true);
       flow.End();
     }},
};

TEST_F(Response, TheEndIsToldExactlyOnceHoweverItComes) {
  for (const Ending& ending : kEndings) {
    SCOPED_TRACE(ending.name);
    {
      Flow flow(harness);
      ending.run(flow);
    }
    const std::vector<std::string> trace = TakeTrace();
    EXPECT_EQ(Ends(trace), 1);
    ASSERT_FALSE(trace.empty());
    EXPECT_THAT(trace.back(), StartsWith("end ")) << "hooks run in config order";
    EXPECT_THAT(trace.back(), HasSubstr("last end=" + std::to_string(ending.end)));
    EXPECT_EQ(Count("request_running"), 0);
  }
}

TEST_F(Response, RefusedAndBodylessRequestsHaveNoEndHook) {
  {
    Flow flow(harness);
    EXPECT_THAT(Outcome(flow.Post(kCompletions, "{")), StartsWith("400"));
  }
  {
    Flow flow(harness);
    ASSERT_TRUE(Forwards(flow.Get("/v1/models")));
    flow.Head(kOk);
    EXPECT_FALSE(flow.Chunk("{}", true).replacement) << "C039";
    flow.End();
  }
  {
    Flow flow(harness);
    const request::Header header{":path", "/v1/completions"};
    (void)flow.exchange().OnRequestHeaders({&header, 1}, FakeMetadata(), false);
    flow.End();  // before the body
  }
  EXPECT_THAT(TakeTrace(), IsEmpty());
  EXPECT_EQ(Count("request_running"), 0);
}

TEST_F(Response, C020AndC024StreamingBySseHeader) {
  Flow flow(harness);
  ASSERT_TRUE(flow.Post(kCompletions, kBody).wants_response_body);
  const auto head = flow.Head(kSse);
  EXPECT_TRUE(head.stream_body);
  EXPECT_EQ(Find(head.headers, "x-went-into-resp-headers"), "true");
  EXPECT_EQ(Find(head.headers, "x-one"), "response");
  flow.Chunk("data: {\"usage\":{\"prompt_tokens\":7,", false);
  flow.Chunk("", true);
  EXPECT_THAT(TakeTrace(),
              ElementsAre("one.pre", "two.pre", "one.headers", "two.headers",
                          StartsWith("one.body first end=0"), StartsWith("two.body first end=0"),
                          StartsWith("one.body last end=1"), StartsWith("two.body last end=1"),
                          StartsWith("end last end=1")));
}

TEST_F(Response, C022AndC023ModeFollowsTheRequestToo) {
  Flow buffered(harness);
  buffered.Post(kCompletions, kBody);
  EXPECT_FALSE(buffered.Head(kOk).stream_body);
  Flow streamed(harness);
  streamed.Post(kCompletions, kStream);
  EXPECT_TRUE(streamed.Head(kOk).stream_body) << "stream:true without an SSE header";
}

TEST_F(Response, C034AndC109MetadataComesWithTheEndOnly) {
  Flow flow(harness);
  flow.Post(kCompletions, kStream);
  flow.Head(kSse);
  EXPECT_THAT(flow.Chunk("data: {}\n\n", false).metadata, IsEmpty());
  const auto last = flow.Chunk("data: [DONE]\n\n", true);
  EXPECT_NE(Find(last.metadata, "test", "one"), nullptr);
  EXPECT_NE(Find(last.metadata, "test", "two"), nullptr);

  Flow headers_only(harness);
  headers_only.Post(kCompletions, kBody);
  EXPECT_NE(Find(headers_only.Head({{":status", "204"}}, true).metadata, "test", "one"), nullptr);
}

TEST_F(Response, C078ChunksComeInOrder) {
  Flow flow(harness);
  flow.Post(kCompletions, kStream);
  flow.Head(kSse);
  TakeTrace();
  for (size_t i = 1; i <= 50; ++i) flow.Chunk(std::string(i, ':'), false);
  flow.Chunk("", true);
  std::vector<std::string> one;
  for (const std::string& line : TakeTrace()) {
    if (line.starts_with("one.body")) one.push_back(line.substr(line.rfind(' ')));
  }
  ASSERT_EQ(one.size(), 51u);
  for (size_t i = 0; i < 50; ++i) EXPECT_EQ(one[i], " bytes=" + std::to_string(i + 1));
  EXPECT_EQ(one[50], " bytes=0");
}

TEST_F(Response, C081CauseOnlyAtTheEnd) {
  Flow flow(harness);
  flow.Post(kCompletions, kStream);
  flow.Head(kSse);
  for (int i = 0; i < 50; ++i) flow.Chunk("data: {}\n\n", false);
  for (const std::string& line : TakeTrace()) {
    EXPECT_EQ(line.find("end=1"), std::string::npos) << line;
  }
  flow.Chunk("", true);
  EXPECT_THAT(TakeTrace(),
              ElementsAre(StartsWith("one.body last end=1"), StartsWith("two.body last end=1"),
                          StartsWith("end last end=1")));
}

TEST_F(Response, C035BufferedUsageWithCachedTokens) {
  Flow flow(harness);
  flow.Post(kCompletions, kBody);
  flow.Head(kOk);
  flow.Chunk(R"({"usage":{"prompt_tokens":11,"completion_tokens":100,"total_tokens":111,
                 "prompt_tokens_details":{"cached_tokens":10}}})",
             true);
  flow.End();
  EXPECT_EQ(Count("request_input_tokens_sum"), 11);
  EXPECT_EQ(Count("request_input_tokens_count"), 1);
  EXPECT_EQ(Count("request_output_tokens_sum"), 100);
  EXPECT_EQ(Count("request_output_tokens_count"), 1);
  EXPECT_EQ(Count("request_cached_tokens_sum"), 10);
  EXPECT_EQ(Count("request_duration_seconds_count"), 1);
  EXPECT_EQ(Count("request_ttft_seconds_count"), 1);
  const telemetry::DecisionRecord record = harness.LastDecision();
  EXPECT_EQ(record.output_tokens, 100);
  EXPECT_EQ(record.cached_observed, 10);
  EXPECT_EQ(record.outcome, telemetry::Outcome::kOk);
  EXPECT_EQ(record.http_status, 200);
  EXPECT_TRUE(record.response_seen);
}

TEST_F(Response, C035UnreadableUsageIsNoFailure) {
  for (const char* body : {"{not json", "", "[]", "\xff\xfe", R"({"usage":"many"})"}) {
    Flow flow(harness);
    flow.Post(kCompletions, kBody);
    flow.Head(kOk);
    EXPECT_FALSE(flow.Chunk(body, true).replacement);
    flow.End();
  }
  EXPECT_EQ(Count("request_input_tokens_count"), 0);
  EXPECT_EQ(Count("request_duration_seconds_count"), 5);
}

TEST_F(Response, C036UsageInOneChunkDoneInTheNext) {
  Flow flow(harness);
  flow.Post(kCompletions, kStream);
  flow.Head(kSse);
  flow.Chunk(R"(data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":10,)"
             R"("total_tokens":15}})"
             "\n\n",
             false);
  flow.Chunk("data: [DONE]\n\n", true);
  flow.End();
  EXPECT_EQ(Count("request_input_tokens_sum"), 5);
  EXPECT_EQ(Count("request_output_tokens_sum"), 10);
  EXPECT_EQ(Count("request_streaming_tpot_seconds_count"), 1);
  EXPECT_EQ(Count("request_streaming_itl_seconds_count"), 1);
}

TEST_F(Response, C037AnthropicUsageIsObservedOnce) {
  Flow flow(harness);
  ASSERT_TRUE(Forwards(flow.Post(
      "/v1/messages",
      R"({"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]})")));
  flow.Head(kSse);
  flow.Chunk(
      "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":"
      "{\"input_tokens\":1000,\"cache_read_input_tokens\":800,\"output_tokens\":1}}}\n\n",
      false);
  flow.Chunk(
      "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":"
      "200}}\n\n",
      false);
  flow.Chunk("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", true);
  flow.End();
  EXPECT_EQ(Count("request_input_tokens_sum"), 1000);
  EXPECT_EQ(Count("request_input_tokens_count"), 1);
  EXPECT_EQ(Count("request_cached_tokens_sum"), 800);
  EXPECT_EQ(Count("request_output_tokens_sum"), 200);
  EXPECT_EQ(Count("request_output_tokens_count"), 1);
}

TEST_F(Response, C038EventsAddUp) {
  Flow flow(harness);
  flow.Post(kCompletions, kStream);
  flow.Head(kSse);
  TakeTrace();
  flow.Chunk("data: {\"a\":1}\n\ndata: {\"a\":2}\n\n", false);
  EXPECT_THAT(TakeTrace(), Contains(HasSubstr(" events=2 ")));
  flow.Chunk("data: {\"a\":3}\n\ndata: [DONE]\n\n", true);
  EXPECT_THAT(TakeTrace(), Contains(HasSubstr(" events=3 ")));
  Flow json(harness);
  json.Post(kCompletions, kBody);
  json.Head(kOk);
  json.Chunk("{}", true);
  EXPECT_THAT(TakeTrace(), Contains(HasSubstr(" events=0 ")));
}

TEST_F(Response, C040SizesAddUp) {
  Flow flow(harness);
  flow.Post(kCompletions, kStream);
  flow.Head(kSse);
  flow.Chunk("data", false);
  flow.Chunk("", false);
  flow.Chunk("more", true);
  flow.End();
  EXPECT_EQ(Count("response_size_bytes_sum"), 8);
}

TEST_F(Response, C033AndC112TheClientSeesItsOwnModelName) {
  struct Case {
    const char* in;
    const char* out;  // null: unchanged
  };
  for (const Case& c : {Case{R"({"model":"target","x":1})", R"({"model":"client","x":1})"},
                        Case{R"({"model": "target"})", R"({"model": "client"})"},
                        Case{"data: {\"model\":\"target\"}\n\ndata: {\"model\":\"target\"}\n\n",
                             "data: {\"model\":\"client\"}\n\ndata: {\"model\":\"client\"}\n\n"},
                        Case{R"({"model":"other"})", nullptr}, Case{"{}", nullptr},
                        Case{"data: [DONE]\n\n", nullptr}}) {
    Flow flow(harness);
    const Verdict verdict = flow.Post(kCompletions, R"({"model":"client","prompt":"p"})",
                                      {{"x-llm-d-model-name-rewrite", "target"}});
    EXPECT_EQ(BodyOf(verdict), R"({"model":"target","prompt":"p"})");
    flow.Head(kOk);
    const auto got = flow.Chunk(c.in, true);
    EXPECT_EQ(got.replacement.has_value(), c.out != nullptr) << c.in;
    EXPECT_EQ(got.replacement.value_or(""), c.out ? c.out : "");
  }
  Flow same(harness);
  same.Post(kCompletions, kBody, {{"x-llm-d-model-name-rewrite", "m"}});
  same.Head(kOk);
  EXPECT_FALSE(same.Chunk(R"({"model":"m"})", true).replacement);
}

TEST_F(Response, C133StatusOfTheModelServerIsCounted) {
  for (const Headers& headers :
       {Headers{{":status", "503"}}, Headers{{"status", "500"}}, Headers{{":status", "200"}},
        Headers{{"status", "200"}}, Headers{{":status", "not a number"}}, Headers{}}) {
    Flow flow(harness);
    flow.Post(kCompletions, kBody);
    flow.Head(headers);
    flow.Chunk("{}", true);
    flow.End();
  }
  EXPECT_EQ(harness.Metric("llm_d_epp_request_error_total", "ModelServerError"), 2);
}

TEST(ResponseOfAnotherTarget, TheServedEndpointIsTheOneThatTheProxyNames) {
  constexpr const char* kTwoTargets = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: queue-scorer
  - {type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}
schedulingProfiles:
  - name: default
    plugins: [{pluginRef: queue-scorer}, {pluginRef: max-score-picker}]
)";
  Harness harness({.config = kTwoTargets, .request = {.observe_responses = true}});
  harness.SetPods({{"a", "10.0.0.1", 0}, {"b", "10.0.0.2", 5}});
  Flow flow(harness);
  const Verdict verdict = flow.Post(kCompletions, kBody);
  ASSERT_EQ(Destination(verdict), "10.0.0.1:8000,10.0.0.2:8000");
  const std::string other = "10.0.0.2:8000";
  FakeMetadata served;
  served.Set("envoy.lb", "x-gateway-destination-endpoint-served", other);
  flow.Head(kOk, false, served);
  flow.Chunk("{}", true);
  flow.End();
  EXPECT_EQ(harness.names().Endpoint(harness.LastDecision().served).host_port, other);
}

TEST(ResponseOfAnotherTarget, TheServedEndpointBehindACommonPort) {
  constexpr const char* kRanks = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {type: data-parallel-profile-handler, parameters: {primaryPort: 9000}}
  - type: queue-scorer
  - {type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}
schedulingProfiles:
  - name: default
    plugins: [{pluginRef: queue-scorer}, {pluginRef: max-score-picker}]
)";
  Harness harness({.config = kRanks, .request = {.observe_responses = true}});
  harness.SetPods({{"a", "10.0.0.1", 0}, {"b", "fd00::2", 5}});
  Flow flow(harness);
  const Verdict verdict = flow.Post(kCompletions, kBody);
  ASSERT_EQ(Destination(verdict), "10.0.0.1:9000,[fd00::2]:9000");
  FakeMetadata served;
  served.Set("envoy.lb", "x-gateway-destination-endpoint-served", "[fd00::2]:9000");
  flow.Head(kOk, false, served);
  flow.Chunk("{}", true);
  flow.End();
  EXPECT_EQ(harness.names().Endpoint(harness.LastDecision().served).host_port, "[fd00::2]:8000");
}

class EchoedResponse : public Response {
 protected:
  EchoedResponse() : Response({.echo_headers = true}) {}
};

TEST_F(EchoedResponse, C032AndC137SystemAndHopByHopHeadersStay) {
  Flow flow(harness);
  flow.Post(kCompletions, kBody);
  const auto head = flow.Head({{":status", "200"},
                               {"x-gateway-inference-objective", "a"},
                               {"x-llm-d-inference-objective", "a"},
                               {"x-gateway-destination-endpoint", "1.2.3.4:5"},
                               {"content-length", "3"},
                               {"transfer-encoding", "chunked"},
                               {"set-cookie", "a"},
                               {"set-cookie", "b"},
                               {"x-own", "1"}});
  EXPECT_THAT(Names(head.headers), UnorderedElementsAre("x-went-into-resp-headers", ":status",
                                                        "set-cookie", "x-own", "x-one", "x-two"));
}

TEST_F(Response, SkippedResponsesPassThroughAndEndOnce) {
  Flow flow(harness);
  const Verdict verdict = flow.Post("/v1/messages/count_tokens", R"({"model":"m","messages":[]})");
  ASSERT_TRUE(Forwards(verdict)) << Outcome(verdict);
  EXPECT_TRUE(flow.Head(kOk).stream_body) << "nothing has to be collected";
  EXPECT_FALSE(flow.Chunk(R"({"input_tokens":)", false).replacement);
  EXPECT_FALSE(flow.Chunk("3}", true).replacement);
  flow.End();
  EXPECT_EQ(Ends(TakeTrace()), 1);
  EXPECT_EQ(Count("request_input_tokens_count"), 0);
  EXPECT_EQ(Count("request_running"), 0);
}

TEST(ResponseWithoutHooks, NothingIsAskedForAndResetsAreNatural) {
  constexpr const char* kPlain = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}]
schedulingProfiles:
  - name: default
    plugins: [{pluginRef: queue-scorer}]
)";
  Harness harness({.config = kPlain});
  harness.SetPods({{"a", "10.0.0.1"}});
  {
    Flow flow(harness);
    EXPECT_FALSE(flow.Post(kCompletions, kBody).wants_response_body);
    EXPECT_TRUE(flow.Head(kOk).stream_body);
    flow.End(StreamEnd::kCancelled);
  }
  EXPECT_EQ(harness.LastDecision().outcome, telemetry::Outcome::kOk);
  {
    Flow flow(harness);
    flow.Post(kCompletions, kBody);
    flow.End(StreamEnd::kCancelled);
  }
  EXPECT_EQ(harness.LastDecision().outcome, telemetry::Outcome::kAborted);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
}

}  // namespace
}  // namespace epp::integration
