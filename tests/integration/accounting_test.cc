// Whatever happens to requests, the books are straight in the end.
#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/harness.h"
#include "tests/integration/test_plugins.h"

namespace epp::integration {
namespace {

using request::StreamEnd;

constexpr const char* kConfig = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: load-aware-scorer
  - type: prefix-cache-scorer
  - type: inflight-load-producer
  - {name: hook, type: test-hook}
  - type: test-end
schedulingProfiles:
  - name: default
    plugins: [{pluginRef: load-aware-scorer}, {pluginRef: prefix-cache-scorer}]
)";

constexpr const char* kSse = "text/event-stream";

// One exchange of the kind `kind`; true when it was forwarded.
bool RunOne(Harness& harness, int kind, int i) {
  Flow flow(harness);
  const std::string body = R"({"model":"m)" + std::to_string(i % 3) + R"(","stream":)" +
                           (kind % 2 ? "true" : "false") + R"(,"prompt":"words )" +
                           std::to_string(i % 17) + R"( and more words"})";
  switch (kind) {
    case 0:  // natural, buffered
      flow.Post(kCompletions, body);
      flow.Answer(R"({"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}})");
      return true;
    case 1:  // natural, streamed
      flow.Post(kCompletions, body);
      flow.Head({{":status", "200"}, {"content-type", kSse}});
      flow.Chunk("data: {}\n\n", false);
      flow.Chunk("data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n", false);
      flow.Chunk("data: [DONE]\n\n", true);
      flow.End();
      return true;
    case 2:  // never answered
      flow.Post(kCompletions, body);
      flow.End(StreamEnd::kSendError);
      return true;
    case 3:  // the client leaves in the middle
      flow.Post(kCompletions, body);
      flow.Head({{":status", "200"}, {"content-type", kSse}});
      flow.Chunk("data: {}\n\n", false);
      flow.End(StreamEnd::kCancelled);
      return true;
    case 4:  // a hook refuses behind the counter
      flow.Post(kCompletions, body, {{"x-test", "hook.pre=throw"}});
      flow.End(StreamEnd::kHalfClosed);
      return false;
    case 5:  // answered with its headers
      flow.Post(kCompletions, body);
      flow.Head({{":status", "500"}}, true);
      flow.End(StreamEnd::kHalfClosed);
      return true;
    case 6:  // bad request
      flow.Post(kCompletions, "{");
      return false;
    case 7:  // no candidate
      flow.Post(kCompletions, body, {}, SubsetHint({"9.9.9.9"}));
      return false;
    case 8:  // leaves between headers and body
      flow.Get("/v1/models");
      flow.End(StreamEnd::kCancelled);
      return false;
    default:  // leaves after the response headers
      flow.Post(kCompletions, body);
      flow.Head({{":status", "200"}, {"content-type", kSse}});
      flow.End(StreamEnd::kDeadline);
      return true;
  }
}

TEST(Accounting, AThousandMixedEndings) {
  Harness harness({.config = kConfig});
  harness.SetPods({{"a", "10.0.0.1"}, {"b", "10.0.0.2"}, {"c", "10.0.0.3"}});
  TakeTrace();
  int forwarded = 0;
  int hooked = 0;
  for (int i = 0; i < 1000; ++i) {
    // A fixed mix that no period of the loop matches.
    const int kind = (i * 7 + i / 10) % 10;
    const bool was = RunOne(harness, kind, i);
    forwarded += was;
    hooked += was || kind == 4;
  }
  int ends = 0;
  for (const std::string& line : TakeTrace()) ends += line.starts_with("end ");
  EXPECT_EQ(ends, hooked);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total"), forwarded);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_input_tokens_sum"),
            3 * harness.Metric("llm_d_epp_request_input_tokens_count"));
  EXPECT_EQ(harness.Metric("llm_d_epp_request_input_tokens_count"), 200);

  // Loads are gauges by endpoint and flow; every series must be back at zero.
  const std::string page = harness.MetricsText();
  int series = 0;
  for (size_t at = 0; at < page.size();) {
    const size_t end = std::min(page.find('\n', at), page.size());
    const std::string line = page.substr(at, end - at);
    at = end + 1;
    if (line.starts_with('#') || line.find("inflight_") == std::string::npos) continue;
    ++series;
    EXPECT_TRUE(line.ends_with(" 0")) << line;
  }
  EXPECT_GT(series, 0) << "the gauges of inflight-load-producer have another name now";
}

TEST(Accounting, LoadsCountWhileRequestsRun) {
  Harness harness({.config = kConfig});
  harness.SetPods({{"a", "10.0.0.1"}});
  std::vector<std::unique_ptr<Flow>> flows;
  for (int i = 0; i < 5; ++i) {
    flows.push_back(std::make_unique<Flow>(harness));
    ASSERT_TRUE(Forwards(flows.back()->Post(kCompletions, R"({"model":"m","prompt":"p"})")));
  }
  EXPECT_EQ(harness.Metric("llm_d_epp_request_running", "model_name=\"m\""), 5);
  for (auto& flow : flows) flow->Answer("{}");
  EXPECT_EQ(harness.Metric("llm_d_epp_request_running", "model_name=\"m\""), 0);
}

TEST(Accounting, ManyModelsAndFlowsStayBounded) {
  Harness harness;
  harness.SetPods({{"a", "10.0.0.1"}});
  for (int i = 0; i < 3000; ++i) {
    Flow flow(harness);
    const std::string model = R"({"prompt":"p","model":"m)" + std::to_string(i) + "\"}";
    ASSERT_TRUE(Forwards(flow.Post(kCompletions, model,
                                   {{"x-llm-d-inference-fairness-id", "f" + std::to_string(i)}})));
    flow.Answer("{}");
  }
  EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total"), 3000);
  EXPECT_LT(harness.MetricsText().size(), size_t{16} << 20);
}

}  // namespace
}  // namespace epp::integration
