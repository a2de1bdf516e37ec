// The cases of the list about configurations as a whole, with the plugins of this tree. Their
// numbers are those of README.md.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/config/endpoint_picker_config.h"
#include "tests/conformance/real_plugins.h"

namespace epp {
namespace {

using conformance::RealPlugins;
using ::testing::HasSubstr;

class LoaderCases : public testing::Test {
 protected:
  // The diagnostics of a config that must be refused; "" and a failure otherwise.
  std::string Refused(const std::string& text) {
    config::Diagnostics out;
    EXPECT_EQ(plugins_.Build("c", text, out), nullptr) << text;
    return out.Render();
  }
  std::unique_ptr<runtime::Generation> Built(const std::string& text, size_t warnings = 0) {
    config::Diagnostics out;
    auto generation = plugins_.Build("c", text, out);
    EXPECT_NE(generation, nullptr) << text << "\n" << out.Render();
    EXPECT_EQ(out.warnings(), warnings) << out.Render();
    return generation;
  }
  // "source<extractor extractor" of each.
  static std::vector<std::string> Sources(const runtime::Generation& generation) {
    const config::ResolvedConfig& config = generation.config();
    std::vector<std::string> out;
    for (const config::DataSourceSpec& source : config.sources) {
      out.push_back(config.plugins[source.source].name + "<");
      for (const size_t extractor : source.extractors) {
        out.back() += config.plugins[extractor].name + " ";
      }
    }
    return out;
  }

  RealPlugins plugins_{false};
};

TEST_F(LoaderCases, Case061WeightAndSecondPicker) {
  const auto generation = Built(
      "plugins: [{type: queue-scorer}]\n"
      "schedulingProfiles: [{name: p, plugins: [{pluginRef: queue-scorer}]}]");
  ASSERT_NE(generation, nullptr);
  EXPECT_EQ(generation->config().profiles[0].entries[0].weight, 1.0);  // not given is no error
  EXPECT_THAT(Refused("plugins: [{type: max-score-picker}, {type: random-picker}]\n"
                      "schedulingProfiles: [{name: p, plugins: [{pluginRef: max-score-picker}, "
                      "{pluginRef: random-picker}]}]"),
              HasSubstr("picker"));
}

TEST_F(LoaderCases, Case150GatesTypesAndNames) {
  struct Case {
    const char* text;
    const char* code;
  };
  for (const Case& c :
       {Case{"featureGates: [flowControl=qwerty]", "EPP-CFG-GATE"},
        Case{"featureGates: [test]", "EPP-CFG-GATE"},
        Case{"plugins: [{type: no-such-scorer}]", "EPP-CFG-UNKNOWN-TYPE"},
        Case{"plugins: [{type: queue-scorer}, {type: queue-scorer}]", "EPP-CFG-DUPLICATE-NAME"},
        Case{"plugins: [{name: a}]", "EPP-CFG-NO-TYPE"}}) {
    EXPECT_THAT(Refused(c.text), HasSubstr(c.code)) << c.text;
  }
}

TEST_F(LoaderCases, Case151TwoProfilesNeedAHandler) {
  const std::string profiles =
      "\nschedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer}]}, {name: b, plugins: "
      "[{pluginRef: queue-scorer}]}]";
  EXPECT_THAT(Refused("plugins: [{type: queue-scorer}]" + profiles),
              HasSubstr("2 profiles and no profile handler"));
  EXPECT_THAT(Refused("plugins: [{type: queue-scorer}, {type: single-profile-handler}]" + profiles),
              HasSubstr("single-profile-handler"));
}

TEST_F(LoaderCases, Case152OneHandler) {
  EXPECT_THAT(Refused("plugins: [{name: a, type: single-profile-handler}, {name: b, type: "
                      "single-profile-handler}]"),
              HasSubstr("handler"));
}

TEST_F(LoaderCases, Case153OrderDoesNotMatter) {
  EXPECT_NE(Built("plugins: [{type: max-score-picker}, {type: queue-scorer}]\n"
                  "schedulingProfiles: [{name: p, plugins: [{pluginRef: max-score-picker}, "
                  "{pluginRef: queue-scorer}]}]"),
            nullptr);
  if (!plugins_.Has("disagg-profile-handler")) return;
  EXPECT_NE(Built("plugins:\n"
                  "- {type: disagg-profile-handler, parameters: {deciders: {prefill: d}}}\n"
                  "- {name: d, type: always-disagg-pd-decider}\n"
                  "- {type: max-score-picker}\n"
                  "schedulingProfiles:\n"
                  "- {name: decode, plugins: [{pluginRef: max-score-picker}]}\n"
                  "- {name: prefill, plugins: [{pluginRef: max-score-picker}]}\n"),
            nullptr);
}

TEST_F(LoaderCases, Case154DataSources) {
  const std::string core = "metrics-data-source<core-metrics-extractor ";
  struct Case {
    const char* text;
    std::vector<std::string> want;
  };
  const std::vector<Case> cases = {
      {"dataLayer: {}", {core}},
      {"plugins: [{type: random-picker}, {type: models-data-source}]\n"
       "dataLayer: {injectDefaults: false, sources: [{pluginRef: models-data-source}]}",
       {"models-data-source<"}},
      {"plugins: [{type: models-data-source}]\n"
       "dataLayer: {sources: [{pluginRef: models-data-source}]}",
       {"models-data-source<", core}},
  };
  for (const Case& c : cases) {
    const auto generation = Built(c.text);
    ASSERT_NE(generation, nullptr) << c.text;
    EXPECT_EQ(Sources(*generation), c.want) << c.text;
  }
}

TEST_F(LoaderCases, Case155OlderForms) {
  const auto generation = Built(
      "apiVersion: inference.networking.x-k8s.io/v1alpha1\n"
      "parser: {pluginRef: anthropic-parser}\n"
      "saturationDetector: {pluginRef: utilization-detector}\n",
      3);
  ASSERT_NE(generation, nullptr);
  const config::ResolvedConfig& config = generation->config();
  ASSERT_EQ(config.parsers.size(), 1u);
  EXPECT_EQ(config.plugins[config.parsers[0]].name, "anthropic-parser");
}

TEST_F(LoaderCases, Case156FlowControlWithoutItsGate) {
  EXPECT_NE(Built("flowControl: {maxBytes: 1Gi, defaultRequestTTL: 5s}", 1), nullptr);
}

}  // namespace
}  // namespace epp
