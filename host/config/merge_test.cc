#include "host/config/merge.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/config/test_catalog.h"

namespace epp::config {
namespace {

using testing::HasSubstr;

struct Merged {
  explicit Merged(const std::vector<std::string>& texts) {
    Node root;
    for (size_t i = 0; i < texts.size(); ++i) {
      std::optional<Node> node =
          ParseDocument(test::Text(texts[i], std::string(1, static_cast<char>('a' + i))), out);
      EXPECT_TRUE(node) << out.Render();
      if (node) MergeConfig(*std::move(node), &root, out);
    }
    json = ToJson(root);
  }
  Diagnostics out;
  std::string json;
};

struct Case {
  const char* name;
  std::vector<std::string> texts;
  const char* want;  // as JSON
};

TEST(MergeTest, Table) {
  const Case cases[] = {
      {"OneStaysAsItIs",
       {"{kind: K, plugins: [{type: q}, {type: q}], schedulingProfiles: [{name: d}], x: ~}"},
       R"({"kind":"K","plugins":[{"type":"q"},{"type":"q"}],"schedulingProfiles":[{"name":"d"}],)"
       R"("x":null})"},
      {"ScalarsAndMapsByKey",
       {"{a: 1, m: {x: 1, y: {z: 1}}}", "{b: 2, m: {y: {w: 2}, x: 3}}"},
       R"({"a":1,"b":2,"m":{"x":3,"y":{"w":2,"z":1}}})"},
      {"NullPutsBackTheDefault", {"{m: {x: 1, y: 2}}", "{m: {x: ~}}"}, R"({"m":{"x":null,"y":2}})"},
      {"ListsWithoutNamesAreReplaced",
       {"{featureGates: [a, b], dataLayer: {sources: [{pluginRef: s}]}}",
        "{featureGates: [c], dataLayer: {sources: [{pluginRef: t}]}}"},
       R"({"dataLayer":{"sources":[{"pluginRef":"t"}]},"featureGates":["c"]})"},
      {"PluginsByName",
       {"plugins: [{name: n, type: t, parameters: {a: 1, l: [1, 2]}}, {name: o, type: t}]",
        "plugins: [{name: p, type: t}, {name: n, parameters: {b: 2, l: [3]}}]"},
       R"({"plugins":[{"name":"n","parameters":{"a":1,"b":2,"l":[3]},"type":"t"},)"
       R"({"name":"o","type":"t"},{"name":"p","type":"t"}]})"},
      {"PluginsByTypeWithoutAName",
       {"plugins: [{type: t, parameters: {a: 1}}]", "plugins: [{type: t, parameters: {b: 2}}]",
        "plugins: [{name: t, parameters: {c: 3}}]"},
       R"({"plugins":[{"name":"t","parameters":{"a":1,"b":2,"c":3},"type":"t"}]})"},
      {"ANameIsNotAType",
       {"plugins: [{name: n, type: t}]", "plugins: [{type: t}]"},
       R"({"plugins":[{"name":"n","type":"t"},{"type":"t"}]})"},
      {"AnotherTypeReplaces",
       {"plugins: [{name: n, type: t, parameters: {a: 1}}]",
        "plugins: [{name: n, type: u, parameters: {b: 1}}]"},
       R"({"plugins":[{"name":"n","parameters":{"b":1},"type":"u"}]})"},
      {"ProfilesByNameAndEntriesByReference",
       {"schedulingProfiles: [{name: d, plugins: [{pluginRef: a, weight: 1}, {pluginRef: b}]}]",
        "schedulingProfiles: [{name: e, plugins: [{pluginRef: a}]}, "
        "{name: d, plugins: [{pluginRef: c}, {pluginRef: a, weight: 5}]}]"},
       R"({"schedulingProfiles":[{"name":"d","plugins":[{"pluginRef":"a","weight":5},)"
       R"({"pluginRef":"b"},{"pluginRef":"c"}]},{"name":"e","plugins":[{"pluginRef":"a"}]}]})"},
      {"RemovesByName",
       {"{plugins: [{name: a, type: t}, {type: u}, {name: c, type: t}], schedulingProfiles: "
        "[{name: d, plugins: [{pluginRef: a}, {pluginRef: u}, {pluginRef: u}]}, {name: e}]}",
        "{plugins: [{name: a, $remove: true}, {type: u, $remove: true}, {type: v}], "
        "schedulingProfiles: [{name: e, $remove: true}, "
        "{name: d, plugins: [{pluginRef: u, $remove: true}]}]}"},
       R"({"plugins":[{"name":"c","type":"t"},{"type":"v"}],)"
       R"("schedulingProfiles":[{"name":"d","plugins":[{"pluginRef":"a"}]}]})"},
      {"RepeatedNamesOfOneFileStayApart",
       {"plugins: [{name: n, type: t}]", "plugins: [{name: n, a: 1}, {name: n, b: 1}]"},
       R"({"plugins":[{"a":1,"name":"n","type":"t"},{"b":1,"name":"n"}]})"},
      {"RepeatedNamesAreMatchedInOrder",
       {"plugins: [{name: n, x: 1}, {name: n, x: 2}]",
        "plugins: [{name: n, y: 1}, {name: n, y: 2}]"},
       R"({"plugins":[{"name":"n","x":1,"y":1},{"name":"n","x":2,"y":2}]})"},
      {"WhatHasNoNameIsPassedOn",
       {"plugins: [{name: n}]", "plugins: [3, {parameters: {}}, {name: [x]}]"},
       R"({"plugins":[{"name":"n"},3,{"parameters":{}},{"name":["x"]}]})"},
      {"WrongKindsReplace",
       {"{plugins: [{name: n}], m: {a: 1}}", "{plugins: {a: 1}, m: [1]}"},
       R"({"m":[1],"plugins":{"a":1}})"},
      {"RightKindsReplaceWrongOnes",
       {"{plugins: 5, schedulingProfiles: {a: 1}, m: 1}",
        "{plugins: [{name: n}], schedulingProfiles: [{name: d}], m: {a: 1}}"},
       R"({"m":{"a":1},"plugins":[{"name":"n"}],"schedulingProfiles":[{"name":"d"}]})"},
  };
  for (const Case& c : cases) {
    const Merged merged(c.texts);
    EXPECT_TRUE(merged.out.ok()) << c.name << "\n" << merged.out.Render();
    EXPECT_EQ(merged.json, c.want) << c.name;
  }
}

TEST(MergeTest, RemoveErrors) {
  struct ErrorCase {
    std::vector<std::string> texts;
    const char* shown;
  };
  const ErrorCase cases[] = {
      {{"plugins: [{name: n, $remove: true}]"},
       "a:1:18: error: plugin \"n\" is not there to be removed"},
      {{"plugins: [{name: n}]", "plugins: [{name: m, $remove: true}]"},
       "b:1:18: error: plugin \"m\" is not there"},
      {{"schedulingProfiles: [{name: d, plugins: [{pluginRef: x, $remove: true}]}]"},
       "profile entry \"x\" is not there"},
      {{"schedulingProfiles: [{name: d}]",
        "schedulingProfiles: [{name: d, plugins: [{pluginRef: x, $remove: true}]}]"},
       "b:1:54: error: profile entry \"x\" is not there"},
      {{"plugins: [{name: n}]", "plugins: [{name: n, $remove: true}, {name: n, $remove: true}]"},
       "b:1:44: error: plugin \"n\" is not there"},
      {{"plugins: [{name: n}]", "plugins: [{name: n, $remove: false}]"},
       "b:1:30: error: $remove is false, want true"},
      {{"plugins: [{name: n}]", "plugins: [{name: n, $remove: {}}]"},
       "$remove is a map, want true"},
      {{"plugins: [{name: n}]", "plugins: [{name: n, $remove: true, parameters: {}}]"},
       "b:1:36: error: a plugin to remove has \"parameters\", want only its name"},
      {{"plugins: [{name: n}]", "plugins: [{$remove: true}]"},
       "b:1:11: error: a plugin to remove has no name"},
  };
  for (const ErrorCase& c : cases) {
    const Merged merged(c.texts);
    EXPECT_EQ(merged.out.errors(), 1u) << c.texts.back();
    EXPECT_THAT(merged.out.Render(), HasSubstr(c.shown)) << c.texts.back();
    EXPECT_THAT(merged.out.Render(), HasSubstr("[EPP-CFG-REMOVE]"));
  }
}

TEST(MergeTest, EveryValueKeepsItsPlace) {
  Diagnostics out;
  Node root;
  MergeConfig(*ParseDocument(test::Text("plugins: [{name: n, parameters: {a: 1}}]", "base"), out),
              &root, out);
  MergeConfig(
      *ParseDocument(test::Text("plugins:\n- name: n\n  parameters: {b: 2}\n", "over"), out), &root,
      out);
  const Node& parameters = *root.Find("plugins")->items[0].Find("parameters");
  const Mark& a = parameters.Find("a")->mark;
  const Mark& b = parameters.Find("b")->mark;
  EXPECT_EQ(a.source->name, "base");
  EXPECT_EQ(a.line, 1u);
  EXPECT_EQ(a.column, 37u);
  EXPECT_EQ(b.source->name, "over");
  EXPECT_EQ(b.line, 3u);
  EXPECT_EQ(b.column, 19u);
}

TEST(MergeTest, LargeListsTakeLinearTime) {
  std::string text = "plugins:\n";
  for (int i = 0; i < 20'000; ++i) text += "- {name: n" + std::to_string(i) + "}\n";
  const Merged merged({text, text, text});
  EXPECT_TRUE(merged.out.ok());
}

}  // namespace
}  // namespace epp::config
