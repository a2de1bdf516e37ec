// The request phase through a real generation: what is forwarded, where to, and what is refused.
// Case numbers (C...) are those of the ext-proc conformance list.
#include <string>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/request/director.h"
#include "tests/integration/harness.h"
#include "tests/integration/test_plugins.h"

namespace epp::integration {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;
using Verdict = request::RequestVerdict;

constexpr std::string_view kBody = R"({"model":"m","prompt":"hello"})";
constexpr std::string_view kScores = "x-gateway-destination-endpoint-scores";

std::vector<Pod> Scored(std::vector<std::string> scores) {
  std::vector<Pod> pods;
  for (size_t i = 0; i < scores.size(); ++i) {
    Pod pod{"pod-" + std::to_string(i), "10.0.0." + std::to_string(i + 1)};
    pod.labels = {{"score", scores[i]}};
    pods.push_back(pod);
  }
  return pods;
}

constexpr const char* kByLabel = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: test-scorer
  - {type: max-score-picker, parameters: {maxNumOfEndpoints: 3}}
schedulingProfiles:
  - name: default
    plugins: [{pluginRef: test-scorer}, {pluginRef: max-score-picker}]
)";

constexpr const char* kHooks = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {name: one, type: test-hook}
  - {name: two, type: test-hook}
  - {name: three, type: test-hook}
schedulingProfiles:
  - name: default
)";

TEST(Request, C009SystemHeadersAreNotEchoed) {
  Harness harness({.config = kByLabel, .request = {.echo_headers = true}});
  harness.SetPods(Scored({"1"}));
  Flow flow(harness);
  const Verdict verdict = flow.Post(kCompletions, kBody,
                                    {{"x-gateway-inference-objective", "a"},
                                     {"X-LLM-D-Inference-Objective", "b"},
                                     {"x-gateway-destination-endpoint", "6.6.6.6:6666"},
                                     {"content-length", "99999"},
                                     {"x-request-id", "id"},
                                     {"x-user-data", "v"}});
  EXPECT_THAT(Names(verdict.headers),
              UnorderedElementsAre("x-gateway-destination-endpoint", "Content-Length", ":method",
                                   ":path", "x-request-id", "x-user-data"));
  EXPECT_EQ(Destination(verdict), "10.0.0.1:8000");
  EXPECT_EQ(Find(verdict.headers, "Content-Length"), std::to_string(kBody.size()));
}

TEST(Request, EchoNeverRepeatsHopByHopHeaders) {
  Harness harness({.config = kByLabel, .request = {.echo_headers = true}});
  harness.SetPods(Scored({"1"}));
  Flow flow(harness);
  const Verdict verdict = flow.Post(
      kCompletions, kBody, {{"transfer-encoding", "chunked"}, {"te", "trailers"}, {"x-a", "b"}});
  EXPECT_THAT(Names(verdict.headers), Contains("x-a"));
  EXPECT_THAT(Names(verdict.headers), Not(Contains("transfer-encoding")));
  EXPECT_THAT(Names(verdict.headers), Not(Contains("te")));
}

TEST(Request, C010MetadataOfHooksIsMergedAndTheDestinationWins) {
  Harness harness({.config = kHooks});
  harness.SetPods(Scored({"1"}));
  Flow flow(harness);
  const Verdict verdict = flow.Post(kCompletions, kBody, {{"x-test", "one.pre=forge"}});
  ASSERT_TRUE(Forwards(verdict)) << Outcome(verdict);
  EXPECT_NE(Find(verdict.metadata, "test", "one-request"), nullptr);
  const auto* destination = Find(verdict.metadata, "envoy.lb", "x-gateway-destination-endpoint");
  ASSERT_NE(destination, nullptr);
  EXPECT_EQ(std::get<std::string>(destination->value), "10.0.0.1:8000");
  EXPECT_EQ(Destination(verdict), "10.0.0.1:8000");
  EXPECT_THAT(Names(verdict.headers), Not(Contains("x-forged"))) << "a value with a line break";
}

TEST(Request, C011ScoresArePublishedWhenAskedForAndPresent) {
  for (const bool emit : {true, false}) {
    for (const char* config : {kByLabel, kHooks}) {
      const bool scored = config == kByLabel;
      SCOPED_TRACE(testing::Message() << emit << scored);
      Harness harness({.config = config, .request = {.emit_endpoint_scores = emit}});
      harness.SetPods(Scored({"1"}));
      Flow flow(harness);
      const Verdict verdict = flow.Post(kCompletions, kBody);
      EXPECT_EQ(Find(verdict.metadata, "envoy.lb", kScores) != nullptr, emit && scored);
      const auto* to = Find(verdict.metadata, "envoy.lb", "x-gateway-destination-endpoint");
      ASSERT_NE(to, nullptr);
      EXPECT_EQ(std::get<std::string>(to->value), Destination(verdict));
    }
  }
}

TEST(Request, C012AndC100BodylessRequestsGoAnywhere) {
  Harness harness;
  {
    Flow flow(harness);
    const Verdict verdict = flow.Get("/v1/models");
    EXPECT_EQ(Outcome(verdict), "500 inference error: Internal - no pods available in datastore");
    EXPECT_THAT(verdict.immediate.headers, IsEmpty());
  }
  harness.SetPods(Scored({"0", "0", "0"}));
  std::map<std::string, int> seen;
  for (int i = 0; i < 300; ++i) {
    Flow flow(harness);
    const Verdict verdict = flow.Get("/v1/models", {{"x-own", "v"}});
    ASSERT_TRUE(Forwards(verdict));
    EXPECT_THAT(verdict.body, IsEmpty());
    EXPECT_THAT(Names(verdict.headers),
                ElementsAre("x-gateway-destination-endpoint", "x-request-id"));
    ++seen[Destination(verdict)];
    flow.Answer(R"({"data":[]})");
  }
  EXPECT_EQ(seen.size(), 3u);
  for (const auto& [destination, count] : seen) EXPECT_GT(count, 50) << destination;
}

TEST(Request, BodylessWithoutEndpointsMayBe503) {
  Harness harness({.request = {.bodyless_unavailable = true}});
  Flow flow(harness);
  EXPECT_THAT(Outcome(flow.Get("/v1/models")), StartsWith("503 "));
}

TEST(Request, C019AnErrorWithoutText) {
  EXPECT_EQ(Outcome(request::Refuse({scheduling::ErrorCode::kBadRequest, "", {}})),
            "400 inference error: BadRequest - ");
}

TEST(Request, C067UnchangedBodyAndAllTargets) {
  Harness harness({.config = kByLabel});
  harness.SetPods(Scored({"0.1", "0.9", "0.5", "0.3"}));
  Flow flow(harness);
  const Verdict verdict = flow.Post(kCompletions, kBody);
  EXPECT_EQ(BodyOf(verdict), kBody);
  ASSERT_EQ(verdict.body.size(), 1u);
  EXPECT_EQ(Destination(verdict), "10.0.0.2:8000,10.0.0.3:8000,10.0.0.4:8000");
  flow.Answer(R"({"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}})");
  const telemetry::DecisionRecord record = harness.LastDecision();
  EXPECT_EQ(harness.names().Endpoint(record.served).host_port, "10.0.0.2:8000");
}

TEST(Request, SingleDestinationSendsOnlyTheFirst) {
  Harness harness({.config = kByLabel, .request = {.single_destination = true}});
  harness.SetPods(Scored({"0.1", "0.9", "0.5"}));
  Flow flow(harness);
  EXPECT_EQ(Destination(flow.Post(kCompletions, kBody)), "10.0.0.2:8000");
}

TEST(Request, C068ScoresIncludeWhatWasNotPicked) {
  Harness harness({.config = kByLabel, .request = {.emit_endpoint_scores = true}});
  harness.SetPods(Scored({"0.25", "0.75", "0.5", "0"}));
  Flow flow(harness);
  const Verdict verdict = flow.Post(kCompletions, kBody);
  const auto* entry = Find(verdict.metadata, "envoy.lb", kScores);
  ASSERT_NE(entry, nullptr);
  using Numbers = std::vector<std::pair<std::string, double>>;
  EXPECT_THAT(std::get<Numbers>(entry->value),
              UnorderedElementsAre(Pair("10.0.0.1:8000", 0.25), Pair("10.0.0.2:8000", 0.75),
                                   Pair("10.0.0.3:8000", 0.5), Pair("10.0.0.4:8000", 0)));
}

TEST(Request, C069AndC145RewriteByHeaderChangesTheModelOnly) {
  Harness harness;
  harness.SetPods(Scored({"1"}));
  Flow flow(harness);
  const Verdict verdict = flow.Post(
      kCompletions, R"({ "seed": 9007199254740993, "model" : "m", "prompt":"<&> \u00e9" })",
      {{"x-llm-d-model-name-rewrite", "target"}, {"x-gateway-model-name-rewrite", "old"}});
  const std::string expected =
      R"({ "seed": 9007199254740993, "model" : "target", "prompt":"<&> \u00e9" })";
  EXPECT_EQ(BodyOf(verdict), expected);
  EXPECT_EQ(Find(verdict.headers, "Content-Length"), std::to_string(expected.size()));
  EXPECT_EQ(harness.LastDecision().target_model.view(), "target");
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", R"(target_model_name="target")"), 1);
}

TEST(Request, RewriteTargetIsEscaped) {
  Harness harness;
  harness.SetPods(Scored({"1"}));
  Flow flow(harness);
  const Verdict verdict =
      flow.Post(kCompletions, kBody, {{"x-llm-d-model-name-rewrite", "a\"b\\c\n"}});
  EXPECT_EQ(BodyOf(verdict), R"({"model":"a\"b\\c\n","prompt":"hello"})");
}

TEST(Request, C070AndC101MissingModel) {
  Harness harness;  // no endpoint at all: the model is checked before candidates
  {
    Flow flow(harness);
    EXPECT_EQ(Outcome(flow.Post(kCompletions, R"({"prompt":"hello world"})")),
              "400 inference error: BadRequest - model not found in request body");
  }
  harness.SetPods(Scored({"1"}));
  Flow flow(harness);
  const Verdict verdict =
      flow.Post(kCompletions, R"({"prompt":"p"})", {{"x-llm-d-model-name-rewrite", "added"}});
  EXPECT_EQ(BodyOf(verdict), R"({"model":"added","prompt":"p"})");
}

TEST(Request, C071FairnessHeaderOverItsAliasOverTheDefault) {
  struct Case {
    Headers headers;
    const char* expected;
  };
  for (const Case& c :
       {Case{{}, "default-flow"}, Case{{{"x-gateway-inference-fairness-id", "old"}}, "old"},
        Case{{{"x-gateway-inference-fairness-id", "old"}, {"X-LLM-D-Inference-Fairness-Id", "new"}},
             "new"},
        Case{{{"x-gateway-inference-fairness-id", "old"}, {"x-llm-d-inference-fairness-id", ""}},
             "default-flow"}}) {
    SCOPED_TRACE(c.expected);
    Harness harness;
    harness.SetPods(Scored({"1"}));
    Flow flow(harness);
    ASSERT_TRUE(Forwards(flow.Post(kCompletions, kBody, c.headers)));
    EXPECT_EQ(harness.Metric("llm_d_epp_request_total",
                             std::string("fairness_id=\"") + c.expected + "\""),
              1);
  }
}

TEST(Request, C072AndC084PreRequestErrors) {
  struct Case {
    const char* order;
    const char* outcome;
  };
  const std::string precondition = std::to_string(EPP_FAILED_PRECONDITION);
  const std::string exhausted = std::to_string(EPP_RESOURCE_EXHAUSTED);
  const std::string one_typed = "one.pre=" + precondition;
  const std::string two_typed = "one.pre=" + precondition + ",three.pre=" + exhausted;
  const std::string mixed = "one.pre=" + precondition + ",three.pre=throw";
  for (const Case& c : {
           Case{one_typed.c_str(),
                "412 inference error: PreconditionFailed - PreRequest \"one/test-hook\" failed: "
                "one.pre refused"},
           Case{"two.pre=throw",
                "500 inference error: Internal - PreRequest \"two/test-hook\" failed: two.pre "
                "threw"},
           Case{two_typed.c_str(),
                "500 inference error: Internal - PreRequest \"one/test-hook\" failed: one.pre "
                "refused\nPreRequest \"three/test-hook\" failed: three.pre refused"},
           Case{mixed.c_str(),
                "500 inference error: Internal - PreRequest \"one/test-hook\" failed: one.pre "
                "refused\nPreRequest \"three/test-hook\" failed: three.pre threw"},
       }) {
    SCOPED_TRACE(c.order);
    Harness harness({.config = kHooks});
    harness.SetPods(Scored({"1"}));
    TakeTrace();
    Flow flow(harness);
    EXPECT_EQ(Outcome(flow.Post(kCompletions, kBody, {{"x-test", c.order}})), c.outcome);
    EXPECT_THAT(TakeTrace(), ElementsAre("one.pre", "two.pre", "three.pre")) << "all of them run";
    flow.End(request::StreamEnd::kHalfClosed);
    EXPECT_THAT(TakeTrace(),
                ElementsAre(StartsWith("one.body last end=4"), StartsWith("two.body last end=4"),
                            StartsWith("three.body last end=4")));
    EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
  }
}

TEST(Request, C074NoCandidates) {
  Harness harness;
  Flow flow(harness);
  const Verdict verdict = flow.Post(kCompletions, kBody);
  EXPECT_EQ(Outcome(verdict),
            "503 inference error: ServiceUnavailable - failed to find endpoint candidates for "
            "serving the request");
  EXPECT_EQ(DropReason(verdict), "rejected-no-endpoints");
  EXPECT_EQ(harness.Metric("llm_d_epp_request_error_total", "ServiceUnavailable"), 1);
  EXPECT_EQ(harness.LastDecision().outcome, telemetry::Outcome::kRejected);
  EXPECT_EQ(harness.LastDecision().drop_reason.view(), "rejected-no-endpoints");
}

constexpr const char* kHandler = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: test-handler
  - type: test-filter
  - type: test-picker
schedulingProfiles:
  - name: one
    plugins: [{pluginRef: test-filter}, {pluginRef: test-picker}]
  - name: two
    plugins: [{pluginRef: test-picker}]
)";

TEST(Request, C075SchedulerErrors) {
  struct Case {
    const char* name;
    std::string order;
    std::string outcome;
    const char* reason = "";
  };
  for (const Case& c : {
           Case{"DrainedByFilters", "filter=drop",
                "429 inference error: ResourceExhausted - no endpoints available for the given "
                "request",
                "rejected-saturated"},
           Case{"UntypedConclusion", "conclude=throw",
                "429 inference error: ResourceExhausted - failed to find target endpoint: "
                "conclude threw"},
           Case{"NothingRuns", "choose=nothing",
                "429 inference error: ResourceExhausted - failed to find target endpoint: failed "
                "to run any scheduler profile for request the-id"},
           Case{"NoResult", "conclude=outside",
                "500 inference error: Internal - results must be greater than zero"},
           Case{
               "TypedChoice", "choose=" + std::to_string(EPP_UNAVAILABLE),
               "503 inference error: ServiceUnavailable - profile handler \"test-handler\" failed: "
               "choose refused"},
       }) {
    SCOPED_TRACE(c.name);
    Harness harness({.config = kHandler});
    harness.SetPods(Scored({"1"}));
    Flow flow(harness);
    const Verdict verdict =
        flow.Post(kCompletions, kBody, {{"x-test", c.order}, {"x-request-id", "the-id"}});
    EXPECT_EQ(Outcome(verdict), c.outcome);
    EXPECT_EQ(DropReason(verdict), c.reason);
    EXPECT_EQ(harness.Metric("llm_d_epp_scheduler_attempts_total", "status=\"failure\""), 1);
  }
}

constexpr const char* kPrefix = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: prefix-cache-scorer
  - type: queue-scorer
  - {type: approx-prefix-cache-producer, parameters: {autoTune: false, blockSizeTokens: 16}}
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: prefix-cache-scorer, weight: 2}
      - {pluginRef: queue-scorer, weight: 1.5}
)";

std::string LongPrompt(char fill) {
  std::string prompt;
  for (int i = 0; i < 200; ++i) prompt += std::string("word") + fill + std::to_string(i) + " ";
  return R"({"model":"m","prompt":")" + prompt + R"("})";
}

std::string TwoScorers(const char* first, const char* second) {
  return std::string(R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: test-filter
  - type: test-scorer
  - type: test-valued
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: test-filter}
      - {pluginRef: test-scorer, weight: )") +
         first + "}\n      - {pluginRef: test-valued, weight: " + second + "}\n";
}

// Cases 57 to 60 of the scheduling list.
TEST(Request, Case057To060ProfilesAddWeightedClampedScores) {
  struct Case {
    const char* name;
    const char* weights[2];
    const char* scores[2];
    double total;
  };
  for (const Case& c : {Case{"Case057", {"1", "1"}, {"0.3", "0.8"}, 1.1},
                        Case{"Case058", {"60", "40"}, {"0.3", "0.8"}, 50},
                        Case{"Case059", {"1", "1"}, {"-0.5", "1.5"}, 1.0}}) {
    SCOPED_TRACE(c.name);
    Harness harness({.config = TwoScorers(c.weights[0], c.weights[1]),
                     .request = {.emit_endpoint_scores = true}});
    Pod best{"best", "10.0.0.1"};
    best.labels = {{"score", c.scores[0]}, {"value", c.scores[1]}};
    Pod other{"other", "10.0.0.2"};
    other.labels = {{"score", "0"}, {"value", "0"}};
    harness.SetPods({other, best});
    Flow flow(harness);
    const Verdict verdict = flow.Post(kCompletions, kBody);
    EXPECT_EQ(Destination(verdict), "10.0.0.1:8000");
    const auto* entry = Find(verdict.metadata, "envoy.lb", kScores);
    ASSERT_NE(entry, nullptr);
    using Numbers = std::vector<std::pair<std::string, double>>;
    EXPECT_THAT(std::get<Numbers>(entry->value),
                Contains(Pair("10.0.0.1:8000", testing::DoubleNear(c.total, 1e-9))));
  }

  Harness harness({.config = TwoScorers("1", "1")});
  harness.SetPods(Scored({"1"}));
  Flow flow(harness);
  const Verdict verdict = flow.Post(kCompletions, kBody, {{"x-test", "filter=drop"}});
  EXPECT_THAT(Outcome(verdict), StartsWith("429 ")) << "Case060";
  EXPECT_EQ(DropReason(verdict), "rejected-saturated");
  EXPECT_EQ(harness.Metric("llm_d_epp_plugin_duration_seconds_count", "extension_point=\"Filter\""),
            1);
  EXPECT_EQ(harness.Metric("llm_d_epp_plugin_duration_seconds_count", "extension_point=\"Scorer\""),
            0);
}

TEST(Request, C082ConditionalDecode) {
  Harness harness({.config = kPrefix});
  harness.SetPods(Scored({"0", "0"}));
  const std::string body = LongPrompt('a');
  const auto ask = [&](std::string_view text, const Headers& headers) {
    Flow flow(harness);
    const std::string outcome = Outcome(flow.Post(kCompletions, text, headers));
    flow.Head({{":status", "200"}});
    flow.Chunk("{}", true);
    flow.End();
    return outcome;
  };
  constexpr const char* kRefused =
      "412 inference error: PreconditionFailed - no decode worker has the requested KV cache";
  EXPECT_EQ(ask(body, {{"prefer", "if-available"}}), kRefused) << "nobody has it yet";
  EXPECT_EQ(ask(body, {}), "forward");
  EXPECT_EQ(ask(body, {{"prefer", "if-available"}}), "forward");
  EXPECT_EQ(ask(LongPrompt('b'), {{"prefer", "if-available"}}), kRefused);
  EXPECT_EQ(ask(LongPrompt('b'), {{"prefer", "respond-async"}}), "forward");

  Harness without({.config = kByLabel});
  without.SetPods(Scored({"0"}));
  Flow flow(without);
  EXPECT_EQ(Outcome(flow.Post(kCompletions, kBody, {{"prefer", "if-available"}})), kRefused);
}

TEST(Request, C083PreferTokens) {
  Harness harness({.config = kByLabel});
  harness.SetPods(Scored({"0"}));
  for (const auto& [value, conditional] :
       std::vector<std::pair<const char*, bool>>{{"return=minimal, if-available", true},
                                                 {"If-Available", true},
                                                 {"if-available;param=v", true},
                                                 {" if-available ; a=b ,x", true},
                                                 {"if-available-but-different", false},
                                                 {"", false},
                                                 {",,;,", false}}) {
    Flow flow(harness);
    EXPECT_EQ(!Forwards(flow.Post(kCompletions, kBody, {{"prefer", value}})), conditional) << value;
  }
}

TEST(Request, C093AndC102AndC148SubsetHints) {
  Harness harness({.config = kByLabel});
  harness.SetPods(Scored({"0.9", "0.1", "0.5"}));
  const auto ask = [&](const request::Metadata& metadata) {
    Flow flow(harness);
    return Destination(flow.Post(kCompletions, kBody, {}, metadata));
  };
  constexpr const char* kNone =
      "503 inference error: ServiceUnavailable - failed to find endpoint candidates for serving "
      "the request";
  const std::string all = "10.0.0.1:8000,10.0.0.3:8000,10.0.0.2:8000";
  EXPECT_EQ(ask(FakeMetadata()), all);
  EXPECT_EQ(ask(SubsetHint({"10.0.0.2:8000"})), "10.0.0.2:8000");
  EXPECT_EQ(ask(SubsetHint({"10.0.0.2:1", "192.168.1.99:8000"})), "10.0.0.2:8000");
  EXPECT_EQ(ask(SubsetHint({"192.168.1.99:8000"})), kNone);
  EXPECT_EQ(ask(SubsetHint({})), kNone) << "non-strings were skipped, or there was nothing";
  EXPECT_EQ(ask(FakeMetadata()), all) << "an empty hint must not stick";
  FakeMetadata text;
  text.Set("envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset",
           std::string("10.0.0.2:8000"));
  EXPECT_EQ(ask(text), all) << "a string is no list";
  FakeMetadata elsewhere;
  elsewhere.Set("envoy.lb", "x-gateway-destination-endpoint-subset",
                std::vector<std::string>{"10.0.0.2:8000"});
  EXPECT_EQ(ask(elsewhere), all);

  Flow refused(harness);
  EXPECT_EQ(DropReason(refused.Post(kCompletions, kBody, {}, SubsetHint({"1.1.1.1"}))),
            "rejected-no-endpoints");

  Harness off({.config = kByLabel, .request = {.subset_filter = false}});
  off.SetPods(Scored({"0.9", "0.1"}));
  Flow flow(off);
  EXPECT_EQ(Destination(flow.Post(kCompletions, kBody, {}, SubsetHint({"1.1.1.1"}))),
            "10.0.0.1:8000,10.0.0.2:8000");
}

TEST(Request, C135Ipv6IsBracketedAndMatchesHints) {
  Harness harness({.config = kByLabel});
  Pod pod{"six", "fd00::1"};
  harness.SetPods({pod, {"four", "10.0.0.1"}});
  for (const char* hint : {"[fd00::1]:8000", "fd00::1", "[fd00::1]"}) {
    Flow scheduled(harness);
    EXPECT_EQ(Destination(scheduled.Post(kCompletions, kBody, {}, SubsetHint({hint}))),
              "[fd00::1]:8000");
    Flow bodyless(harness);
    EXPECT_EQ(Destination(bodyless.Get("/v1/models", {}, SubsetHint({hint}))), "[fd00::1]:8000");
  }
}

TEST(Request, C136AndC139ManyHeadersAndRepeatedOnesAreNotEchoed) {
  Harness harness;
  harness.SetPods(Scored({"0"}));
  Headers headers = {{"cookie", "a=1"}, {"cookie", "b=2"}, {"x-request-id", "id"}};
  for (int i = 0; i < 120; ++i) headers.emplace_back("x-h-" + std::to_string(i), "v");
  Flow flow(harness);
  const Verdict verdict = flow.Post(kCompletions, kBody, headers);
  EXPECT_THAT(Names(verdict.headers),
              ElementsAre("Content-Length", "x-gateway-destination-endpoint"));
  EXPECT_THAT(verdict.headers.remove, IsEmpty());
}

TEST(Request, RequestIdIsGeneratedWhenAbsentOrEmpty) {
  Harness harness;
  harness.SetPods(Scored({"0"}));
  for (const Headers& headers : {Headers{}, Headers{{"X-Request-Id", ""}}}) {
    Flow flow(harness);
    const Verdict verdict = flow.Post(kCompletions, kBody, headers);
    const std::string id = Find(verdict.headers, "x-request-id").value_or("");
    EXPECT_THAT(id, testing::MatchesRegex("[0-9a-f]+-[0-9a-f]+-4[0-9a-f]+-[89ab][0-9a-f]+-"
                                          "[0-9a-f]+"));
    EXPECT_EQ(id.size(), 36u);
  }
}

TEST(Request, TheFirstOfSeveralRequestIdsCounts) {
  Harness harness;
  harness.SetPods(Scored({"0"}));
  Flow flow(harness);
  const Verdict verdict =
      flow.Post(kCompletions, kBody, {{"x-request-id", "first"}, {"X-Request-Id", "second"}});
  EXPECT_EQ(Find(verdict.headers, "x-request-id"), "first") << "so that all hops name it alike";
  EXPECT_EQ(harness.LastDecision().request_id.view(), "first");
}

TEST(Request, HooksRunInConfigOrderAndChangeHeaders) {
  Harness harness({.config = kHooks});
  harness.SetPods(Scored({"1"}));
  TakeTrace();
  Flow flow(harness);
  const Verdict verdict = flow.Post(
      kCompletions, kBody, {{"x-test", "two.pre=remove"}, {"x-remove-me", "1"}, {"x-one", "0"}});
  EXPECT_THAT(TakeTrace(), ElementsAre("one.pre", "two.pre", "three.pre"));
  EXPECT_EQ(Find(verdict.headers, "x-one"), "request");
  EXPECT_EQ(Find(verdict.headers, "x-two"), "request");
  EXPECT_THAT(verdict.headers.remove, ElementsAre("x-remove-me"));
}

TEST(Request, StripSystemHeadersRemovesTheClientsOwn) {
  Harness harness({.request = {.strip_system_headers = true}});
  harness.SetPods(Scored({"1"}));
  Flow flow(harness);
  const Verdict verdict =
      flow.Post(kCompletions, kBody,
                {{"x-llm-d-inference-objective", "o"}, {"content-length", "3"}, {"x-mine", "1"}});
  EXPECT_THAT(verdict.headers.remove, ElementsAre("x-llm-d-inference-objective"));
}

TEST(Request, PrefixSticksAndSpillsOver) {
  Harness harness({.config = kPrefix});
  std::vector<Pod> pods = Scored({"0", "0", "0"});
  harness.SetPods(pods);
  const auto ask = [&](const std::string& body) {
    Flow flow(harness);
    const std::string destination = Destination(flow.Post(kCompletions, body));
    flow.Answer(R"({"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}})");
    return destination;
  };
  const std::string first = ask(LongPrompt('a'));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(ask(LongPrompt('a')), first) << "sticks";

  // Its queue is long now: 1.5 for an empty queue is worth less than 2 for the whole prefix.
  for (Pod& pod : pods) {
    if (first.starts_with(pod.address + ":")) pod.queue = 100;
  }
  harness.SetPods(pods);
  EXPECT_EQ(ask(LongPrompt('a')), first) << "a full match outweighs the queue";
  // A prompt that nobody has goes where the queue is short.
  for (int i = 0; i < 20; ++i) {
    EXPECT_NE(ask(LongPrompt(static_cast<char>('c' + i))), first) << "spills over";
  }
}

TEST(Request, EmptyBodyWithoutMemoryReachesParsersPadded) {
  constexpr const char* kParser = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: test-parser
schedulingProfiles:
  - name: default
requestHandler:
  parsers: [{pluginRef: test-parser}]
)";
  Harness harness({.config = kParser});
  harness.SetPods(Scored({"1"}));
  const std::vector<request::Header> headers = {{":path", "/test/parse"}};
  const FakeMetadata none;
  {
    const auto exchange = harness.NewExchange();
    (void)exchange->OnRequestHeaders(headers, none, false);
    const Verdict verdict = exchange->OnRequestBody({}, none);
    EXPECT_EQ(Outcome(verdict), "forward");
    EXPECT_THAT(verdict.body, IsEmpty());
    exchange->OnStreamEnd(request::StreamEnd::kHalfClosed);
  }
  Harness standard;
  standard.SetPods(Scored({"1"}));
  for (const char* path : {"/v1/completions", "/v1/chat/completions", "/v1/messages",
                           "/inference/v1/generate", "/anything"}) {
    const std::vector<request::Header> to = {{":path", path}};
    const auto exchange = standard.NewExchange();
    (void)exchange->OnRequestHeaders(to, none, false);
    const std::string outcome = Outcome(exchange->OnRequestBody({}, none));
    EXPECT_TRUE(outcome.starts_with("400 ") || outcome == "forward") << path << ": " << outcome;
    exchange->OnStreamEnd(request::StreamEnd::kHalfClosed);
  }
}

}  // namespace
}  // namespace epp::integration
