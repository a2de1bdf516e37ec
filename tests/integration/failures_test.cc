// A plugin that fails or throws harms its own request at most, and then in a defined way.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/harness.h"
#include "tests/integration/test_plugins.h"

namespace epp::integration {
namespace {

using ::testing::StartsWith;

constexpr const char* kAll = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: test-parser
  - type: openai-parser
  - type: test-handler
  - type: test-filter
  - type: test-producer
  - type: test-scorer
  - type: test-valued
  - type: test-picker
  - {name: hook, type: test-hook}
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: test-filter}
      - {pluginRef: test-scorer, weight: 1}
      - {pluginRef: test-valued, weight: 1}
      - {pluginRef: test-picker}
requestHandler:
  parsers: [{pluginRef: test-parser}, {pluginRef: openai-parser}]
)";

struct Case {
  const char* name;
  std::string order;
  const char* outcome;  // a prefix of Outcome
  const char* point;    // label of the plugin error counter, or null when nothing is counted
};

std::string Number(epp_status status) { return std::to_string(status); }

std::vector<Case> Cases() {
  return {
      {"FilterThrows", "filter=throw", "forward", "Filter"},
      {"FilterThrowsInt", "filter=throw-int", "forward", "Filter"},
      {"FilterRefuses", "filter=" + Number(EPP_INVALID_ARGUMENT), "forward", "Filter"},
      {"FilterDropsAll", "filter=drop", "429 ", nullptr},
      {"ScorerThrows", "scorer=throw", "forward", "Scorer"},
      {"ScorerGivesNan", "scorer=nan", "forward", nullptr},
      {"ScorerGivesHuge", "scorer=huge", "forward", nullptr},
      {"ProducerThrows", "producer=throw", "forward", "DataProducer"},
      {"ProducerRefuses", "producer=" + Number(EPP_UNAVAILABLE), "forward", "DataProducer"},
      {"BothScoresMissing", "producer=throw,scorer=throw", "forward", "DataProducer"},
      {"PickerThrows", "picker=throw", "500 inference error: Internal - picker", "Picker"},
      {"PickerPicksNothing", "picker=none", "500 inference error: Internal - picker", "Picker"},
      {"PickerPicksOutside", "picker=outside", "500 inference error: Internal - picker", "Picker"},
      {"ChoiceThrows", "choose=throw",
       "500 inference error: Internal - profile handler \"test-handler\" failed: choose threw",
       "ProfilePicker"},
      {"ConclusionThrows", "conclude=throw", "429 ", "ProcessProfilesResults"},
      {"ConclusionOutside", "conclude=outside", "500 ", nullptr},
      {"ParserThrows", "parse=throw", "500 inference error: Internal - parse threw",
       "RequestParsing"},
      {"ParserRefuses", "parse=" + Number(EPP_NOT_FOUND),
       "404 inference error: NotFound - parse refused", nullptr},
      {"ParserPointsOutside", "parse=outside", "500 ", nullptr},
      {"HookThrows", "hook.pre=throw", "500 ", "PreRequest"},
      {"HookRefuses", "hook.pre=" + Number(EPP_PERMISSION_DENIED), "403 ", "PreRequest"},
      {"HeadersHookThrows", "hook.headers=throw", "forward", "ResponseReceived"},
      {"BodyHookThrows", "hook.body=throw-int", "forward", "ResponseStreaming"},
      {"ResponseParserThrows", "parse-response=throw", "forward", "ResponseParsing"},
  };
}

// Sends one through the parser under test and lets it be answered.
std::string Once(Harness& harness, const std::string& order) {
  Flow flow(harness);
  const std::string outcome = Outcome(flow.Post("/test/parse", "model", {{"x-test", order}}));
  if (outcome == "forward") flow.Answer("{}");
  return outcome;
}

TEST(Failures, C144EachHarmsItsOwnRequestOnly) {
  Harness harness({.config = kAll});
  harness.SetPods({{"a", "10.0.0.1", 0, 0, {}, 0, {{"score", "0.2"}}},
                   {"b", "10.0.0.2", 0, 0, {}, 0, {{"score", "0.9"}}}});
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const double before = harness.Metric("epp_plugin_errors_total", c.point ? c.point : "none");
    // Two others are under way meanwhile, one of them answered in the middle.
    Flow early(harness);
    ASSERT_EQ(Destination(early.Post("/test/parse", "model")), "10.0.0.2:8000");
    Flow streaming(harness);
    ASSERT_TRUE(
        Forwards(streaming.Post(kCompletions, R"({"model":"m","prompt":"p","stream":true})")));
    streaming.Head({{":status", "200"}, {"content-type", "text/event-stream"}});
    streaming.Chunk("data: {}\n\n", false);

    EXPECT_THAT(Once(harness, c.order), StartsWith(c.outcome));
    if (c.point) {
      EXPECT_EQ(harness.Metric("epp_plugin_errors_total", c.point), before + 1) << c.point;
    }

    early.Answer("{}");
    streaming.Chunk("data: [DONE]\n\n", true);
    streaming.End();
    EXPECT_EQ(Once(harness, ""), "forward");
    EXPECT_EQ(harness.Metric("llm_d_epp_request_running"), 0);
  }
  EXPECT_EQ(harness.Metric("epp_plugin_bad_score_total"), 2) << "one request, two endpoints";
}

TEST(Failures, ScoresAreClampedAndTheRestDecides) {
  Harness harness({.config = kAll});
  harness.SetPods({{"a", "10.0.0.1", 0, 0, {}, 0, {{"score", "0.2"}}},
                   {"b", "10.0.0.2", 0, 0, {}, 0, {{"score", "0.9"}}}});
  for (const char* order : {"scorer=nan", "scorer=huge", "scorer=throw", "producer=throw", ""}) {
    Flow flow(harness);
    EXPECT_EQ(Destination(flow.Post("/test/parse", "m", {{"x-test", order}})), "10.0.0.2:8000")
        << order;
    const telemetry::DecisionRecord record = harness.LastDecision();
    const telemetry::ProfileRecord& profile = record.profiles[0];
    for (size_t row = 0; row < profile.row_count; ++row) {
      const double* cells = record.cells.data() + profile.cells_begin + row * profile.stride();
      EXPECT_GE(cells[1], 0) << order;
      EXPECT_LE(cells[1], 2) << order;
    }
  }
}

TEST(Failures, NoFailureTextOfOnePluginIsShownForAnother) {
  Harness harness({.config = kAll});
  harness.SetPods({{"a", "10.0.0.1"}});
  EXPECT_EQ(Once(harness, "filter=throw,picker=none"),
            "500 inference error: Internal - picker \"test-picker\" failed: picked nothing");
}

}  // namespace
}  // namespace epp::integration
