#include "host/config/raw_config.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/config/test_catalog.h"

namespace epp::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

struct Raw {
  explicit Raw(const std::string& text) {
    const auto source = test::Text(text);
    const std::optional<Node> root = ParseDocument(source, out);
    EXPECT_TRUE(root) << out.Render();
    if (root) config = DecodeConfig(*root, source, out);
  }
  Diagnostics out;
  RawConfig config;
};

TEST(RawConfigTest, EveryField) {
  const Raw raw(R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl, "haPopulateNonLeaderDatastore=false"]
plugins:
  - type: queue-scorer
  - {name: p, type: prefix-cache-scorer, parameters: {a: 1}}
schedulingProfiles:
  - name: default
    plugins:
      - pluginRef: queue-scorer
      - {pluginRef: p, weight: -2.5}
dataLayer:
  injectDefaults: false
  sources: [{pluginRef: src, extractors: [{pluginRef: x}, {pluginRef: y}]}]
  discovery: {pluginRef: files}
  peerDiscovery: {pluginRef: peers}
  crossReplicaSyncInterval: -1s
flowControl:
  maxBytes: 10Gi
  maxRequests: "1k"
  defaultRequestTTL: 60s
  noEndpointRequestTTL: 0s
  defaultPriorityBand: {maxBytes: 1, fairnessPolicyRef: f}
  defaultNegativePriorityBand: {orderingPolicyRef: o}
  priorityBands:
    - {priority: 1, maxRequests: 5}
    - {priority: -1}
  usageLimitPolicyPluginRef: u
  saturationDetector: {pluginRef: det}
  enableEviction: true
requestHandler: {parsers: [{pluginRef: openai-parser}]}
)");
  EXPECT_EQ(raw.out.all().size(), 0u) << raw.out.Render();
  EXPECT_TRUE(raw.config.flow_control_gate);
  ASSERT_EQ(raw.config.plugins.size(), 2u);
  EXPECT_EQ(raw.config.plugins[0].name, "queue-scorer");
  EXPECT_FALSE(raw.config.plugins[0].parameters);
  EXPECT_EQ(raw.config.plugins[1].name, "p");
  EXPECT_TRUE(raw.config.plugins[1].parameters);
  ASSERT_EQ(raw.config.profiles.size(), 1u);
  EXPECT_FALSE(raw.config.profiles[0].entries[0].weight);
  EXPECT_EQ(raw.config.profiles[0].entries[1].weight, -2.5);
  EXPECT_FALSE(raw.config.inject_data_defaults);
  ASSERT_EQ(raw.config.sources.size(), 1u);
  EXPECT_EQ(raw.config.sources[0].extractors.size(), 2u);
  EXPECT_EQ(raw.config.discovery->name, "files");
  EXPECT_EQ(raw.config.saturation_detector->name, "det");
  std::vector<std::string> refs;
  for (const Reference& ref : raw.config.flow_control_references) refs.push_back(ref.name);
  EXPECT_THAT(refs, ElementsAre("f", "o", "u"));
  EXPECT_EQ(raw.config.parsers[0].name, "openai-parser");
}

TEST(RawConfigTest, NothingAndNullsAreAbsent) {
  for (const char* text :
       {"", "{}",
        "{plugins: , schedulingProfiles: ~, dataLayer: , flowControl: , parser: , "
        "featureGates: , requestHandler: , saturationDetector: }"}) {
    const Raw raw(text);
    EXPECT_EQ(raw.out.all().size(), 0u) << raw.out.Render();
    EXPECT_TRUE(raw.config.inject_data_defaults);
    EXPECT_FALSE(raw.config.has_profiles);
  }
}

struct ErrorCase {
  const char* text;
  const char* code;
  const char* shown;
};

TEST(RawConfigTest, Errors) {
  const ErrorCase cases[] = {
      {"[1]", "EPP-CFG-TYPE", "the document is a list, want a map"},
      {"epp: 1", "EPP-CFG-TYPE", "epp is an integer, want a map"},
      {"epp: {shadows: {}}", "EPP-CFG-UNKNOWN-KEY", "did you mean \"shadow\"?"},
      {"epp: {shadow: a.yaml}", "EPP-CFG-TYPE", "epp.shadow is a string, want a map"},
      {"epp: {shadow: {sample: 5%}}", "EPP-CFG-MISSING", "epp.shadow has no file"},
      {"epp: {shadow: {file: \"\"}}", "EPP-CFG-MISSING", "epp.shadow has no file"},
      {"epp: {shadow: {file: 5}}", "EPP-CFG-TYPE", "epp.shadow.file is an integer"},
      {"epp: {shadow: {file: a, sample: 0}}", "EPP-CFG-RANGE", "sample is \"0\", want a share"},
      {"epp: {shadow: {file: a, sample: 101%}}", "EPP-CFG-RANGE", "sample is \"101%\""},
      {"epp: {shadow: {file: a, sample: -1%}}", "EPP-CFG-RANGE", "sample is \"-1%\""},
      {"epp: {shadow: {file: a, sample: nan%}}", "EPP-CFG-RANGE", "sample is \"nan%\""},
      {"epp: {shadow: {file: a, sample: some}}", "EPP-CFG-RANGE", "sample is \"some\""},
      {"epp: {shadow: {file: a, sample: [1]}}", "EPP-CFG-RANGE", "sample is a list"},
      {"plugin: []", "EPP-CFG-UNKNOWN-KEY", "did you mean \"plugins\"?"},
      {"Plugins: []", "EPP-CFG-UNKNOWN-KEY", "unknown key \"Plugins\""},
      {"enableEviction: true", "EPP-CFG-UNKNOWN-KEY", "this key belongs to flowControl"},
      {"grpc_listen: x", "EPP-CFG-UNKNOWN-KEY", "this key belongs to the settings file, [serve]"},
      {"plugins: {}", "EPP-CFG-TYPE", "config.plugins is a map, want a list"},
      {"apiVersion: v1", "EPP-CFG-API-VERSION", "no kind is registered for apiVersion \"v1\""},
      {"apiVersion: 1", "EPP-CFG-TYPE", "apiVersion is an integer, want a string"},
      {"kind: Pod", "EPP-CFG-KIND", "no kind \"Pod\" is registered"},
      {"featureGates: [nope]", "EPP-CFG-GATE", "unknown feature gate \"nope\""},
      {"featureGates: [dataLayer]", "EPP-CFG-GATE", "unknown feature gate \"dataLayer\""},
      {"featureGates: [test=qwerty]", "EPP-CFG-GATE", "\"test\" is \"qwerty\""},
      {"featureGates: [flowControl=]", "EPP-CFG-GATE", "want true or false"},
      {"featureGates: [true]", "EPP-CFG-TYPE", "a feature gate is a boolean"},
      {"plugins: [{name: x}]", "EPP-CFG-NO-TYPE", "plugin \"x\" has no type"},
      {"plugins: [{name: x, type: }]", "EPP-CFG-NO-TYPE", "plugin \"x\" has no type"},
      {"plugins: [{type: \"\"}]", "EPP-CFG-NO-TYPE", "a plugin has no type"},
      {"plugins: [{type: [a]}]", "EPP-CFG-TYPE", "plugin.type is a list, want a string"},
      {"plugins: [{type: 5}]", "EPP-CFG-TYPE", "quote it"},
      {"plugins: [x]", "EPP-CFG-TYPE", "an entry of plugins is a string, want a map"},
      {"plugins: [{type: a, stage: b}]", "EPP-CFG-UNKNOWN-KEY", "unknown key \"stage\""},
      {"plugins: [{type: a, pluginRef: b}]", "EPP-CFG-UNKNOWN-KEY",
       "this key belongs to an entry of schedulingProfiles[].plugins"},
      {"plugins: [{type: a}, {type: a}]", "EPP-CFG-DUPLICATE-NAME",
       "its type is its name: give it one"},
      {"plugins: [{type: a, name: n}, {type: b, name: n}]", "EPP-CFG-DUPLICATE-NAME",
       "two plugins are named \"n\""},
      {"schedulingProfiles: [{plugins: []}]", "EPP-CFG-MISSING", "a profile has no name"},
      {"schedulingProfiles: [{name: , plugins: []}]", "EPP-CFG-MISSING", "a profile has no name"},
      {"schedulingProfiles: [{name: a}, {name: a}]", "EPP-CFG-DUPLICATE-NAME",
       "two profiles are named \"a\""},
      {"schedulingProfiles: [{name: a, plugins: [{weight: 1}]}]", "EPP-CFG-MISSING",
       "profile \"a\": an entry has no pluginRef"},
      {"schedulingProfiles: [{name: a, plugins: [{pluginRef: }]}]", "EPP-CFG-MISSING",
       "profile \"a\": an entry has no pluginRef"},
      {"schedulingProfiles: [{name: a, plugins: [{pluginRef: x, weight: heavy}]}]", "EPP-CFG-TYPE",
       "profile \"a\": weight is a string, want a number"},
      {"schedulingProfiles: [{name: a, stages: []}]", "EPP-CFG-UNKNOWN-KEY",
       "unknown key \"stages\""},
      {"dataLayer: {injectDefaults: 1}", "EPP-CFG-TYPE",
       "dataLayer.injectDefaults is an integer, want true or false"},
      {"dataLayer: {sources: [{extractors: []}]}", "EPP-CFG-MISSING", "has no pluginRef"},
      {"dataLayer: {sources: [{pluginRef: s, extractors: [{}]}]}", "EPP-CFG-MISSING",
       "an extractor has no pluginRef"},
      {"dataLayer: {discovery: {}}", "EPP-CFG-MISSING", "dataLayer.discovery has no pluginRef"},
      {"dataLayer: {crossReplicaSyncerPluginRef: s}", "EPP-CFG-WRONG-KIND", "names \"s\""},
      {"dataLayer: {crossReplicaSyncInterval: often}", "EPP-CFG-DURATION", "is \"often\""},
      {"dataLayer: {crossReplicaSyncInterval: 5}", "EPP-CFG-TYPE", "is an integer"},
      {"featureGates: [flowControl]\nflowControl: {maxBytes: -1}", "EPP-CFG-QUANTITY",
       "flowControl.maxBytes is \"-1\", want a quantity such as 500, \"1k\" or \"10Gi\""},
      {"featureGates: [flowControl]\nflowControl: {maxRequests: [1]}", "EPP-CFG-QUANTITY",
       "is a list"},
      {"featureGates: [flowControl]\nflowControl: {defaultRequestTTL: -1s}", "EPP-CFG-DURATION",
       "is \"-1s\", want a duration such as \"90s\" or \"1m30s\", not negative"},
      {"featureGates: [flowControl]\nflowControl: {priorityBands: [{priority: 1}, {priority: 1}]}",
       "EPP-CFG-DUPLICATE-NAME", "two priority bands have priority 1"},
      {"featureGates: [flowControl]\nflowControl: {priorityBands: [{}, {priority: 0}]}",
       "EPP-CFG-DUPLICATE-NAME", "two priority bands have priority 0"},
      {"featureGates: [flowControl]\nflowControl: {priorityBands: [{priority: high}]}",
       "EPP-CFG-TYPE", "priority is a string, want an integer"},
      {"requestHandler: {parsers: [openai]}", "EPP-CFG-TYPE", "is a string, want a map"},
      {"requestHandler: {parser: []}", "EPP-CFG-UNKNOWN-KEY", "did you mean \"parsers\"?"},
  };
  for (const ErrorCase& c : cases) {
    const Raw raw(c.text);
    ASSERT_EQ(raw.out.errors(), 1u) << c.text << "\n" << raw.out.Render();
    bool found = false;
    for (const Diagnostic& d : raw.out.all()) found |= d.code == c.code;
    EXPECT_TRUE(found) << c.text << "\n" << raw.out.Render();
    EXPECT_THAT(raw.out.Render(), HasSubstr(c.shown)) << c.text;
    EXPECT_TRUE(raw.out.all()[0].mark.source) << c.text;
    EXPECT_GT(raw.out.all()[0].mark.line, 0u) << c.text;
  }
}

TEST(RawConfigTest, AllErrorsOfTheFile) {
  const Raw raw(
      "plugins: [{name: a}, {type: 7}, 3]\nschedulingProfiles: [{}, {name: p, plugins: [{}]}]\n"
      "flowControl: {priorityBands: [x, y]}\n");
  EXPECT_EQ(raw.out.errors(), 7u) << raw.out.Render();
  EXPECT_EQ(raw.out.warnings(), 1u);
}

TEST(RawConfigTest, BothApiGroupsAndTheAlias) {
  for (const char* version : {"llm-d.ai/v1alpha1", "llm-d.ai/v1"}) {
    EXPECT_EQ(Raw(std::string("apiVersion: ") + version).out.all().size(), 0u);
  }
  const Raw old("apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n");
  EXPECT_TRUE(old.out.ok());
  EXPECT_EQ(old.out.warnings(), 1u);
  EXPECT_THAT(old.out.Render(), HasSubstr("want llm-d.ai/v1alpha1  [EPP-CFG-DEPRECATED]"));
}

TEST(RawConfigTest, Gates) {
  struct Case {
    const char* gate;
    bool on;
  };
  for (const Case& c : {Case{"flowControl", true}, Case{"flowControl=true", true},
                        Case{"flowControl= T ", true}, Case{"flowControl=1=x", true},
                        Case{"flowControl=FALSE", false}, Case{"flowControl=0", false}}) {
    const Raw raw(std::string("featureGates: [\"") + c.gate + "\"]");
    EXPECT_TRUE(raw.out.ok()) << c.gate << raw.out.Render();
    EXPECT_EQ(raw.config.flow_control_gate, c.on) << c.gate;
  }
}

TEST(RawConfigTest, DeprecatedPlacesMoveUnlessTheNewOneIsSet) {
  const Raw moved("parser: {pluginRef: p}\nsaturationDetector: {pluginRef: s}\n");
  EXPECT_TRUE(moved.out.ok());
  EXPECT_EQ(moved.out.warnings(), 2u);
  EXPECT_EQ(moved.config.parsers[0].name, "p");
  EXPECT_EQ(moved.config.saturation_detector->name, "s");
  EXPECT_EQ(moved.out.Render(),
            "config.yaml:1:1: warning: top-level \"parser\" is deprecated, want "
            "requestHandler.parsers\n"
            "    1 | parser: {pluginRef: p}\n"
            "      | ^^^^^^ moved in llm-d.ai/v1alpha1  [EPP-CFG-DEPRECATED]\n"
            "config.yaml:2:1: warning: top-level \"saturationDetector\" is deprecated, want "
            "flowControl.saturationDetector\n"
            "    2 | saturationDetector: {pluginRef: s}\n"
            "      | ^^^^^^^^^^^^^^^^^^ moved in llm-d.ai/v1alpha1  [EPP-CFG-DEPRECATED]\n");
  const Raw both(
      "parser: {pluginRef: old}\nsaturationDetector: {pluginRef: old}\n"
      "requestHandler: {parsers: [{pluginRef: new}]}\n"
      "flowControl: {saturationDetector: {pluginRef: new}}\n");
  EXPECT_TRUE(both.out.ok());
  ASSERT_EQ(both.config.parsers.size(), 1u);
  EXPECT_EQ(both.config.parsers[0].name, "new");
  EXPECT_EQ(both.config.saturation_detector->name, "new");
}

TEST(RawConfigTest, ADetectorWithoutNameIsTheDefaultOne) {
  const Raw raw("flowControl: {saturationDetector: {}}");
  EXPECT_EQ(raw.out.all().size(), 0u) << raw.out.Render();
  EXPECT_FALSE(raw.config.saturation_detector);
}

TEST(RawConfigTest, FlowControlWithTheGateOffWarnsUnlessOnlyTheDetectorIsSet) {
  EXPECT_EQ(Raw("flowControl: {saturationDetector: {pluginRef: s}}").out.warnings(), 0u);
  EXPECT_EQ(Raw("flowControl: {}").out.warnings(), 0u);
  EXPECT_EQ(Raw("flowControl: {enableEviction: true}").out.warnings(), 0u);
  const Raw raw("flowControl: {defaultRequestTTL: 5s, saturationDetector: {pluginRef: s}}");
  EXPECT_TRUE(raw.out.ok());
  EXPECT_THAT(raw.out.Render(), HasSubstr("flowControl is ignored"));
  EXPECT_EQ(Raw("featureGates: [flowControl]\nflowControl: {maxBytes: 1}").out.warnings(), 0u);
}

TEST(RawConfigTest, PlaceholdersWarnWithoutTheirSurroundings) {
  const Raw raw("plugins: [{type: x, parameters: {model: \"s3cret-${MODEL_NAME}\", b: \"$5}\"}}]");
  EXPECT_TRUE(raw.out.ok());
  ASSERT_EQ(raw.out.warnings(), 1u);
  EXPECT_EQ(raw.out.all()[0].message, "\"${MODEL_NAME}\" looks like a placeholder");
  EXPECT_EQ(raw.out.all()[0].code, "EPP-CFG-UNSUBSTITUTED");
}

TEST(RawConfigTest, Shadow) {
  struct Case {
    const char* sample;
    double want;
  };
  for (const Case& c : {Case{"", 0.1}, Case{", sample: 5%", 0.05}, Case{", sample: 100%", 1},
                        Case{", sample: 0.5%", 0.005}, Case{", sample: 0.25", 0.25},
                        Case{", sample: 1", 1}, Case{", sample: ~", 0.1}}) {
    const Raw raw(std::string("epp: {shadow: {file: a/b.yaml") + c.sample + "}}");
    ASSERT_TRUE(raw.out.all().empty()) << raw.out.Render();
    ASSERT_TRUE(raw.config.shadow);
    EXPECT_EQ(raw.config.shadow->file.name, "a/b.yaml");
    EXPECT_DOUBLE_EQ(raw.config.shadow->sample, c.want) << c.sample;
  }
  for (const char* none : {"epp:", "epp: {}", "epp: {shadow: ~}"}) {
    const Raw raw(none);
    EXPECT_TRUE(raw.out.all().empty()) << raw.out.Render();
    EXPECT_FALSE(raw.config.shadow);
  }
}

TEST(RawConfigTest, ListsAreBounded) {
  std::string text = "plugins:\n";
  for (int i = 0; i < 1025; ++i) text += "- {type: t, name: n" + std::to_string(i) + "}\n";
  const Raw raw(text);
  EXPECT_THAT(raw.out.Render(), HasSubstr("has 1025 entries, want at most 1024"));
}

}  // namespace
}  // namespace epp::config
