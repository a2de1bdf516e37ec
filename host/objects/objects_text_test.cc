#include "host/objects/objects_text.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"

namespace epp::objects {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const config::SourceText> Source(std::string text) {
  return std::make_shared<config::SourceText>(
      config::SourceText{"objects.yaml", std::move(text), {}});
}

ObjectsText Parse(const std::string& text, config::Diagnostics& out,
                  const PoolIdentity& pool = {}) {
  return ParseObjects(Source(text), pool, out);
}

constexpr const char* kBoth = R"(# Two kinds, and a stranger.
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: batch, labels: {team: a}}
spec:
  priority: -1
  poolRef: {name: pool}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: not-ours}
---
apiVersion: inference.networking.x-k8s.io/v1alpha2
kind: InferenceModelRewrite
metadata: {name: canary, creationTimestamp: "2026-01-31T12:00:00Z"}
spec:
  poolRef: {group: inference.networking.k8s.io, kind: InferencePool, name: pool}
  rules:
    - matches: [{model: {value: llama}}, {model: {type: Exact, value: llama-latest}}]
      targets: [{modelRewrite: llama-v1, weight: 9}, {modelRewrite: llama-v2, weight: 1}]
    - targets: [{modelRewrite: fallback}]
)";

TEST(ParseObjects, ReadsBothKinds) {
  config::Diagnostics out;
  const ObjectsText text = Parse(kBoth, out);
  ASSERT_TRUE(out.ok()) << out.Render();
  EXPECT_EQ(out.warnings(), 0u) << out.Render();
  ASSERT_EQ(text.objects.size(), 2u);
  const Object& objective = text.objects[0];
  EXPECT_EQ(objective.kind, Kind::kObjective);
  EXPECT_EQ(objective.name, "batch");
  EXPECT_EQ(objective.objective.name, "batch");
  EXPECT_EQ(objective.objective.priority, -1);
  EXPECT_FALSE(objective.legacy);
  const Object& rewrite = text.objects[1];
  EXPECT_TRUE(rewrite.legacy);
  EXPECT_EQ(rewrite.rewrite.created_unix_s, 1769860800);
  ASSERT_EQ(rewrite.rewrite.rules.size(), 2u);
  EXPECT_FALSE(rewrite.rewrite.rules[0].generic);
  EXPECT_EQ(rewrite.rewrite.rules[0].models, (std::vector<std::string>{"llama", "llama-latest"}));
  EXPECT_EQ(rewrite.rewrite.rules[0].targets[1].model, "llama-v2");
  EXPECT_EQ(rewrite.rewrite.rules[0].targets[1].weight, 1);
  EXPECT_TRUE(rewrite.rewrite.rules[1].generic);
  EXPECT_EQ(rewrite.rewrite.rules[1].targets[0].weight, 0);
}

TEST(ParseObjects, ReadsLists) {
  config::Diagnostics out;
  const ObjectsText text = Parse(R"({"kind":"List","items":[
    {"apiVersion":"llm-d.ai/v1alpha2","kind":"InferenceObjective","metadata":{"name":"a"},
     "spec":{"poolRef":{"name":"p"}}},
    {"kind":"Pod"}, 3]})",
                                 out);
  EXPECT_TRUE(out.ok()) << out.Render();
  ASSERT_EQ(text.objects.size(), 1u);
  EXPECT_EQ(text.objects[0].objective.priority, std::nullopt);
}

// An object with one thing changed; what is said, and where.
struct BadCase {
  std::string what;
  std::string from;
  std::string to;
  std::string want;
};

std::string Changed(const BadCase& c) {
  std::string text = kBoth;
  const size_t at = text.find(c.from);
  EXPECT_NE(at, std::string::npos) << c.what;
  return at == std::string::npos ? text : text.replace(at, c.from.size(), c.to);
}

TEST(ParseObjects, RefusesTheBadObjectOnly) {
  const std::vector<BadCase> cases = {
      {"priority", "priority: -1", "priority: high",
       "objects.yaml:6:13: error: InferenceObjective \"batch\": spec.priority is \"high\", want an "
       "integer"},
      {"priority range", "priority: -1", "priority: 3000000000",
       "spec.priority is 3000000000, want -2147483648 to 2147483647"},
      {"no pool name", "{name: pool}", "{}",
       "objects.yaml:7:12: error: InferenceObjective \"batch\""
       ": \"spec.poolRef.name\" is missing"},
      {"version", "llm-d.ai/v1alpha2", "llm-d.ai/v1",
       "apiVersion is \"llm-d.ai/v1\", want llm-d.ai/"
       "v1alpha2 or inference.networking.x-k8s.io"},
      {"spec",
       "metadata: {name: batch, labels: {team: a}}\nspec:\n  priority: -1\n  poolRef: {name: "
       "pool}",
       "metadata: {name: batch}\nspec: none", "spec is a string, want a map"},
      {"no targets", "targets: [{modelRewrite: fallback}]", "targets: []",
       "spec.rules[1].targets has nothing"},
      {"weight", "weight: 9", "weight: 0",
       "spec.rules[0].targets[0].weight is 0, want 1 to 1000000"},
      {"match type", "type: Exact", "type: Prefix",
       "spec.rules[0].matches[1].model.type is \"Prefix\", want Exact"},
      {"empty match", "value: llama}", "value: \"\"}", "model.value has 0 bytes, want 1 to 4096"},
      {"number as model", "modelRewrite: fallback", "modelRewrite: 7",
       "spec.rules[1].targets[0].modelRewrite is an integer (\"7\"), want a string"},
      {"creation", "2026-01-31T12:00:00Z", "yesterday",
       "metadata.creationTimestamp is \"yesterday\", want a time"},
  };
  for (const BadCase& c : cases) {
    config::Diagnostics out;
    const ObjectsText text = Parse(Changed(c), out);
    EXPECT_THAT(out.Render(), HasSubstr(c.want)) << c.what;
    EXPECT_EQ(out.errors(), 1u) << c.what << "\n" << out.Render();
    ASSERT_EQ(text.objects.size(), 2u) << c.what;
    EXPECT_EQ(text.objects[0].refused + text.objects[1].refused, 1) << c.what;
    EXPECT_FALSE(text.nameless) << c.what;
  }
}

TEST(ParseObjects, WarnsOfWhatHasNoEffect) {
  const std::vector<BadCase> cases = {
      {"key", "priority: -1", "priorty: -1", "unknown key \"spec.priorty\", ignored; did you mean"},
      {"mixed weights", "modelRewrite: llama-v1, weight: 9", "modelRewrite: llama-v1",
       "spec.rules[0].targets: only those with a weight are ever chosen, 1 have none"},
      {"match without model",
       "matches: [{model: {value: llama}}, {model: {type: Exact, value: llama-latest}}]",
       "matches: [{}]", "spec.rules[0].matches names no model, so the rule never applies"},
  };
  for (const BadCase& c : cases) {
    config::Diagnostics out;
    const ObjectsText text = Parse(Changed(c), out);
    EXPECT_TRUE(out.ok()) << c.what << out.Render();
    EXPECT_THAT(out.Render(), HasSubstr(c.want)) << c.what;
    EXPECT_EQ(text.objects.size(), 2u);
  }
}

TEST(ParseObjects, WhatCannotBeNamedIsSaid) {
  for (const char* bad : {"kind: InferenceObjective\nspec: [\n",
                          "apiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\nspec: {}\n",
                          "apiVersion: llm-d.ai/v1alpha2\nkind: InferenceObjective\n"
                          "metadata: {name: 5}\nspec: {poolRef: {name: p}}\n"}) {
    config::Diagnostics out;
    const ObjectsText text = Parse(StrCat(kBoth, "---\n", bad), out);
    EXPECT_FALSE(out.ok()) << bad;
    EXPECT_TRUE(text.nameless) << bad;
    EXPECT_TRUE(out.all()[0].code.starts_with("EPP-OBJ-")) << out.Render();
    EXPECT_EQ(text.objects.size(), 2u) << bad;
  }
}

TEST(ParseObjects, TextOfOthersIsPassedOver) {
  for (const char* text : {"", "{{ template }}\n", "a: [", "- 1\n- 2\n", "kind: [InferencePool]\n",
                           "kind: Deployment\nnote: an InferenceObjective is elsewhere\n"}) {
    config::Diagnostics out;
    const ObjectsText parsed = Parse(text, out);
    EXPECT_TRUE(out.ok()) << text << out.Render();
    EXPECT_TRUE(parsed.objects.empty()) << text;
    EXPECT_FALSE(parsed.nameless) << text;
  }
}

TEST(ParseObjects, WhoseTheyAre) {
  struct Case {
    std::string what;
    PoolIdentity pool;
    std::string from;
    std::string to;
    bool want;
  };
  const std::vector<Case> cases = {
      {"any pool", {}, "", "", true},
      {"this pool", {.name = "pool"}, "", "", true},
      {"another pool", {.name = "other"}, "", "", false},
      {"another group", {.name = "pool", .group = "x.io"}, "", "", false},
      {"its group",
       {.name = "pool", .group = "x.io"},
       "{name: pool}",
       "{name: pool, group: x.io}",
       true},
      {"the kind is not compared", {.name = "pool"}, "{name: pool}", "{name: pool, kind: X}", true},
      {"namespace absent", {.name_space = "a"}, "", "", true},
      {"another namespace",
       {.name_space = "a"},
       "{name: batch",
       "{namespace: b, name: batch",
       false},
      {"being deleted",
       {},
       "{name: batch",
       "{deletionTimestamp: \"2026-01-01T00:00:00Z\", name: "
       "batch",
       false},
  };
  for (const Case& c : cases) {
    std::string text = kBoth;
    if (!c.from.empty()) text.replace(text.find(c.from), c.from.size(), c.to);
    config::Diagnostics out;
    const ObjectsText parsed = ParseObjects(Source(text), c.pool, out);
    EXPECT_TRUE(out.ok()) << c.what << out.Render();
    ASSERT_FALSE(parsed.objects.empty()) << c.what;
    EXPECT_EQ(parsed.objects[0].ours, c.want) << c.what;
  }
}

}  // namespace
}  // namespace epp::objects
