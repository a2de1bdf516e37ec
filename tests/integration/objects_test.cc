// What objectives and model rewrites do to a request, in the director.
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "tests/integration/harness.h"

namespace epp::integration {
namespace {

constexpr std::string_view kPassthrough = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: random-picker
  - type: passthrough-parser
requestHandler:
  parsers:
    - pluginRef: passthrough-parser
)";

std::string Objective(std::string_view name, std::string_view spec) {
  return StrCat("---\napiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\nmetadata: {name: ",
                name, "}\nspec: {poolRef: {name: p}", spec, "}\n");
}

std::string Rewrite(std::string_view name, std::string_view created, std::string_view rules) {
  return StrCat(
      "---\napiVersion: llm-d.ai/v1alpha2\nkind: InferenceModelRewrite\nmetadata: {name: ", name,
      created.empty() ? "" : ", creationTimestamp: \"", created, created.empty() ? "" : "\"",
      "}\nspec: {poolRef: {name: p}, rules: [", rules, "]}\n");
}

TEST(Objects, PriorityOfTheRequest) {
  Harness harness;
  harness.SetPods({{"a", "10.0.0.1"}});
  harness.SetObjects(Objective("high", ", priority: 7") + Objective("low", ", priority: -3") +
                     Objective("plain", ""));
  struct Case {
    Headers headers;
    int32_t want;
  };
  const std::vector<Case> cases = {
      {{}, 0},
      {{{"x-llm-d-inference-objective", "high"}}, 7},
      {{{"x-gateway-inference-objective", "low"}}, -3},
      {{{"x-llm-d-inference-objective", "high"}, {"x-gateway-inference-objective", "low"}}, 7},
      {{{"x-llm-d-inference-objective", ""}, {"x-gateway-inference-objective", "low"}}, 0},
      {{{"x-llm-d-inference-objective", "plain"}}, 0},
      {{{"x-llm-d-inference-objective", "unknown"}}, 0},
  };
  for (const Case& c : cases) {
    Flow flow(harness);
    EXPECT_TRUE(Forwards(flow.Post(kCompletions, R"({"model":"m","prompt":"p"})", c.headers)));
    EXPECT_EQ(harness.LastDecision().priority, c.want) << testing::PrintToString(c.headers);
  }
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", R"(priority="7")"), 2);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", R"(priority="-3")"), 1);
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", R"(priority="0")"), 4);
}

TEST(Objects, C089SheddableRequestsGiveWayWhenSaturated) {
  const std::string dropped =
      "429 inference error: ResourceExhausted - system saturated, sheddable request dropped";
  const std::string none =
      "503 inference error: ServiceUnavailable - failed to find endpoint candidates for serving "
      "the "
      "request";
  struct Case {
    std::string what;
    std::vector<Pod> pods;
    std::string objective;
    std::string want;
  };
  const std::vector<Case> cases = {
      {"idle", {{"a", "10.0.0.1"}}, "low", "forward"},
      {"saturated", {{"a", "10.0.0.1", 5}}, "low", dropped},
      {"saturated, and must be served", {{"a", "10.0.0.1", 50, 1}}, "high", "forward"},
      {"saturated, without an objective", {{"a", "10.0.0.1", 50, 1}}, "", "forward"},
      {"on average not", {{"a", "10.0.0.1", 5}, {"b", "10.0.0.2", 4}}, "low", "forward"},
      {"no endpoints", {}, "low", dropped},
      {"no endpoints, and must be served", {}, "high", none},
  };
  for (const Case& c : cases) {
    Harness harness;
    harness.SetPods(c.pods);
    harness.SetObjects(Objective("high", ", priority: 7") + Objective("low", ", priority: -3"));
    Flow flow(harness);
    const auto verdict = flow.Post(kCompletions, R"({"model":"m","prompt":"p"})",
                                   {{"x-llm-d-inference-objective", c.objective}});
    EXPECT_EQ(Outcome(verdict), c.want) << c.what;
    if (c.want == dropped) {
      EXPECT_EQ(DropReason(verdict), "") << c.what;
    }
  }
}

TEST(Objects, C097PassthroughHasAPriorityAndNoModel) {
  Harness harness({.config = std::string(kPassthrough)});
  harness.SetPods({{"a", "10.0.0.1"}});
  harness.SetObjects(Objective("high", ", priority: 7") +
                     Rewrite("r", "", "{targets: [{modelRewrite: never}]}"));
  Flow flow(harness);
  const auto verdict = flow.Post("/any", "not json", {{"x-llm-d-inference-objective", "high"}});
  EXPECT_EQ(BodyOf(verdict), "not json");
  EXPECT_EQ(harness.LastDecision().priority, 7);
  EXPECT_EQ(harness.LastDecision().target_model.view(), "");
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", R"(model_name="",target_model_name="")"), 1);
}

TEST(Objects, C070AndC076TargetModel) {
  struct Case {
    std::string what;
    std::string objects;
    std::string body;
    std::string header;  // the client's rewrite header
    std::string want;    // the body that is sent on, or the answer
  };
  const std::string a = "{matches: [{model: {value: m}}], targets: [{modelRewrite: a}]}";
  const std::string b = "{matches: [{model: {value: m}}], targets: [{modelRewrite: b}]}";
  const std::string any = "{targets: [{modelRewrite: any}]}";
  const std::string early = "2026-01-01T00:00:00Z";
  const std::string late = "2026-02-01T00:00:00Z";
  const std::vector<Case> cases = {
      {"no objects", "", R"({"model":"m","prompt":"p"})", "", R"({"model":"m","prompt":"p"})"},
      {"a rule", Rewrite("r", "", a), R"({"model":"m","prompt":"p"})", "",
       R"({"model":"a","prompt":"p"})"},
      {"no rule for it", Rewrite("r", "", a), R"({"model":"n","prompt":"p"})", "",
       R"({"model":"n","prompt":"p"})"},
      {"the header without a rule", Rewrite("r", "", a), R"({"model":"n","prompt":"p"})", "h",
       R"({"model":"h","prompt":"p"})"},
      {"a rule over the header", Rewrite("r", "", a), R"({"model":"m","prompt":"p"})", "h",
       R"({"model":"a","prompt":"p"})"},
      {"the header names no rule", Rewrite("r", "", a), R"({"model":"n","prompt":"p"})", "m",
       R"({"model":"m","prompt":"p"})"},
      {"oldest wins", Rewrite("r1", late, a) + Rewrite("r2", early, b),
       R"({"model":"m","prompt":"p"})", "", R"({"model":"b","prompt":"p"})"},
      {"exact over generic", Rewrite("r1", early, any) + Rewrite("r2", late, b),
       R"({"model":"m","prompt":"p"})", "", R"({"model":"b","prompt":"p"})"},
      {"generic", Rewrite("r1", early, any) + Rewrite("r2", late, b),
       R"({"model":"n","prompt":"p"})", "", R"({"model":"any","prompt":"p"})"},
      {"generic adds the model", Rewrite("r", "", any), R"({"prompt":"p"})", "",
       R"({"model":"any","prompt":"p"})"},
      {"exact does not add it", Rewrite("r", "", a), R"({"prompt":"p"})", "",
       "400 inference error: BadRequest - model not found in request body"},
      {"a rule to the same model", Rewrite("r", "", "{targets: [{modelRewrite: m}]}"),
       R"({ "model":"m","prompt":"p"})", "", R"({ "model":"m","prompt":"p"})"},
      {"rules are not chained",
       Rewrite("r", "", a + ", {matches: [{model: {value: a}}], targets: [{modelRewrite: c}]}"),
       R"({"model":"m","prompt":"p"})", "", R"({"model":"a","prompt":"p"})"},
  };
  for (const Case& c : cases) {
    Harness harness;
    harness.SetPods({{"a", "10.0.0.1"}});
    harness.SetObjects(c.objects);
    Flow flow(harness);
    Headers headers;
    if (!c.header.empty()) headers.emplace_back("x-llm-d-model-name-rewrite", c.header);
    const auto verdict = flow.Post(kCompletions, c.body, headers);
    EXPECT_EQ(Forwards(verdict) ? BodyOf(verdict) : Outcome(verdict), c.want) << c.what;
  }
}

TEST(Objects, MetricsCarryTheIncomingAndTheTargetModel) {
  Harness harness;
  harness.SetPods({{"a", "10.0.0.1"}});
  harness.SetObjects(Rewrite("canary", "",
                             "{matches: [{model: {value: m}}], targets: "
                             "[{modelRewrite: t}]}"));
  Flow flow(harness);
  flow.Post(kCompletions, R"({"model":"m","prompt":"p"})");
  flow.Answer(R"({"model":"t"})");
  EXPECT_EQ(harness.LastDecision().model.view(), "m");
  EXPECT_EQ(harness.LastDecision().target_model.view(), "t");
  EXPECT_EQ(harness.Metric("llm_d_epp_request_total", R"(model_name="m",target_model_name="t")"),
            1);
  EXPECT_EQ(harness.Metric("llm_d_epp_model_rewrite_decisions_total",
                           R"(model_rewrite_name="canary",model_name="m",target_model="t")"),
            1);
}

TEST(Objects, C077WeightsDecideHowOften) {
  Harness harness;
  harness.SetPods({{"a", "10.0.0.1"}});
  harness.SetObjects(Rewrite("r", "",
                             "{targets: [{modelRewrite: a, weight: 9}, {modelRewrite: b, weight: "
                             "1}, {modelRewrite: never}]}"));
  std::map<std::string, int> got;
  for (int i = 0; i < 1000; ++i) {
    Flow flow(harness);
    flow.Post(kCompletions, R"({"model":"m","prompt":"p"})");
    ++got[std::string(harness.LastDecision().target_model.view())];
  }
  EXPECT_EQ(got.size(), 2u);
  EXPECT_GT(got["a"], 860);  // 900 expected, deviation 9.5
  EXPECT_GT(got["b"], 60);
}

TEST(Objects, ARequestKeepsItsTargetWhenTheObjectsChange) {
  Harness harness;
  harness.SetPods({{"a", "10.0.0.1"}});
  harness.SetObjects(Rewrite("r", "", "{targets: [{modelRewrite: first}]}"));
  Flow flow(harness);
  flow.Post(kCompletions, R"({"model":"m","prompt":"p"})");
  harness.SetObjects(Rewrite("r", "", "{targets: [{modelRewrite: second}]}"));
  Flow other(harness);
  EXPECT_EQ(BodyOf(other.Post(kCompletions, R"({"model":"m","prompt":"p"})")),
            R"({"model":"second","prompt":"p"})");
  flow.Head({{":status", "200"}, {"content-type", "application/json"}});
  EXPECT_EQ(flow.Chunk(R"({"model":"first"})", true).replacement, R"({"model":"m"})");
}

}  // namespace
}  // namespace epp::integration
