#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"
#include "host/config/endpoint_picker_config.h"
#include "host/config/test_catalog.h"

namespace epp::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Resolved {
  explicit Resolved(const std::string& text, bool experimental = false,
                    loader::Catalog with = test::RealNames())
      : catalog(std::move(with)) {
    config = Resolve(test::Text(text), catalog, {.allow_experimental = experimental}, out);
  }
  std::string name(size_t i) const { return config.plugins[i].name; }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const PluginSpec& plugin : config.plugins) all.push_back(plugin.name);
    return all;
  }
  std::vector<std::string> profile(size_t p) const {
    std::vector<std::string> all;
    for (const ProfileEntry& e : config.profiles[p].entries) {
      all.push_back(StrCat(name(e.plugin), " ", e.weight));
    }
    return all;
  }
  // "source<-extractor,extractor"
  std::vector<std::string> sources() const {
    std::vector<std::string> all;
    for (const DataSourceSpec& s : config.sources) {
      std::string text = name(s.source) + "<-";
      for (const size_t e : s.extractors) text += name(e) + ",";
      all.push_back(text);
    }
    return all;
  }
  std::vector<std::string> parsers() const {
    std::vector<std::string> all;
    for (const size_t p : config.parsers) all.push_back(name(p));
    return all;
  }

  loader::Catalog catalog;
  Diagnostics out;
  ResolvedConfig config;
};

constexpr const char* kInjectedSource = "metrics-data-source<-core-metrics-extractor,";

TEST(ResolutionTest, BuiltInDefault) {
  for (const char* text : {"", " \n\t\n"}) {
    const Resolved r(text);
    ASSERT_TRUE(r.out.ok()) << r.out.Render();
    EXPECT_EQ(r.out.warnings(), 0u);
    EXPECT_THAT(r.profile(0), ElementsAre("queue-scorer 2", "kv-cache-utilization-scorer 2",
                                          "prefix-cache-scorer 3", "max-score-picker 1"));
    EXPECT_EQ(r.name(r.config.profile_handler), "single-profile-handler");
    EXPECT_THAT(r.parsers(), ElementsAre("openai-parser", "anthropic-parser", "vllmhttp-parser",
                                         "passthrough-parser"));
    EXPECT_THAT(r.sources(), ElementsAre(kInjectedSource));
    EXPECT_EQ(r.config.source->text, kDefaultConfig);
    EXPECT_EQ(r.config.digest.size(), 64u);
  }
}

TEST(ResolutionTest, DigestIsOfTheText) {
  EXPECT_EQ(Resolved("{}").config.digest, Resolved("{}").config.digest);
  EXPECT_NE(Resolved("{}").config.digest, Resolved("{} ").config.digest);
  // printf '{}' | sha256sum
  EXPECT_EQ(Resolved("{}").config.digest,
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
}

TEST(ResolutionTest, WithoutProfilesEverythingThatCanTakesPartInOrder) {
  const Resolved r(
      "plugins: [{type: random-picker}, {type: queue-scorer}, {type: prefix-based-pd-decider},"
      " {type: label-selector-filter}, {type: core-metrics-extractor}]");
  ASSERT_TRUE(r.out.ok()) << r.out.Render();
  ASSERT_EQ(r.config.profiles.size(), 1u);
  EXPECT_EQ(r.config.profiles[0].name, "default");
  EXPECT_THAT(r.profile(0),
              ElementsAre("random-picker 1", "queue-scorer 1", "label-selector-filter 1"));
  EXPECT_THAT(Resolved("schedulingProfiles: []").profile(0), ElementsAre("max-score-picker 1"));
}

TEST(ResolutionTest, WeightsOfAnySignAndDefaults) {
  const Resolved r(
      "plugins: [{type: queue-scorer}, {name: second, type: queue-scorer},"
      " {type: max-score-picker}]\n"
      "schedulingProfiles: [{name: p, plugins: [{pluginRef: max-score-picker, weight: 9},"
      " {pluginRef: queue-scorer}, {pluginRef: second, weight: -0.5},"
      " {pluginRef: queue-scorer, weight: 0}]}]");
  ASSERT_TRUE(r.out.ok()) << r.out.Render();
  EXPECT_THAT(r.profile(0),
              ElementsAre("max-score-picker 9", "queue-scorer 1", "second -0.5", "queue-scorer 0"));
}

TEST(ResolutionTest, ADeclaredPickerServesEveryProfileThatHasNone) {
  const Resolved r(
      "plugins: [{type: random-picker}, {type: disagg-profile-handler}, {type: max-score-picker}]\n"
      "schedulingProfiles: [{name: a}, {name: b, plugins: [{pluginRef: max-score-picker}]}]");
  ASSERT_TRUE(r.out.ok()) << r.out.Render();
  EXPECT_THAT(r.profile(0), ElementsAre("random-picker 1"));
  EXPECT_THAT(r.profile(1), ElementsAre("max-score-picker 1"));
}

TEST(ResolutionTest, EntriesThatTakeNoPartInAProfileAreAccepted) {
  const Resolved r(
      "plugins: [{type: token-producer}, {type: queue-scorer}]\n"
      "schedulingProfiles: [{name: p, plugins: [{pluginRef: token-producer}]}]");
  ASSERT_TRUE(r.out.ok()) << r.out.Render();
  EXPECT_THAT(r.profile(0), ElementsAre("token-producer 1", "max-score-picker 1"));
}

TEST(ResolutionTest, DataLayerDefaults) {
  struct Case {
    const char* text;
    std::vector<std::string> sources;
  } cases[] = {
      {"{}", {kInjectedSource}},
      {"dataLayer: {}", {kInjectedSource}},
      {"dataLayer: {injectDefaults: true}", {kInjectedSource}},
      {"plugins: [{type: models-data-source}]\n"
       "dataLayer: {sources: [{pluginRef: models-data-source}]}",
       {"models-data-source<-", kInjectedSource}},
      {"plugins: [{type: models-data-source}]\n"
       "dataLayer: {injectDefaults: false, sources: [{pluginRef: models-data-source}]}",
       {"models-data-source<-"}},
      {"plugins: [{type: metrics-data-source}, {name: x, type: core-metrics-extractor}]\n"
       "dataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: x}]}]}",
       {"metrics-data-source<-x,"}},
      // Scraping the same pages twice would be of no use, whatever the source is called.
      {"plugins: [{name: mine, type: metrics-data-source}, {type: core-metrics-extractor}]\n"
       "dataLayer: {sources: [{pluginRef: mine, extractors: "
       "[{pluginRef: core-metrics-extractor}]}]}",
       {"mine<-core-metrics-extractor,"}},
      {"plugins: [{name: mine, type: metrics-data-source}, {name: x, type: "
       "core-metrics-extractor}]",
       {"mine<-x,"}},
  };
  for (const Case& c : cases) {
    const Resolved r(c.text);
    EXPECT_TRUE(r.out.ok()) << c.text << r.out.Render();
    EXPECT_EQ(r.sources(), c.sources) << c.text;
  }
}

TEST(ResolutionTest, InjectedInstancesSayWhy) {
  const Resolved r("plugins: [{type: queue-scorer}]");
  ASSERT_TRUE(r.out.ok());
  for (const PluginSpec& plugin : r.config.plugins) {
    EXPECT_EQ(plugin.injected.empty(), plugin.name == "queue-scorer") << plugin.name;
    ASSERT_TRUE(plugin.params);
    EXPECT_EQ(plugin.params->view().size(), plugin.type->type->param_count);
  }
}

TEST(ResolutionTest, Parsers) {
  const Resolved r(
      "plugins: [{name: mine, type: openai-parser}]\n"
      "requestHandler: {parsers: [{pluginRef: vllmhttp-parser}, {pluginRef: mine}]}");
  ASSERT_TRUE(r.out.ok()) << r.out.Render();
  EXPECT_THAT(r.parsers(), ElementsAre("vllmhttp-parser", "mine"));
  EXPECT_THAT(Resolved("parser: {pluginRef: passthrough-parser}").parsers(),
              ElementsAre("passthrough-parser"));
}

TEST(ResolutionTest, Discovery) {
  const Resolved r(
      "plugins: [{type: file-discovery, parameters: {path: /e.yaml}}]\n"
      "dataLayer: {discovery: {pluginRef: file-discovery}}");
  ASSERT_TRUE(r.out.ok()) << r.out.Render();
  ASSERT_TRUE(r.config.discovery);
  EXPECT_EQ(r.name(*r.config.discovery), "file-discovery");
}

TEST(ResolutionTest, PluginsComeAfterThoseThatTheirParametersName) {
  const Resolved r(
      "plugins:\n"
      "- {type: max-score-picker}\n"
      "- {type: disagg-profile-handler, parameters: {deciders: {prefill: second}}}\n"
      "- {type: queue-scorer}\n"
      "- {name: second, type: prefix-based-pd-decider, parameters: {next: first}}\n"
      "- {name: first, type: prefix-based-pd-decider}\n"
      "schedulingProfiles: [{name: p, plugins: [{pluginRef: queue-scorer}]}]\n");
  ASSERT_TRUE(r.out.ok()) << r.out.Render();
  const std::vector<std::string> names = r.names();
  EXPECT_THAT(
      std::vector<std::string>(names.begin(), names.begin() + 5),
      ElementsAre("max-score-picker", "first", "second", "disagg-profile-handler", "queue-scorer"));
  // What was found by position moved along.
  EXPECT_EQ(r.name(r.config.profile_handler), "disagg-profile-handler");
  EXPECT_THAT(r.profile(0), ElementsAre("queue-scorer 1", "max-score-picker 1"));
  EXPECT_THAT(r.parsers(), Contains("passthrough-parser"));
  EXPECT_THAT(r.sources(), ElementsAre(kInjectedSource));
}

struct ErrorCase {
  const char* text;
  const char* code;
  const char* shown;
};

TEST(ResolutionTest, Errors) {
  const ErrorCase cases[] = {
      {"plugins: [{type: queue-scorrer}]", "EPP-CFG-UNKNOWN-TYPE",
       "plugin \"queue-scorrer\": type \"queue-scorrer\" is not registered"},
      {"plugins: [{type: queue-scorrer}]", "EPP-CFG-UNKNOWN-TYPE",
       "did you mean \"queue-scorer\"?"},
      {"plugins: [{type: max-score-picker, parameters: {maxNumOfEndpoints: 0}}]", "EPP-CFG-RANGE",
       "plugin \"max-score-picker\" (max-score-picker): parameter \"maxNumOfEndpoints\" is 0"},
      {"plugins: [{type: file-discovery}]", "EPP-CFG-MISSING", "parameter \"path\" is required"},
      {"plugins: [{type: queue-scorer}]\n"
       "schedulingProfiles: [{name: p, plugins: [{pluginRef: queu-scorer}]}]",
       "EPP-CFG-UNDEFINED-REF",
       "profile \"p\": plugin \"queu-scorer\" is not defined, want one of "
       "\"queue-scorer\""},
      {"plugins: [{type: max-score-picker}, {type: random-picker}]\n"
       "schedulingProfiles: [{name: p, plugins: [{pluginRef: max-score-picker}, "
       "{pluginRef: random-picker}]}]",
       "EPP-CFG-TWO-PICKERS",
       "profile \"p\" has two pickers, \"max-score-picker\" and \"random-picker\""},
      {"plugins: [{type: max-score-picker}, {type: random-picker}]", "EPP-CFG-TWO-PICKERS",
       "profile \"default\" has two pickers"},
      {"plugins: [{type: single-profile-handler}, {type: disagg-profile-handler}]",
       "EPP-CFG-HANDLER-COUNT", "two profile handlers"},
      {"schedulingProfiles: [{name: a}, {name: b}]", "EPP-CFG-HANDLER-COUNT",
       "2 profiles and no profile handler"},
      {"plugins: [{type: disagg-profile-handler, parameters: {deciders: {prefill: x}}}]",
       "EPP-CFG-UNDEFINED-REF", "parameter \"deciders.prefill\": plugin \"x\" is not defined"},
      {"plugins: [{name: q, type: queue-scorer},"
       " {type: disagg-profile-handler, parameters: {deciders: {prefill: q}}}]",
       "EPP-CFG-WRONG-KIND",
       "parameter \"deciders.prefill\": plugin \"q\" (queue-scorer) does not implement "
       "epp.decider/1"},
      // What must be a decider must be there, whoever named it.
      {"plugins: [{type: pd-profile-handler}]", "EPP-CFG-UNDEFINED-REF",
       "parameter \"deciderPluginName\": plugin \"prefix-based-pd-decider\" is not defined"},
      {"plugins: [{name: a, type: prefix-based-pd-decider, parameters: {next: b}},"
       " {name: b, type: prefix-based-pd-decider, parameters: {next: a}}]",
       "EPP-CFG-CYCLE", "the graph is not a DAG"},
      {"plugins: [{name: a, type: prefix-based-pd-decider, parameters: {next: a}}]",
       "EPP-CFG-CYCLE", "plugin \"a\" refers to itself"},
      {"requestHandler: {parsers: [{pluginRef: openai-parsr}]}", "EPP-CFG-UNDEFINED-REF",
       "parser \"openai-parsr\" is not defined"},
      {"requestHandler: {parsers: [{pluginRef: queue-scorer}]}", "EPP-CFG-WRONG-KIND",
       "plugin \"queue-scorer\" (queue-scorer) is not a parser"},
      {"dataLayer: {sources: [{pluginRef: metrics-data-source}]}", "EPP-CFG-UNDEFINED-REF",
       "data source \"metrics-data-source\" is not defined"},
      {"plugins: [{type: queue-scorer}]\ndataLayer: {sources: [{pluginRef: queue-scorer}]}",
       "EPP-CFG-WRONG-KIND", "is not a data source"},
      {"plugins: [{type: models-data-source}, {type: queue-scorer}]\n"
       "dataLayer: {sources: [{pluginRef: models-data-source, extractors: "
       "[{pluginRef: queue-scorer}]}]}",
       "EPP-CFG-WRONG-KIND", "is not an extractor"},
      {"plugins: [{type: models-data-source}]\n"
       "dataLayer: {sources: [{pluginRef: models-data-source, extractors: [{pluginRef: x}]}]}",
       "EPP-CFG-UNDEFINED-REF", "extractor \"x\" is not defined"},
      {"plugins: [{type: metrics-data-source}, {type: core-metrics-extractor},"
       " {name: b, type: core-metrics-extractor}]\n"
       "dataLayer: {sources: [{pluginRef: metrics-data-source, extractors: "
       "[{pluginRef: core-metrics-extractor}, {pluginRef: b}]}]}",
       "EPP-CFG-DUPLICATE-EXTRACTOR", "has two extractors of type \"core-metrics-extractor\""},
      {"dataLayer: {injectDefaults: false}", "EPP-CFG-NO-SOURCE",
       "data layer enabled but no data sources configured"},
      {"dataLayer: {discovery: {pluginRef: file-discovery}}", "EPP-CFG-UNDEFINED-REF",
       "discovery \"file-discovery\" is not defined"},
      {"plugins: [{type: queue-scorer}]\ndataLayer: {discovery: {pluginRef: queue-scorer}}",
       "EPP-CFG-WRONG-KIND", "is not a discovery plugin"},
      {"saturationDetector: {pluginRef: nope}", "EPP-CFG-UNDEFINED-REF",
       "flow control: plugin \"nope\" is not defined"},
      {"featureGates: [flowControl]", "EPP-CFG-FLOW-UNAVAILABLE", "is not available"},
      {"plugins: [{type: utilization-filter}]", "EPP-CFG-EXPERIMENTAL",
       "plugin \"utilization-filter\" (utilization-filter) is experimental (alpha)"},
      {"plugins: [{name: max-score-picker, type: queue-scorer}]", "EPP-CFG-DUPLICATE-NAME",
       "a plugin of another type is named \"max-score-picker\""},
  };
  for (const ErrorCase& c : cases) {
    const Resolved r(c.text);
    ASSERT_EQ(r.out.errors(), 1u) << c.text << "\n" << r.out.Render();
    std::vector<std::string> codes;
    for (const Diagnostic& d : r.out.all()) codes.push_back(d.code);
    EXPECT_THAT(codes, Contains(c.code)) << c.text;
    EXPECT_THAT(r.out.Render(), HasSubstr(c.shown)) << c.text;
  }
}

TEST(ResolutionTest, AllErrorsOfTheFileAndNoFollowUps) {
  const Resolved r(
      "plugins:\n"
      "- {name: q, type: queue-scorrer}\n"  // unknown type
      "- {name: n}\n"                       // no type
      "- {type: max-score-picker, parameters: {nope: 1}}\n"
      "- {type: disagg-profile-handler, parameters: {deciders: {prefill: gone, encode: q}}}\n"
      "schedulingProfiles:\n"
      "- name: p\n"
      "  plugins: [{pluginRef: q}, {pluginRef: n}, {pluginRef: missing}]\n");
  std::vector<std::string> places;
  for (const Diagnostic& d : r.out.all()) {
    places.push_back(d.code + " " + std::to_string(d.mark.line) + ":" +
                     std::to_string(d.mark.column));
  }
  EXPECT_THAT(places,
              testing::UnorderedElementsAre(
                  "EPP-CFG-UNKNOWN-TYPE 2:19", "EPP-CFG-NO-TYPE 3:3", "EPP-CFG-UNKNOWN-KEY 4:41",
                  "EPP-CFG-UNDEFINED-REF 5:67", "EPP-CFG-UNDEFINED-REF 8:57"))
      << r.out.Render();
}

TEST(ResolutionTest, ExperimentalTypesWithTheFlag) {
  EXPECT_TRUE(Resolved("plugins: [{type: utilization-filter}]", true).out.ok());
}

TEST(ResolutionTest, AliasesAndDeprecatedTypesWarn) {
  const Resolved r("plugins: [{type: by-label}, {name: c, type: context-length-aware}]");
  ASSERT_TRUE(r.out.ok()) << r.out.Render();
  EXPECT_EQ(r.out.warnings(), 2u);
  EXPECT_EQ(r.name(0), "by-label");
  EXPECT_EQ(r.config.plugins[0].type->name(), "label-selector-filter");
  EXPECT_THAT(r.out.Render(), HasSubstr("plugin type \"by-label\" is deprecated, want "
                                        "\"label-selector-filter\""));
  EXPECT_THAT(r.out.Render(),
              HasSubstr("plugin type \"context-length-aware\" is deprecated: use something else"));
}

TEST(ResolutionTest, FlowControlReferencesMatterOnlyWithTheGate) {
  const Resolved off("flowControl: {usageLimitPolicyPluginRef: nope, defaultRequestTTL: 5s}");
  EXPECT_TRUE(off.out.ok()) << off.out.Render();
  const Resolved on("featureGates: [flowControl]\nflowControl: {usageLimitPolicyPluginRef: nope}");
  EXPECT_THAT(on.out.Render(), HasSubstr("\"nope\" is not defined"));
  EXPECT_TRUE(Resolved("saturationDetector: {pluginRef: utilization-detector}").out.ok());
}

TEST(ResolutionTest, MissingDefaultTypesAreNamed) {
  const Resolved r("{}", false, loader::Catalog());
  EXPECT_THAT(r.out.Render(),
              HasSubstr("plugin type \"max-score-picker\" is not available (the picker)"));
  EXPECT_THAT(r.out.Render(), HasSubstr("(a default parser)"));
  EXPECT_THAT(r.out.Render(), HasSubstr("(the default data source)"));
}

TEST(ResolutionTest, UnreadableText) {
  const Resolved r("{a: [");
  EXPECT_FALSE(r.out.ok());
  EXPECT_THAT(r.config.plugins, IsEmpty());
}

TEST(ResolutionTest, ALongChainOfReferences) {
  std::string text = "plugins:\n";
  for (int i = 0; i < 1000; ++i) {
    text += "- {name: d" + std::to_string(i) +
            ", type: prefix-based-pd-decider, parameters: " + "{next: d" + std::to_string(i + 1) +
            "}}\n";
  }
  text += "- {name: d1000, type: prefix-based-pd-decider}\n";
  const Resolved r(text);
  ASSERT_TRUE(r.out.ok()) << r.out.Render();
  EXPECT_EQ(r.name(0), "d1000");
  EXPECT_EQ(r.name(1000), "d0");
}

}  // namespace
}  // namespace epp::config
