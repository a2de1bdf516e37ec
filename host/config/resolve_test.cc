#include <array>
#include <memory>
#include <string>
#include <vector>

#include "epp/plugin.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "host/config/diagnostics.h"
#include "host/config/endpoint_picker_config.h"
#include "host/loader/catalog.h"

namespace epp::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// ---- A catalog of types that declare and never run.

constexpr const char* kModes[] = {"fast", "slow"};
constexpr std::array kRichParams{
    Bool("flag", false, "doc"),
    Int("count", 5, 0, 100, "doc"),
    Float("ratio", 0.5, 0, 1, "doc"),
    String("mode", "fast", "doc").OneOf(kModes),
    Duration("wait", 1'000'000'000, 0, 60, "doc"),
    StringList("names", "doc"),
    Json("anything", "doc"),
    Int("weights.cache", 1, 0, 100, "doc"),
    Int("old", 0, 0, 100, "use count").Deprecated(),
    Int("unused", 0, 0, 100, "doc").Ignored(),
    Int("secret", 0, 0, 100, "doc").Secret(),
};
constexpr std::array kDeciderParams{Plugin("deciderRef", nullptr, "doc")};
constexpr std::array kDefaultDeciderParams{Plugin("deciderRef", "nobody", "doc")};
constexpr std::array kRequiredParams{String("path", nullptr, "doc").Required()};

class Types {
 public:
  Types() {
    for (const Param& p : kRichParams) rich_.push_back(&p.spec);
    for (const Param& p : kDeciderParams) decider_.push_back(&p.spec);
    for (const Param& p : kDefaultDeciderParams) default_decider_.push_back(&p.spec);
    for (const Param& p : kRequiredParams) required_.push_back(&p.spec);
    Add("queue-scorer", EPP_SCORER_ID);
    Add("kv-cache-utilization-scorer", EPP_SCORER_ID);
    Add("prefix-cache-scorer", EPP_SCORER_ID);
    Add("decode-filter", EPP_FILTER_ID);
    Add("max-score-picker", EPP_PICKER_ID);
    Add("random-picker", EPP_PICKER_ID);
    Add("single-profile-handler", EPP_PROFILE_HANDLER_ID);
    Add("disagg-profile-handler", EPP_PROFILE_HANDLER_ID, &decider_);
    Add("always-decider", "test.decider/1", &decider_);
    Add("default-decider", "test.decider/1", &default_decider_);
    Add("openai-parser", EPP_PARSER_ID);
    Add("anthropic-parser", EPP_PARSER_ID);
    Add("vllmhttp-parser", EPP_PARSER_ID);
    Add("passthrough-parser", EPP_PARSER_ID);
    Add("metrics-data-source", EPP_SOURCE_ID);
    Add("models-data-source", EPP_SOURCE_ID);
    Add("core-metrics-extractor", EPP_SCRAPER_ID);
    Add("file-discovery", kDiscoveryInterface, &required_);
    Add("rich", EPP_SCORER_ID, &rich_);
    Add("alpha-scorer", EPP_SCORER_ID).stability = EPP_STABILITY_ALPHA;
    Add("lax-scorer", EPP_SCORER_ID).flags = EPP_TYPE_ANY_PARAMS;
    Add("going-scorer", EPP_SCORER_ID).deprecated = "use queue-scorer";
    epp_plugin_type& renamed = Add("label-selector-filter", EPP_FILTER_ID);
    renamed.aliases = kAliases;
    renamed.alias_count = 1;
    for (const auto& type : types_) catalog_.AddBuiltin(&type->record);
  }
  const loader::Catalog& catalog() const { return catalog_; }

 private:
  struct Type {
    epp_plugin_type record{};
    const char* interface;
  };
  static constexpr const char* kAliases[] = {"by-label"};

  epp_plugin_type& Add(const char* name, const char* interface,
                       const std::vector<const epp_param_spec*>* params = nullptr) {
    Type& type = *types_.emplace_back(std::make_unique<Type>());
    type.interface = interface;
    type.record.struct_size = sizeof(epp_plugin_type);
    type.record.stability = EPP_STABILITY_BETA;
    type.record.name = name;
    type.record.doc = "doc";
    type.record.interfaces = &type.interface;
    type.record.interface_count = 1;
    if (params != nullptr) {
      type.record.params = params->data();
      type.record.param_count = static_cast<uint32_t>(params->size());
    }
    return type.record;
  }

  std::vector<const epp_param_spec*> rich_, decider_, default_decider_, required_;
  std::vector<std::unique_ptr<Type>> types_;
  loader::Catalog catalog_;
};

const loader::Catalog& TestCatalog() {
  static const Types& types = *new Types;
  return types.catalog();
}

struct Outcome {
  ResolvedConfig config;
  Diagnostics diagnostics;
  // "CODE@LINE:COLUMN" of every error (or warning), in order of appearance.
  std::vector<std::string> Codes(Severity severity = Severity::kError) const {
    std::vector<std::string> codes;
    for (const Diagnostic& d : diagnostics.all()) {
      if (d.severity == severity) {
        codes.push_back(StrCat(d.code, "@", d.mark.line, ":", d.mark.column));
      }
    }
    return codes;
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const PluginSpec& plugin : config.plugins) names.push_back(plugin.name);
    return names;
  }
  std::string Entries(size_t profile) const {
    std::string out;
    for (const ProfileEntry& entry : config.profiles[profile].entries) {
      StrAppend(&out, out.empty() ? "" : " ", config.plugins[entry.plugin].name, ":", entry.weight);
    }
    return out;
  }
};

Outcome ResolveText(std::string text, bool allow_experimental = false) {
  Outcome outcome;
  outcome.config =
      Resolve(std::make_shared<const SourceText>(SourceText{"config.yaml", std::move(text)}),
              TestCatalog(), {.allow_experimental = allow_experimental}, outcome.diagnostics);
  return outcome;
}

// ---- What is refused: one line of YAML a cause.

struct Refused {
  const char* name;
  const char* text;
  std::vector<std::string> codes;
};

void PrintTo(const Refused& r, std::ostream* os) { *os << r.name; }

class RefusedTest : public testing::TestWithParam<Refused> {};

TEST_P(RefusedTest, WithCodeAndPlace) {
  const Outcome outcome = ResolveText(GetParam().text);
  EXPECT_EQ(outcome.Codes(), GetParam().codes) << outcome.diagnostics.Render();
}

constexpr char kTwoPickers[] = R"(plugins:
- type: max-score-picker
- type: random-picker
schedulingProfiles:
- name: p
  plugins: [{pluginRef: max-score-picker}, {pluginRef: random-picker}]
)";
constexpr char kTwoProfiles[] = R"(plugins:
- type: queue-scorer
schedulingProfiles:
- name: a
  plugins: [{pluginRef: queue-scorer}]
- name: b
  plugins: [{pluginRef: queue-scorer}]
)";
constexpr char kLoop[] = R"(plugins:
- {name: a, type: always-decider, parameters: {deciderRef: b}}
- {name: b, type: always-decider, parameters: {deciderRef: a}}
)";
constexpr char kDuplicateExtractor[] = R"(plugins:
- type: metrics-data-source
- {name: one, type: core-metrics-extractor}
- {name: two, type: core-metrics-extractor}
dataLayer:
  sources:
  - pluginRef: metrics-data-source
    extractors: [{pluginRef: one}, {pluginRef: two}]
)";

INSTANTIATE_TEST_SUITE_P(
    Document, RefusedTest,
    testing::Values(
        Refused{"Syntax", "plugins: [\n", {"EPP-CFG-SYNTAX@2:1"}},
        Refused{"NotAMap", "- a\n", {"EPP-CFG-TYPE@1:1"}},
        Refused{
            "TwoDocuments", "kind: EndpointPickerConfig\n---\nkind: x\n", {"EPP-CFG-SYNTAX@3:1"}},
        Refused{"Anchor", "plugins: &a []\n", {"EPP-CFG-SYNTAX@1:10"}},
        Refused{"Tag", "kind: !x EndpointPickerConfig\n", {"EPP-CFG-SYNTAX@1:7"}},
        Refused{"UnknownKey", "plugin: []\n", {"EPP-CFG-UNKNOWN-KEY@1:1"}},
        Refused{"KeysAreCaseSensitive", "Plugins: []\n", {"EPP-CFG-UNKNOWN-KEY@1:1"}},
        Refused{"DuplicateKey", "plugins: []\nplugins: []\n", {"EPP-CFG-DUPLICATE-KEY@2:1"}},
        Refused{"WrongType", "plugins: 7\n", {"EPP-CFG-TYPE@1:10"}},
        Refused{"ApiVersion", "apiVersion: llm-d.ai/v2\n", {"EPP-CFG-API-VERSION@1:13"}},
        Refused{"Kind", "kind: Other\n", {"EPP-CFG-KIND@1:7"}},
        Refused{"UnknownGate", "featureGates: [dataLayer]\n", {"EPP-CFG-GATE@1:16"}},
        Refused{"GateValue", "featureGates: [flowControl=qwerty]\n", {"EPP-CFG-GATE@1:16"}}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Plugins, RefusedTest,
    testing::Values(
        Refused{"NoType", "plugins: [{name: a}]\n", {"EPP-CFG-NO-TYPE@1:11"}},
        Refused{"DuplicateName",
                "plugins: [{type: queue-scorer}, {type: queue-scorer}]\n",
                {"EPP-CFG-DUPLICATE-NAME@1:40"}},
        Refused{"UnknownType", "plugins: [{type: queue-scorre}]\n", {"EPP-CFG-UNKNOWN-TYPE@1:18"}},
        Refused{"Experimental", "plugins: [{type: alpha-scorer}]\n", {"EPP-CFG-EXPERIMENTAL@1:18"}},
        Refused{"UndeclaredReference",
                "plugins: [{type: always-decider, parameters: {deciderRef: nobody}}]\n",
                {"EPP-CFG-UNDEFINED-REF@1:59"}},
        Refused{"SelfReference",
                "plugins: [{type: always-decider, parameters: {deciderRef: always-decider}}]\n",
                {"EPP-CFG-CYCLE@1:18"}},
        Refused{"Loop", kLoop, {"EPP-CFG-CYCLE@2:19"}},
        Refused{
            "RequiredParameter", "plugins: [{type: file-discovery}]\n", {"EPP-CFG-MISSING@1:18"}}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Profiles, RefusedTest,
    testing::Values(
        Refused{"NoName", "schedulingProfiles: [{plugins: []}]\n", {"EPP-CFG-MISSING@1:22"}},
        Refused{"DuplicateName",
                "schedulingProfiles: [{name: a}, {name: a}]\n",
                {"EPP-CFG-DUPLICATE-NAME@1:40"}},
        Refused{"NoReference",
                "schedulingProfiles: [{name: a, plugins: [{weight: 2}]}]\n",
                {"EPP-CFG-MISSING@1:42"}},
        Refused{"UndefinedReference",
                "schedulingProfiles: [{name: a, plugins: [{pluginRef: x}]}]\n",
                {"EPP-CFG-UNDEFINED-REF@1:54"}},
        Refused{
            "WeightType",
            "plugins: [{type: queue-scorer}]\n"
            "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer, weight: .inf}]}]\n",
            {"EPP-CFG-TYPE@2:76"}},
        Refused{"TwoPickers", kTwoPickers, {"EPP-CFG-TWO-PICKERS@6:56"}},
        Refused{"TwoPickersWithoutProfiles",
                "plugins: [{type: max-score-picker}, {type: random-picker}]\n",
                {"EPP-CFG-TWO-PICKERS@1:44"}},
        Refused{"TwoHandlers",
                "plugins: [{type: single-profile-handler}, {type: disagg-profile-handler}]\n",
                {"EPP-CFG-HANDLER-COUNT@1:50"}},
        Refused{"TwoProfilesWithoutHandler", kTwoProfiles, {"EPP-CFG-HANDLER-COUNT@6:9"}}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Rest, RefusedTest,
    testing::Values(
        Refused{"DetectorUndefined",
                "saturationDetector: {pluginRef: nobody}\n",
                {"EPP-CFG-UNDEFINED-REF@1:33"}},
        Refused{"ParserUndefined",
                "requestHandler: {parsers: [{pluginRef: nobody}]}\n",
                {"EPP-CFG-UNDEFINED-REF@1:40"}},
        Refused{"ParserIsNone",
                "plugins: [{type: queue-scorer}]\n"
                "requestHandler: {parsers: [{pluginRef: queue-scorer}]}\n",
                {"EPP-CFG-WRONG-KIND@2:40"}},
        Refused{"SourceUndefined",
                "dataLayer: {sources: [{pluginRef: metrics-data-source}]}\n",
                {"EPP-CFG-UNDEFINED-REF@1:35"}},
        Refused{"SourceIsNone",
                "plugins: [{type: queue-scorer}]\n"
                "dataLayer: {sources: [{pluginRef: queue-scorer}]}\n",
                {"EPP-CFG-WRONG-KIND@2:35"}},
        Refused{"DuplicateExtractor", kDuplicateExtractor, {"EPP-CFG-DUPLICATE-EXTRACTOR@8:48"}},
        Refused{"NoSource", "dataLayer: {injectDefaults: false}\n", {"EPP-CFG-NO-SOURCE@0:0"}},
        Refused{"DiscoveryIsNone",
                "plugins: [{type: queue-scorer}]\n"
                "dataLayer: {discovery: {pluginRef: queue-scorer}}\n",
                {"EPP-CFG-WRONG-KIND@2:36"}},
        Refused{"NegativeQuantity", "flowControl: {maxBytes: -1}\n", {"EPP-CFG-QUANTITY@1:25"}},
        Refused{"BadDuration", "flowControl: {defaultRequestTTL: 5x}\n", {"EPP-CFG-DURATION@1:34"}},
        Refused{"NegativeDuration",
                "flowControl: {defaultRequestTTL: -5s}\n",
                {"EPP-CFG-DURATION@1:34"}},
        Refused{"DuplicateBand",
                "flowControl: {priorityBands: [{priority: 1}, {priority: 1}]}\n",
                {"EPP-CFG-DUPLICATE-NAME@1:57"}}),
    [](const auto& info) { return info.param.name; });

// ---- Parameters.

Outcome WithParameters(const std::string& parameters, const char* type = "rich") {
  return ResolveText(StrCat("plugins:\n- type: ", type, "\n  parameters: ", parameters, "\n"));
}

struct ParamCase {
  const char* parameters;
  const char* expected;  // the canonical values, or "CODE: part of the message"
};

TEST(ParamsTest, Table) {
  // flag count ratio mode wait names anything weights.cache old unused secret
  const ParamCase cases[] = {
      {"{}", R"([0,5,0.5,"fast",1000000000,[],null,1,0,0,0])"},
      {"null", R"([0,5,0.5,"fast",1000000000,[],null,1,0,0,0])"},
      {"{count: null}", R"([0,5,0.5,"fast",1000000000,[],null,1,0,0,0])"},
      {"{flag: true, count: 7, ratio: 1, mode: slow, wait: 1.5s}",
       R"([1,7,1,"slow",1500000000,[],null,1,0,0,0])"},
      {"{names: [a, \"7\"], weights: {cache: 3}}",
       R"([0,5,0.5,"fast",1000000000,["a","7"],null,3,0,0,0])"},
      {"{COUNT: 8, Weights: {CACHE: 4}}", R"([0,8,0.5,"fast",1000000000,[],null,4,0,0,0])"},
      {"{count: 1e1}", R"([0,10,0.5,"fast",1000000000,[],null,1,0,0,0])"},
      {"{anything: {b: [1, null, x], a: 2.5}}",
       R"([0,5,0.5,"fast",1000000000,[],"{\"a\":2.5,\"b\":[1,null,\"x\"]}",1,0,0,0])"},
      {"{unused: 9}", R"([0,5,0.5,"fast",1000000000,[],null,1,0,0,0])"},
      {"{unused: whatever}", R"([0,5,0.5,"fast",1000000000,[],null,1,0,0,0])"},
      {"{old: 2}", R"([0,5,0.5,"fast",1000000000,[],null,1,2,0,0])"},
      {"7", "EPP-CFG-TYPE: want a map"},
      {"{cuont: 1}", "EPP-CFG-UNKNOWN-KEY: unknown parameter \"cuont\""},
      {"{weights: {cash: 1}}", "EPP-CFG-UNKNOWN-KEY: unknown parameter \"weights.cash\""},
      {"{weights: 7}", "EPP-CFG-TYPE: want a map"},
      {"{flag: \"true\"}", "EPP-CFG-TYPE: want true or false"},
      {"{count: 1.5}", "EPP-CFG-TYPE: want an integer"},
      {"{count: \"5\"}", "EPP-CFG-TYPE: want an integer"},
      {"{count: 101}", "EPP-CFG-RANGE: is 101, want an integer in [0, 100]"},
      {"{count: -1}", "EPP-CFG-RANGE: is -1, want an integer in [0, 100]"},
      {"{count: 99999999999999999999}", "EPP-CFG-TYPE: want an integer"},
      {"{ratio: 1.01}", "EPP-CFG-RANGE: want a number in [0, 1]"},
      {"{ratio: .nan}", "EPP-CFG-TYPE: want a number"},
      {"{mode: 5}", "EPP-CFG-TYPE: want a string"},
      {"{mode: medium}", "EPP-CFG-CHOICE: want one of \"fast\", \"slow\""},
      {"{wait: 5}", "EPP-CFG-TYPE: want a duration"},
      {"{wait: 61s}", "EPP-CFG-RANGE: want a duration"},
      {"{names: a}", "EPP-CFG-TYPE: want a list of strings"},
      {"{names: [1]}", "EPP-CFG-TYPE: want a string"},
      {"{count: 1, Count: 2}", "EPP-CFG-DUPLICATE-KEY: given twice"},
  };
  for (const ParamCase& c : cases) {
    const Outcome outcome = WithParameters(c.parameters);
    const std::string expected = c.expected;
    if (expected[0] == '[') {
      ASSERT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
      EXPECT_EQ(outcome.config.plugins[0].params->Canonical(), expected) << c.parameters;
      continue;
    }
    ASSERT_EQ(outcome.diagnostics.errors(), 1u) << c.parameters << outcome.diagnostics.Render();
    const Diagnostic& d = outcome.diagnostics.all()[0];
    EXPECT_EQ(d.code, expected.substr(0, expected.find(':'))) << c.parameters;
    EXPECT_THAT(d.message, HasSubstr(expected.substr(expected.find(':') + 2)));
    EXPECT_THAT(d.message, HasSubstr("plugin \"rich\" (rich): ")) << c.parameters;
  }
}

TEST(ParamsTest, AllErrorsInOnePassWithTheirPlaces) {
  const Outcome outcome = WithParameters("\n    count: -1\n    flag: 3\n    other: 1");
  EXPECT_THAT(outcome.Codes(),
              ElementsAre("EPP-CFG-RANGE@4:12", "EPP-CFG-TYPE@5:11", "EPP-CFG-UNKNOWN-KEY@6:5"));
}

TEST(ParamsTest, DeprecatedIsAWarning) {
  const Outcome outcome = WithParameters("{old: 2}");
  EXPECT_THAT(outcome.Codes(Severity::kWarning), ElementsAre("EPP-CFG-DEPRECATED@3:16"));
}

TEST(ParamsTest, TypesThatTakeAnything) {
  EXPECT_THAT(WithParameters("{x: {y: [1]}, z: 2}", "lax-scorer").Codes(), IsEmpty());
  EXPECT_THAT(WithParameters("{x: 1}", "queue-scorer").Codes(),
              ElementsAre("EPP-CFG-UNKNOWN-KEY@3:16"));
}

// Neither the message nor the excerpt, whatever else is wrong on its line.
TEST(ParamsTest, SecretsAreNeverShown) {
  for (const char* parameters :
       {"{secret: hunter2}", "{secret: \"hunter2\", count: -1}", "{count: -1, secret: 'hunter2'}",
        "{secret: [hunter2]}", "{nonsense: 1, secret: {a: hunter2}}", "{secrte: hunter2}",
        "{secret: \"hunter2 ${X}\"}", "\n    secret: >\n      hunter2\n    count: -1"}) {
    const Outcome outcome = WithParameters(parameters);
    EXPECT_FALSE(outcome.diagnostics.ok());
    EXPECT_THAT(outcome.diagnostics.Render(), Not(HasSubstr("hunter2"))) << parameters;
    EXPECT_THAT(outcome.diagnostics.RenderJson(), Not(HasSubstr("hunter2"))) << parameters;
  }
}

// ---- What is injected.

TEST(ResolveTest, BuiltInDefault) {
  const Outcome outcome = ResolveText("");
  ASSERT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
  EXPECT_THAT(outcome.Names(),
              ElementsAre("queue-scorer", "kv-cache-utilization-scorer", "prefix-cache-scorer",
                          "metrics-data-source", "core-metrics-extractor", "single-profile-handler",
                          "max-score-picker", "openai-parser", "anthropic-parser",
                          "vllmhttp-parser", "passthrough-parser"));
  ASSERT_EQ(outcome.config.profiles.size(), 1u);
  EXPECT_EQ(outcome.Entries(0),
            "queue-scorer:2 kv-cache-utilization-scorer:2 prefix-cache-scorer:3 "
            "max-score-picker:1");
  ASSERT_EQ(outcome.config.sources.size(), 1u);
  EXPECT_EQ(outcome.config.plugins[outcome.config.profile_handler].name, "single-profile-handler");
  EXPECT_EQ(outcome.config.parsers.size(), 4u);
  EXPECT_EQ(outcome.config.plugins[5].injected.empty(), false);
  EXPECT_TRUE(outcome.config.plugins[0].injected.empty());
  EXPECT_EQ(outcome.config.digest.size(), 64u);
}

TEST(ResolveTest, AShadowIsFoundBesideTheConfig) {
  for (const auto& [name, want] :
       {std::pair{"config.yaml", "next.yaml"}, {"/etc/epp/config.yaml", "/etc/epp/next.yaml"}}) {
    Diagnostics out;
    const ResolvedConfig config = Resolve(
        std::make_shared<const SourceText>(SourceText{
            name, "epp: {shadow: {file: next.yaml, sample: 5%}}\nplugins: [{type: queue-scorer}]"}),
        TestCatalog(), {}, out);
    ASSERT_TRUE(out.ok()) << out.Render();
    ASSERT_TRUE(config.shadow);
    EXPECT_EQ(config.shadow->file, want);
    EXPECT_DOUBLE_EQ(config.shadow->sample, 0.05);
  }
}

TEST(ResolveTest, JsonAndMissingVersion) {
  const Outcome outcome =
      ResolveText("{\"plugins\":[{\"type\":\"rich\",\n\t\"parameters\":{\"count\":5.0}}]}");
  EXPECT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
  for (const char* version : {"llm-d.ai/v1alpha1", "llm-d.ai/v1"}) {
    EXPECT_TRUE(ResolveText(StrCat("apiVersion: ", version, "\n")).Codes().empty());
  }
}

TEST(ResolveTest, NoProfilesTakesEverythingInConfigOrder) {
  const Outcome outcome = ResolveText(
      "plugins: [{type: random-picker}, {type: queue-scorer}, {type: decode-filter}]\n");
  ASSERT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
  EXPECT_EQ(outcome.config.profiles[0].name, "default");
  EXPECT_EQ(outcome.Entries(0), "random-picker:1 queue-scorer:1 decode-filter:1");
}

TEST(ResolveTest, ADeclaredPickerIsUsedWhereOneIsMissing) {
  const Outcome outcome = ResolveText(
      "plugins: [{type: queue-scorer}, {type: random-picker}]\n"
      "schedulingProfiles: [{name: p, plugins: [{pluginRef: queue-scorer, weight: -1.5}]}]\n");
  ASSERT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
  EXPECT_EQ(outcome.Entries(0), "queue-scorer:-1.5 random-picker:1");
}

TEST(ResolveTest, CreationOrderFollowsReferences) {
  const Outcome outcome = ResolveText(R"(plugins:
- {type: disagg-profile-handler, parameters: {deciderRef: outer}}
- {name: outer, type: always-decider, parameters: {deciderRef: inner}}
- {name: inner, type: always-decider}
- {type: queue-scorer}
)");
  ASSERT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
  const std::vector<std::string> names = outcome.Names();
  EXPECT_THAT(std::vector(names.begin(), names.begin() + 4),
              ElementsAre("inner", "outer", "disagg-profile-handler", "queue-scorer"));
  EXPECT_EQ(names[outcome.config.profile_handler], "disagg-profile-handler");
  EXPECT_EQ(outcome.Entries(0), "queue-scorer:1 max-score-picker:1");
}

struct SourceCase {
  const char* text;
  std::string sources;  // "source<extractor ..."
};

TEST(ResolveTest, DataSources) {
  const SourceCase cases[] = {
      {"dataLayer: {}\n", "metrics-data-source<core-metrics-extractor"},
      // By type, whatever the name: one endpoint is never scraped twice.
      {"plugins: [{name: m, type: metrics-data-source}, {name: e, type: core-metrics-extractor}]\n"
       "dataLayer: {sources: [{pluginRef: m, extractors: [{pluginRef: e}]}]}\n",
       "m<e"},
      {"plugins: [{name: m, type: metrics-data-source}]\n", "m<core-metrics-extractor"},
      {"plugins: [{type: models-data-source}]\n"
       "dataLayer: {sources: [{pluginRef: models-data-source}]}\n",
       "models-data-source<; metrics-data-source<core-metrics-extractor"},
      {"plugins: [{type: models-data-source}]\n"
       "dataLayer: {injectDefaults: false, sources: [{pluginRef: models-data-source}]}\n",
       "models-data-source<"},
  };
  for (const SourceCase& c : cases) {
    const Outcome outcome = ResolveText(c.text);
    ASSERT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
    std::string got;
    for (const DataSourceSpec& source : outcome.config.sources) {
      StrAppend(&got, got.empty() ? "" : "; ", outcome.config.plugins[source.source].name, "<");
      for (const size_t extractor : source.extractors) {
        StrAppend(&got, outcome.config.plugins[extractor].name);
      }
    }
    EXPECT_EQ(got, c.sources) << c.text;
  }
}

TEST(ResolveTest, DeprecatedFormsAreMovedWithAWarning) {
  const Outcome outcome = ResolveText(R"(apiVersion: inference.networking.x-k8s.io/v1alpha1
saturationDetector: {pluginRef: utilization-detector}
parser: {pluginRef: anthropic-parser}
plugins: [{type: by-label}, {type: going-scorer}]
)");
  ASSERT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
  EXPECT_THAT(outcome.Codes(Severity::kWarning),
              testing::UnorderedElementsAre("EPP-CFG-DEPRECATED@1:13", "EPP-CFG-DEPRECATED@2:1",
                                            "EPP-CFG-DEPRECATED@3:1", "EPP-CFG-DEPRECATED@4:18",
                                            "EPP-CFG-DEPRECATED@4:36"));
  ASSERT_EQ(outcome.config.parsers.size(), 1u);
  EXPECT_EQ(outcome.config.plugins[outcome.config.parsers[0]].name, "anthropic-parser");
}

TEST(ResolveTest, NewPlaceWinsOverTheOldOne) {
  const Outcome outcome = ResolveText(
      "parser: {pluginRef: anthropic-parser}\n"
      "requestHandler: {parsers: [{pluginRef: openai-parser}]}\n");
  ASSERT_EQ(outcome.config.parsers.size(), 1u);
  EXPECT_EQ(outcome.config.plugins[outcome.config.parsers[0]].name, "openai-parser");
}

TEST(ResolveTest, FlowControlWithTheGateOffIsIgnoredWithAWarning) {
  const Outcome outcome = ResolveText(
      "flowControl: {maxBytes: 10Gi, defaultRequestTTL: 1m30s, priorityBands: [{priority: 1}, "
      "{}]}\n");
  EXPECT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
  EXPECT_THAT(outcome.Codes(Severity::kWarning), ElementsAre("EPP-CFG-FLOW-OFF@1:14"));
  EXPECT_FALSE(outcome.config.flow_control_gate);
  EXPECT_THAT(ResolveText("flowControl: {saturationDetector: {pluginRef: utilization-detector}}\n")
                  .Codes(Severity::kWarning),
              IsEmpty());
}

TEST(ResolveTest, Gates) {
  for (const char* gate :
       {"flowControl=false", "flowControl = false", "haPopulateNonLeaderDatastore",
        "haPopulateNonLeaderDatastore=F", "flowControl=0=x"}) {
    const Outcome outcome = ResolveText(StrCat("featureGates: [\"", gate, "\"]\n"));
    if (std::string_view(gate) == "flowControl = false") continue;  // the name keeps its space
    EXPECT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
  }
}

TEST(ResolveTest, ASecondParserOfOneTypeIsSkipped) {
  const Outcome outcome = ResolveText(
      "plugins: [{name: again, type: openai-parser}]\n"
      "requestHandler: {parsers: [{pluginRef: openai-parser}, {pluginRef: again}]}\n");
  EXPECT_TRUE(outcome.diagnostics.ok()) << outcome.diagnostics.Render();
  EXPECT_THAT(outcome.Codes(Severity::kWarning), ElementsAre("EPP-CFG-DUPLICATE-PARSER@2:68"));
  EXPECT_EQ(outcome.config.parsers.size(), 1u);
}

TEST(ResolveTest, SmallThingsThatAreAccepted) {
  for (const char* text :
       {"flowControl: {enableEviction: true}\n", "dataLayer: {crossReplicaSyncInterval: -1s}\n",
        "plugins: [{type: default-decider}]\n", "dataLayer: {peerDiscovery: {pluginRef: x}}\n",
        "plugins: [{type: queue-scorer}]\n"
        "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer, weight: 0}]}]\n"}) {
    const Outcome outcome = ResolveText(text);
    EXPECT_THAT(outcome.diagnostics.all(), IsEmpty()) << outcome.diagnostics.Render();
  }
}

TEST(ResolveTest, ExperimentalTypesOnRequest) {
  EXPECT_TRUE(ResolveText("plugins: [{type: alpha-scorer}]\n", true).diagnostics.ok());
}

TEST(ResolveTest, PlaceholdersAreWarnings) {
  const Outcome outcome = ResolveText("plugins: [{name: \"${MODEL_NAME}\", type: queue-scorer}]\n");
  EXPECT_TRUE(outcome.diagnostics.ok());
  EXPECT_THAT(outcome.Codes(Severity::kWarning), ElementsAre("EPP-CFG-UNSUBSTITUTED@1:18"));
}

TEST(ResolveTest, ErrorsOfAllPartsAreCollected) {
  const Outcome outcome = ResolveText(R"(plugins:
- type: rich
  parameters: {count: -1}
- type: nonsense
schedulingProfiles:
- name: p
  plugins: [{pluginRef: rihc}, {pluginRef: nonsense}]
)");
  EXPECT_THAT(outcome.Codes(),
              testing::UnorderedElementsAre("EPP-CFG-RANGE@3:23", "EPP-CFG-UNKNOWN-TYPE@4:9",
                                            "EPP-CFG-UNDEFINED-REF@7:25"));
}

}  // namespace
}  // namespace epp::config
