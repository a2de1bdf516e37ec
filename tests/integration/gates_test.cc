// What a request passes before it is scheduled: header plugins, screeners, admitters. Case numbers
// (C...) are those of the ext-proc conformance list.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/admin/decision_view.h"
#include "tests/integration/harness.h"
#include "tests/integration/test_plugins.h"

namespace epp::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kBody = R"({"model":"m","prompt":"hello"})";
constexpr const char* kGates = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {type: agent-identity}
  - {name: gate, type: test-gate}
  - {type: test-scorer}
  - {type: max-score-picker}
schedulingProfiles:
  - name: default
    plugins: [{pluginRef: test-scorer}, {pluginRef: max-score-picker}]
)";

std::vector<Pod> TwoPods() {
  std::vector<Pod> pods{{"a", "10.0.0.1"}, {"b", "10.0.0.2"}};
  pods[0].labels = {{"score", "0.1"}};
  pods[1].labels = {{"score", "0.9"}};
  return pods;
}

TEST(Gates, C071FairnessIdOfHeaderThenAgentThenDefault) {
  Harness harness({.config = kGates});
  harness.SetPods(TwoPods());
  TakeTrace();
  const Headers cases[] = {
      {{"x-llm-d-inference-fairness-id", "flow"}, {"session-id", "agent"}},
      {{"x-gateway-inference-fairness-id", "old-flow"}, {"session-id", "agent"}},
      {{"session-id", "agent"}},
      {},
  };
  for (Headers headers : cases) {
    Flow flow(harness);
    headers.push_back({"x-test", "admit=note"});
    EXPECT_TRUE(Forwards(flow.Post(kCompletions, kBody, headers)));
  }
  EXPECT_THAT(TakeTrace(), ElementsAre("admit flow 2", "admit old-flow 2", "admit agent 2",
                                       "admit default-flow 2"));
}

TEST(Gates, C073ADenialIsInternalUnlessItsOwnStatusIsWanted) {
  for (const bool own : {false, true}) {
    Harness harness({.config = kGates, .request = {.own_denials = own}});
    harness.SetPods(TwoPods());
    Flow flow(harness);
    EXPECT_EQ(Outcome(flow.Post(kCompletions, kBody, {{"x-test", "admit=8"}})),
              own ? "429 inference error: ResourceExhausted - request cannot be admitted: admit "
                    "refused"
                  : "500 inference error: Internal - request cannot be admitted: admit refused");
    const std::string text = admin::DecisionText(harness.LastDecision(), harness.names(), {});
    EXPECT_THAT(text, HasSubstr("denied   gate"));
    EXPECT_THAT(admin::DecisionJson(harness.LastDecision(), harness.names()),
                HasSubstr(R"("kind":"admitter","plugin":"gate","refused":true)"));
  }
}

TEST(Gates, AnAdmitterThatFailsAdmits) {
  Harness harness({.config = kGates});
  harness.SetPods(TwoPods());
  Flow flow(harness);
  EXPECT_TRUE(Forwards(flow.Post(kCompletions, kBody, {{"x-test", "admit=throw"}})));
  EXPECT_EQ(harness.Metric("epp_plugin_errors_total", "extension_point=\"Admission\""), 1);
}

TEST(Gates, C074ScreenersNarrowTheCandidates) {
  Harness harness({.config = kGates});
  harness.SetPods(TwoPods());
  {
    Flow flow(harness);
    EXPECT_EQ(Destination(flow.Post(kCompletions, kBody, {{"x-test", "screen=0.1"}})),
              "10.0.0.1:8000");
    EXPECT_THAT(admin::DecisionText(harness.LastDecision(), harness.names(), {}),
                HasSubstr("screened gate  2 -> 1"));
  }
  Flow flow(harness);
  const request::RequestVerdict verdict =
      flow.Post(kCompletions, kBody, {{"x-test", "screen=0.5"}});
  EXPECT_EQ(Outcome(verdict),
            "503 inference error: ServiceUnavailable - screeners eliminated all endpoint "
            "candidates");
  EXPECT_EQ(DropReason(verdict), "rejected-no-endpoints");
  EXPECT_THAT(admin::DecisionText(harness.LastDecision(), harness.names(), {}),
              HasSubstr("screened gate  2 -> 0"));
}

TEST(Gates, AHeaderPluginRefuses) {
  Harness harness({.config = kGates});
  harness.SetPods(TwoPods());
  Flow flow(harness);
  EXPECT_EQ(Outcome(flow.Post(kCompletions, kBody, {{"x-test", "headers=16"}})),
            "401 inference error: Unauthorized - headers refused");
  EXPECT_THAT(admin::DecisionText(harness.LastDecision(), harness.names(), {}),
              HasSubstr("refused  gate"));
}

}  // namespace
}  // namespace epp::integration
