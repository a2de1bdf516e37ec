// What the loader still takes and says to be old, and what it takes only when asked to: with the
// plugins of this tree.
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/conformance/real_plugins.h"

namespace epp {
namespace {

using conformance::RealPlugins;
using ::testing::HasSubstr;

// The types that are experimental, in this tree and in those of the plugins to come.
const std::set<std::string, std::less<>> kAlpha = {
    "agent-identity",
    "burst-prefix-cache-producer",
    "dcgm-data-source",
    "dcgm-extractor",
    "disaggregatedset-rollout-screener",
    "endpoint-attribute-filter",
    "endpoint-attribute-scorer",
    "eviction-priority-then-time-ordering",
    "eviction-sheddable-filter",
    "header-label-affinity-scorer",
    "header-profile-handler",
    "multicluster-approx-prefix-cache-producer",
    "multicluster-file-discovery",
    "multicluster-kv-cache-utilization-scorer",
    "multicluster-metrics-data-source",
    "multicluster-metrics-extractor",
    "multicluster-prefix-cache-scorer",
    "multicluster-queue-scorer",
    "multicluster-session-affinity-filter",
    "p2p-source-producer",
    "priority-holdback-policy",
    "session-affinity-filter",
    "session-affinity-scorer",
    "soft-reflective-ceiling-policy",
    "topology-affinity-filter",
    "topology-affinity-scorer",
    "topology-extractor",
    "utilization-filter",
};

TEST(Stability, OfEveryType) {
  const RealPlugins plugins(false);
  size_t alpha = 0;
  for (const loader::TypeEntry* type : plugins.platform.catalog()->types()) {
    const bool want_alpha = kAlpha.contains(type->name());
    alpha += want_alpha;
    EXPECT_EQ(type->type->stability, want_alpha ? EPP_STABILITY_ALPHA : EPP_STABILITY_BETA)
        << type->name();
  }
  EXPECT_GE(alpha, 12u);
}

TEST(Stability, AlphaTypesNeedTheFlag) {
  RealPlugins plugins(false);
  RealPlugins asked(true);
  for (const std::string& type : kAlpha) {
    if (!plugins.Has(type)) continue;
    const std::string text = "plugins: [{name: one, type: " + type + "}]";
    config::Diagnostics out;
    EXPECT_EQ(plugins.Build("c", text, out), nullptr) << type;
    EXPECT_THAT(out.Render(), HasSubstr("plugin \"one\" (" + type + ") is experimental (alpha)"));
    EXPECT_THAT(out.Render(), HasSubstr("--allow-experimental-plugins"));
    config::Diagnostics with;
    (void)asked.Build("c", text, with);
    EXPECT_THAT(with.Render(), testing::Not(HasSubstr("experimental"))) << type;
  }
}

struct Form {
  const char* what;
  const char* type;  // that the form is about; the row is passed over while it does not exist
  const char* text;
  size_t warnings;                     // that the form is old
  std::vector<const char*> said = {};  // in them
  bool builds = true;
};

const std::vector<Form> kForms = {
    {"the former API group",
     "",
     "apiVersion: inference.networking.x-k8s.io/v1alpha1",
     1,
     {"want llm-d.ai/v1alpha1"}},
    {"saturationDetector at the top",
     "",
     "saturationDetector: {pluginRef: utilization-detector}",
     1,
     {"want flowControl.saturationDetector"}},
    {"parser at the top",
     "",
     "parser: {pluginRef: openai-parser}",
     1,
     {"want requestHandler.parsers"}},
    {"by-label",
     "by-label",
     "plugins: [{type: by-label, parameters: {label: a, validValues: [b]}}]",
     1,
     {"plugin type \"by-label\" is deprecated: use label-selector-filter"}},
    {"by-label-selector",
     "label-selector-filter",
     "plugins: [{type: by-label-selector, parameters: {matchLabels: {a: b}}}]",
     1,
     {"plugin type \"by-label-selector\" is deprecated, want \"label-selector-filter\""}},
    {"tokenizer",
     "token-producer",
     "plugins: [{type: tokenizer}]",
     1,
     {"plugin type \"tokenizer\" is deprecated, want \"token-producer\""}},
    {"precise-prefix-cache-scorer",
     "precise-prefix-cache-producer",
     "plugins: [{type: precise-prefix-cache-scorer}]",
     1,
     {"is deprecated: use"}},
    {"disagg-headers-handler",
     "disagg-headers-handler",
     "plugins: [{type: disagg-headers-handler}]",
     1,
     {"disagg-headers-handler"}},
    {"prefill-header-handler",
     "prefill-header-handler",
     "plugins: [{type: prefill-header-handler}]",
     1,
     {"prefill-header-handler"}},
    {"pd-profile-handler",
     "pd-profile-handler",
     "plugins: [{type: prefix-based-pd-decider}, {type: pd-profile-handler}]\n"
     "schedulingProfiles: [{name: decode}, {name: prefill}]",
     1,
     {"pd-profile-handler"}},
    {"flat parameters of disagg-profile-handler",
     "disagg-profile-handler",
     "plugins: [{type: always-disagg-pd-decider}, {type: disagg-profile-handler, parameters: "
     "{decodeProfile: decode, prefillProfile: prefill, deciderPluginName: "
     "always-disagg-pd-decider}}]\n"
     "schedulingProfiles: [{name: decode}, {name: prefill}]",
     3,
     {"\"decodeProfile\" is deprecated", "\"prefillProfile\" is", "\"deciderPluginName\" is"}},
    {"data-parallel-profile-handler",
     "data-parallel-profile-handler",
     "plugins: [{type: data-parallel-profile-handler}]",
     1,
     {"data-parallel-profile-handler"}},
    {"approx-prefix-cache-producer",
     "approx-prefix-cache-producer",
     "plugins: [{type: approx-prefix-cache-producer, parameters: {blockSize: 64, "
     "maxPrefixBlocksToMatch: 9}}]",
     2,
     {"parameter \"blockSize\" is deprecated", "parameter \"maxPrefixBlocksToMatch\" is"}},
    {"udsTokenizerConfig",
     "token-producer",
     "plugins: [{type: token-producer, parameters: {udsTokenizerConfig: {socketFile: /x}}}]",
     1,
     {"parameter \"udsTokenizerConfig.socketFile\" is deprecated"},
     false},
    {"parameters of the former precise scorer",
     "precise-prefix-cache-producer",
     "plugins: [{type: precise-prefix-cache-scorer, parameters: {indexerConfig: "
     "{tokenizersPoolConfig: {modelName: m}}, tokenProcessorConfig: {blockSize: 16}}}]",
     3,
     {"parameter \"indexerConfig\" is deprecated", "parameter \"tokenProcessorConfig\" is"}},
    {"active-request-scorer",
     "active-request-scorer",
     "plugins: [{type: active-request-scorer, parameters: {requestTimeout: 5s}}]",
     1,
     {"parameter \"requestTimeout\" is deprecated"}},
    {"no-hit-lru-scorer",
     "no-hit-lru-scorer",
     "plugins: [{type: no-hit-lru-scorer, parameters: {prefixPluginType: a, prefixPluginName: b}}]",
     2,
     {"parameter \"prefixPluginType\" is deprecated", "parameter \"prefixPluginName\" is"}},
};

TEST(DeprecatedForms, WarnOnceEachAndWork) {
  RealPlugins plugins(false);
  for (const Form& form : kForms) {
    if (*form.type != '\0' && !plugins.Has(form.type)) continue;
    config::Diagnostics out;
    const auto generation = plugins.Build("c", form.text, out);
    EXPECT_EQ(generation != nullptr, form.builds) << form.what << "\n" << out.Render();
    std::string said;
    size_t warnings = 0;
    for (const config::Diagnostic& d : out.all()) {
      if (d.code != "EPP-CFG-DEPRECATED") continue;
      EXPECT_EQ(d.severity, config::Severity::kWarning);
      said += d.message + "; " + d.caret + "\n";
      ++warnings;
    }
    EXPECT_EQ(warnings, form.warnings) << form.what << "\n" << out.Render();
    for (const char* text : form.said) EXPECT_THAT(said, HasSubstr(text)) << form.what;
  }
}

}  // namespace
}  // namespace epp
