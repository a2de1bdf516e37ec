// What a hostile or broken client may send: never a crash, always a defined answer.
#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/utf8.h"
#include "tests/integration/harness.h"
#include "tests/integration/test_plugins.h"
#include "tests/integration/wire.h"

namespace epp::integration {
namespace {

using ::testing::AnyOf;
using ::testing::StartsWith;
using Verdict = request::RequestVerdict;

constexpr std::string_view kPlain = R"({"model":"m","prompt":"p"})";

class Hostile : public testing::Test {
 protected:
  Hostile() { harness.SetPods({{"a", "10.0.0.1"}, {"b", "10.0.0.2"}}); }

  std::string Ask(std::string_view path, std::string_view body, const Headers& headers = {}) {
    Flow flow(harness);
    const Verdict verdict = flow.Post(path, body, headers);
    EXPECT_TRUE(utf8::Valid(verdict.immediate.body)) << verdict.immediate.body;
    for (const request::HeaderSet& header : verdict.immediate.headers) {
      EXPECT_EQ(header.value.find_first_of("\r\n"), std::string::npos);
    }
    std::string outcome = Outcome(verdict);
    if (outcome == "forward") flow.Answer("{}");
    return outcome;
  }
  // Nothing that was sent before may matter.
  ~Hostile() override {
    EXPECT_EQ(Ask(kCompletions, kPlain), "forward");
    EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
  }
  Harness harness;
};

struct Sample {
  std::string_view path;
  std::string_view body;
};

const Sample kSamples[] = {
    {kCompletions,
     R"({"model":"m","prompt":["a\u00e9\n","b"],"max_tokens":16,"stream":true,"x":[1,-2.5e3]})"},
    {kChat,
     R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi \ud83d\ude00"},)"
     R"({"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],"tools":[{"a":1}]})"},
    {"/v1/messages",
     R"({"model":"m","max_tokens":5,"system":"s","messages":[{"role":"user","content":"hi"}]})"},
    {"/inference/v1/generate", R"({"model":"m","token_ids":[1,2,3],"sampling_params":{}})"},
};

TEST_F(Hostile, TruncationAtEveryByteIs400) {
  for (const Sample& sample : kSamples) {
    ASSERT_EQ(Ask(sample.path, sample.body), "forward") << sample.path;
    for (size_t n = 0; n < sample.body.size(); ++n) {
      EXPECT_THAT(Ask(sample.path, sample.body.substr(0, n)),
                  StartsWith("400 inference error: BadRequest - "))
          << sample.path << " cut at " << n;
    }
  }
}

TEST_F(Hostile, EveryByteReplacedIsAnswered) {
  for (const Sample& sample : kSamples) {
    for (size_t n = 0; n < sample.body.size(); ++n) {
      for (const char c : {'\0', '"', '{', ']', '\\', '\x80', '\xff', '9'}) {
        std::string body(sample.body);
        body[n] = c;
        EXPECT_THAT(Ask(sample.path, body), AnyOf("forward", StartsWith("400 ")))
            << sample.path << " byte " << n << " is " << static_cast<int>(c);
      }
    }
  }
}

TEST_F(Hostile, OddJson) {
  const auto prompt = [](std::string_view value) {
    return R"({"model":"m","prompt":)" + std::string(value) + "}";
  };
  // Each is either forwarded as it is or answered 400.
  for (const std::string& body : {
           prompt(R"("\xff\xfe")"),
           prompt("\"\xff\xfe\""),
           prompt("\"\xed\xa0\x80\""),  // a surrogate in UTF-8
           prompt(R"("\ud800")"),
           prompt("1e999999"),
           prompt("[1e309, -1e309]"),
           prompt("[99999999999999999999999999]"),
           prompt("[-1, 4294967296, 1.5]"),
           prompt(R"("a","prompt":"b","prompt":[1])"),
           prompt(R"("a","model":"second","model":7)"),
           prompt(R"("a","max_tokens":-9223372036854775809)"),
           prompt(R"("a","max_tokens":1e400)"),
           prompt(R"("a","stream":"yes")"),
           prompt(std::string(100000, '[') + std::string(100000, ']')),
           prompt("{\"a\":" + std::string(5000, '[')),
           std::string(100000, '{'),
           std::string(1000, '\0'),
           std::string("\xef\xbb\xbf{}"),
           std::string("nul"),
           std::string("[]"),
           std::string("\"m\""),
           std::string("3"),
           std::string("{} {}"),
           std::string(R"({"":""})"),
           prompt("\"" + std::string(2'000'000, 'x') + "\""),
       }) {
    for (const Sample& sample : kSamples) {
      EXPECT_THAT(Ask(sample.path, body), AnyOf("forward", StartsWith("400 ")))
          << sample.path << " " << body.substr(0, 60);
    }
  }
}

TEST_F(Hostile, ModelNamesAreForwardedOrRefusedButNeverBreakTheBody) {
  for (const std::string& model :
       {std::string(R"(a\"b)"), std::string(R"(\u0000)"), std::string(R"(\ud83d\ude00)"),
        std::string(R"(\\)"), std::string(100'000, 'm'), std::string(R"(a\nb)")}) {
    Flow flow(harness);
    const Verdict verdict = flow.Post(kCompletions, R"({"model":")" + model + R"(","prompt":"p"})",
                                      {{"x-llm-d-model-name-rewrite", "t\x01\xff\""}});
    ASSERT_TRUE(Forwards(verdict)) << Outcome(verdict);
    EXPECT_THAT(BodyOf(verdict), StartsWith(R"({"model":"t\u0001)"));
    EXPECT_THAT(BodyOf(verdict), testing::EndsWith(R"(,"prompt":"p"})"));
  }
}

TEST_F(Hostile, TenThousandHeaders) {
  Headers headers;
  for (int i = 0; i < 10'000; ++i) {
    headers.emplace_back("X-Header-" + std::to_string(i % 7'000), std::string(20, 'v'));
  }
  EXPECT_EQ(Ask(kCompletions, kPlain, headers), "forward");
}

TEST_F(Hostile, AMegabyteInAHeader) {
  const std::string big(1 << 20, 'v');
  for (const char* name : {"x-own", "x-request-id", "x-llm-d-inference-fairness-id", "prefer",
                           "x-llm-d-inference-objective", "x-llm-d-model-name-rewrite"}) {
    EXPECT_EQ(Ask(kCompletions, kPlain, {{name, big}}), "forward") << name;
  }
  EXPECT_EQ(Ask(kCompletions, kPlain, {{big, "v"}}), "forward");
  EXPECT_LT(harness.MetricsText().size(), size_t{16} << 20);
}

TEST_F(Hostile, C146PathsThatAreNoText) {
  constexpr const char* kStrict = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: openai-parser
schedulingProfiles:
  - name: default
requestHandler:
  parsers: [{pluginRef: openai-parser}]
)";
  Harness strict({.config = kStrict});
  strict.SetPods({{"a", "10.0.0.1"}});
  for (const std::string& path :
       {std::string("/\xff\xfe\x80"), std::string("/a\r\nb: c"), std::string(100'000, '/'),
        std::string("\xf0\x9f"), std::string(1, '\0')}) {
    Flow flow(strict);
    const Verdict verdict = flow.Post(path, kPlain);
    EXPECT_THAT(Outcome(verdict),
                StartsWith("400 inference error: BadRequest - no parser registered matching "
                           "path suffix for: "));
    EXPECT_TRUE(utf8::Valid(verdict.immediate.body));
    EXPECT_TRUE(verdict.immediate.headers.empty());
  }
}

TEST_F(Hostile, RequestIdsNeverReachAHeaderOrBreakARecord) {
  constexpr const char* kHandler = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: test-handler
schedulingProfiles:
  - name: default
)";
  for (const bool echo : {false, true}) {
    Harness handled({.config = kHandler, .request = {.echo_headers = echo}});
    handled.SetPods({{"a", "10.0.0.1"}});
    for (const std::string& id : {std::string("a\r\nset-cookie: evil"),
                                  std::string("\x01\x02\x7f\0", 4), std::string(10'240, 'i'),
                                  std::string("\xff\xfe"), std::string(63, 'a') + "\xe2\x82\xac"}) {
      {
        Flow flow(handled);
        const Verdict verdict =
            flow.Post(kCompletions, kPlain, {{"x-request-id", id}, {"x-test", "choose=nothing"}});
        EXPECT_THAT(Outcome(verdict), StartsWith("429 "));
        EXPECT_TRUE(utf8::Valid(verdict.immediate.body));
        EXPECT_TRUE(verdict.immediate.headers.empty());
      }
      Flow flow(handled);
      const Verdict verdict = flow.Post(kCompletions, kPlain, {{"x-request-id", id}});
      ASSERT_TRUE(Forwards(verdict));
      for (const request::HeaderSet& header : verdict.headers.set) {
        EXPECT_EQ(header.value.find_first_of(std::string_view("\r\n\0", 3)), std::string::npos)
            << header.name;
      }
      EXPECT_LT(handled.LastDecision().request_id.view().size(), 64u);
    }
  }
}

TEST_F(Hostile, OddResponses) {
  for (const std::string& chunk :
       {std::string("data: "), std::string("data: {\"usage\":{\"prompt_tokens\":1e400}}\n\n"),
        std::string("data: {\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":-1}}\n\n"),
        std::string("\xff\xfe\0\0", 4), "data: {\"usage\":" + std::string(100'000, '['),
        std::string(3'000'000, '\n'),
        std::string("data: {\"usage\":{\"prompt_tokens\":9223372036854775807,"
                    "\"completion_tokens\":9223372036854775807}}\n\n")}) {
    Harness observed({.request = {.observe_responses = true}});
    observed.SetPods({{"a", "10.0.0.1"}});
    for (const char* type : {"text/event-stream", "application/json", ""}) {
      Flow flow(observed);
      ASSERT_TRUE(Forwards(flow.Post(kCompletions, kPlain)));
      flow.Head({{":status", "99999999999999999999"}, {"content-type", type}});
      flow.Chunk(chunk, false);
      flow.Chunk(chunk, true);
      flow.End();
    }
    EXPECT_EQ(observed.Metric("llm_d_epp_request_running"), 0);
  }
}

TEST(HostileWire, BytesThatAreNoMessage) {
  Harness harness;
  harness.SetPods({{"a", "10.0.0.1"}});
  WireServer server(harness);
  WireStream stream(server);
  // Valid for the client's own encoder, unusual for the server: no header has a name or a value.
  pb::ProcessingRequest headers;
  for (int i = 0; i < 1000; ++i)
    headers.mutable_request_headers()->mutable_headers()->add_headers();
  stream.Send(headers);
  stream.Send(pb::ProcessingRequest());
  stream.RequestBody(kPlain, true);
  EXPECT_EQ(DestinationOf(stream.Read()), "10.0.0.1:8000");
  EXPECT_EQ(KindOf(stream.Read()), "request_body end");
}

TEST(HostileWire, TenThousandHeadersAndAMegabyteOverTheWire) {
  Harness harness;
  harness.SetPods({{"a", "10.0.0.1"}});
  WireServer server(harness);
  Headers headers = {{":path", "/v1/completions"}, {"x-big", std::string(1 << 20, 'v')}};
  for (int i = 0; i < 10'000; ++i) headers.emplace_back("x-" + std::to_string(i), "v");
  WireStream stream(server);
  stream.RequestHeaders(headers);
  stream.RequestBody(kPlain, true);
  const pb::ProcessingResponse response = stream.Read();
  EXPECT_EQ(DestinationOf(response), "10.0.0.1:8000");
  EXPECT_LE(response.request_headers().response().header_mutation().set_headers_size(), 3);
}

}  // namespace
}  // namespace epp::integration
