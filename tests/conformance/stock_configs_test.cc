// The configurations that llm-d-router ships, tests and recommends (stock/): each builds with the
// real plugins, or is refused for a reason that is known.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/conformance/real_plugins.h"

namespace epp {
namespace {

using conformance::RealPlugins;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Plugin types that stock configurations name and that do not exist yet. Who adds one takes it out;
// configurations that name one are refused for it, and nothing else is asked of them.
const std::set<std::string> kPending = {
    // the index over KV events
    "endpoint-notification-source",
    "precise-prefix-cache-producer",
    // flow control
    "concurrency-detector",
    "fcfs-ordering-policy",
    "priority-holdback-policy",
    "program-aware-fairness",
    "round-robin-fairness-policy",
    "soft-reflective-ceiling-policy",
    "utilization-detector",
};

// There is no flow control yet: a gate that asks for it is refused.
constexpr const char* kNoFlowControl = "feature gate flowControl is on";

enum class Need { kNothing, kExperimental };

struct Row {
  const char* file;
  Need need = Need::kNothing;
  const char* refused = "";  // the reason, whatever types exist
};

// In the order of the files' names.
const std::vector<Row> kRows = {
    {"chart-default"},
    {"chart-sglang"},
    {"coordinator", Need::kExperimental},
    {"dp-epp-config"},
    {"e2e-pd-legacy"},
    {"e2e-picker-only"},
    {"e2e-precise-scorer-pd"},
    {"e2e-vllmhttp-prefill"},
    {"epp-burst-prefix-cache-config", Need::kExperimental},
    {"epp-config"},
    {"epp-estimate-prefix-cache-config"},
    // llm-d-router refuses its own file for the misspelt parameter; here that spelling is read.
    {"epp-mm-embeddings-cache-config"},
    {"epp-precise-prefix-cache-config"},
    {"flow-control", Need::kNothing, kNoFlowControl},
    {"guide-agentic", Need::kExperimental},
    {"guide-agentic-undefined", Need::kNothing, "plugin \"active-request-scorer\" is not defined"},
    {"guide-batch-multitenant", Need::kExperimental, kNoFlowControl},
    {"guide-context-length-pd"},
    {"guide-lmetric", Need::kNothing, "type \"lmetric-scorer\" is not registered"},
    {"guide-multicluster-hub", Need::kExperimental},
    {"guide-multimodal"},
    {"guide-omni-text-to-image", Need::kNothing, "no data sources configured"},
    {"guide-optimized-baseline"},
    {"guide-p2p-kv-cache-sharing", Need::kExperimental},
    // llm-d-router refuses llm-d.ai/v1; here it is taken for v1alpha1.
    {"guide-pd-v1"},
    {"guide-precise-older"},
    {"guide-precise-prefix-cache-routing"},
    {"guide-rollout-older", Need::kNothing, "disaggregatedset-rollout-screener"},
    {"guide-turn-priority", Need::kNothing, "unknown key \"defaultRequestTTL\""},
    {"guide-wide-ep-flat"},
    {"optimized-baseline"},
    {"payload-agnostic", Need::kExperimental},
    {"pd-disaggregation"},
    {"pd-epp-config"},
    {"pd-topology-epp-config", Need::kExperimental},
    {"perf-optimized"},
    {"perf-precise"},
    {"perf-random"},
    {"perf-random-passthrough"},
    {"predicted-latency"},
    {"probabilistic-admitter-epp-config"},
    {"sim-e-p-d-epp-config"},
    {"sim-e-pd-epp-config"},
    {"sim-epp-config"},
    {"sim-epp-gpu-config", Need::kExperimental},
    {"sim-epp-kvcache-config"},
    {"sim-epp-no-hit-lru"},
    {"sim-epp-tokenizer-vllm-http-config"},
    {"sim-pd-epp-config"},
    {"sim-program-aware-config", Need::kNothing, kNoFlowControl},
    {"soft-reflective-ceiling-epp-config", Need::kExperimental, kNoFlowControl},
    {"tiered-prefix-cache-cpu"},
    {"wide-ep-lws"},
    {"wide-ep-lws-experimental-dp-aware"},
};

std::string Read(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(std::string(EPP_STOCK_CONFIGS) + "/" + file + ".yaml").rdbuf();
  return text.str();
}

// Types that the text names, or that something in it reads from, and that no library has.
std::set<std::string> Missing(const config::Diagnostics& diagnostics) {
  std::set<std::string> types;
  for (const config::Diagnostic& d : diagnostics.all()) {
    if (d.code == "EPP-CFG-NO-PRODUCER") {
      for (const std::string& type : kPending) {
        if (d.message.find("/" + type + ":") != std::string::npos) types.insert(type);
      }
    }
    if (d.code != "EPP-CFG-UNKNOWN-TYPE") continue;
    const size_t at = d.message.find("type \"");
    if (at == std::string::npos) continue;
    types.insert(d.message.substr(at + 6, d.message.find('"', at + 6) - at - 6));
  }
  return types;
}

class StockConfigs : public testing::TestWithParam<Row> {
 protected:
  static void SetUpTestSuite() {
    strict_ = new RealPlugins(false);
    lenient_ = new RealPlugins(true);
  }
  static void TearDownTestSuite() {
    delete strict_;
    delete lenient_;
  }
  static RealPlugins* strict_;
  static RealPlugins* lenient_;
};
RealPlugins* StockConfigs::strict_ = nullptr;
RealPlugins* StockConfigs::lenient_ = nullptr;

TEST_P(StockConfigs, BuildsOrIsRefusedForAKnownReason) {
  const Row& row = GetParam();
  config::Diagnostics out;
  const auto generation = lenient_->Build(row.file, Read(row.file), out);
  std::set<std::string> unknown = Missing(out);
  const bool pending =
      std::ranges::any_of(unknown, [](const std::string& type) { return kPending.contains(type); });
  std::erase_if(unknown, [](const std::string& type) { return kPending.contains(type); });
  if (*row.refused != '\0') {
    EXPECT_EQ(generation, nullptr);
    EXPECT_THAT(out.Render(), HasSubstr(row.refused));
    return;
  }
  EXPECT_THAT(unknown, IsEmpty());
  if (pending) {
    EXPECT_EQ(generation, nullptr);
    return;
  }
  ASSERT_NE(generation, nullptr) << out.Render();

  config::Diagnostics strict;
  const auto without = strict_->Build(row.file, Read(row.file), strict);
  if (row.need == Need::kExperimental) {
    EXPECT_EQ(without, nullptr);
    EXPECT_THAT(strict.Render(), AllOf(HasSubstr("is experimental (alpha)"),
                                       HasSubstr("--allow-experimental-plugins")));
  } else {
    EXPECT_NE(without, nullptr) << strict.Render();
  }
}

INSTANTIATE_TEST_SUITE_P(All, StockConfigs, testing::ValuesIn(kRows), [](const auto& info) {
  std::string name = info.param.file;
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST(StockConfigsTable, HasEveryFileOnce) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(EPP_STOCK_CONFIGS)) {
    files.push_back(entry.path().stem().string());
  }
  std::ranges::sort(files);
  std::vector<std::string> rows;
  for (const Row& row : kRows) rows.emplace_back(row.file);
  EXPECT_EQ(rows, files);
}

TEST(StockConfigsTable, PendingTypesAreMissing) {
  const RealPlugins host(true);
  for (const std::string& type : kPending) {
    EXPECT_FALSE(host.Has(type)) << type << " exists: take it out of kPending";
  }
}

}  // namespace
}  // namespace epp
