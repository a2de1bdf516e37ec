// The profiles that come with the product, and reloads, on a small trace of conversations. Real
// plugin libraries in front of modelled servers, in simulated time: the same numbers in every run.
#include "tests/bench/replay.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/config/includes.h"
#include "tests/bench/trace_tools.h"

namespace epp::bench {
namespace {

constexpr const char* kRandom =
    "{plugins: [{type: random-picker}], "
    "schedulingProfiles: [{name: default, plugins: [{pluginRef: random-picker}]}]}";

std::shared_ptr<const config::SourceText> Text(std::string text) {
  return std::make_shared<const config::SourceText>(
      config::SourceText{"config.yaml", std::move(text)});
}

std::shared_ptr<const config::SourceText> File(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  config::IncludedFiles files(path);
  return config::ReadIncludes({path, std::string(std::istreambuf_iterator<char>(in), {})}, files);
}

std::vector<std::string> Profiles() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(EPP_PROFILES)) {
    // A sidecar decides nothing.
    if (entry.path().filename().string().starts_with("sidecar-")) continue;
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Six servers whose caches together hold two thirds of the conversations, so that it matters where
// a turn goes.
ReplayOptions SmallServers() {
  ReplayOptions options;
  options.servers = 6;
  options.seed = 7;
  options.engine.kv_blocks = 2000;
  return options;
}

ReplayResult Play(const std::shared_ptr<const config::SourceText>& config,
                  const ReplayOptions& options) {
  const auto result = RunReplay(config, MakeChatTrace({}), options);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.value_or(ReplayResult());
}

TEST(ChatTraceTest, TurnsRepeatWhatCameBefore) {
  const auto trace = MakeChatTrace({.conversations = 3, .turns = 4});
  ASSERT_EQ(trace.size(), 12u);
  EXPECT_TRUE(std::is_sorted(trace.begin(), trace.end(),
                             [](const auto& a, const auto& b) { return a.arrival < b.arrival; }));
  EXPECT_GT(CacheBound(trace, SIZE_MAX), 0.4);
  EXPECT_EQ(CacheBound(trace, 0), 0);
  EXPECT_EQ(trace.front().arrival.count(), 0);
}

const ReplayResult& AtRandom() {
  static const ReplayResult& result = *new ReplayResult(Play(Text(kRandom), SmallServers()));
  return result;
}

class ProfileTest : public testing::TestWithParam<std::string> {};

TEST_P(ProfileTest, PlacesEveryRequestSensibly) {
  const ReplayResult& random = AtRandom();
  const ReplayResult result = Play(File(GetParam()), SmallServers());
  EXPECT_EQ(result.requests, MakeChatTrace({}).size());
  EXPECT_EQ(result.rejected, 0u);
  EXPECT_GT(result.ttft_mean_ms, 0);
  std::printf("%s: hits %.3f against %.3f, TTFT %.0f against %.0f ms, skew %.2f\n",
              GetParam().c_str(), result.hit_rate(), random.hit_rate(), result.ttft_mean_ms,
              random.ttft_mean_ms, result.skew_requests);
  // Those of llm-d-router are what they are; some heap everything on one server.
  if (GetParam().find("llm-d-router") != std::string::npos) return;
  EXPECT_LT(result.skew_requests, 1.6);
  EXPECT_LT(result.ttft_mean_ms, random.ttft_mean_ms);
  EXPECT_GT(result.hit_rate(), random.hit_rate());
}

INSTANTIATE_TEST_SUITE_P(All, ProfileTest, testing::ValuesIn(Profiles()), [](const auto& info) {
  std::string name;
  for (const char c : info.param.substr(std::string(EPP_PROFILES).size() + 1)) {
    name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  }
  return name;
});

TEST(ReplayTest, PrefixAffinityDoublesTheHits) {
  const ReplayResult prefix = Play(File(EPP_PROFILES "/prefix-heavy-chat.yaml"), SmallServers());
  EXPECT_GT(prefix.hit_rate(), 2 * AtRandom().hit_rate());
}

struct ReloadCase {
  const char* name;
  ReloadChange change;
};

class ReloadTest : public testing::TestWithParam<ReloadCase> {};

TEST_P(ReloadTest, DoesNotCostASingleHit) {
  for (const auto& config : {Text(""), File(EPP_PROFILES "/prefix-heavy-chat.yaml")}) {
    SCOPED_TRACE(config->name);
    const ReplayResult without = Play(config, SmallServers());
    ReplayOptions options = SmallServers();
    options.reload_every = 10;
    options.reload_change = GetParam().change;
    const ReplayResult with = Play(config, options);
    EXPECT_EQ(with.reloads, (without.requests - 1) / 10);
    EXPECT_GT(with.cached_tokens, 0u);
    EXPECT_EQ(with.cached_tokens, without.cached_tokens);
    EXPECT_EQ(with.prompt_tokens, without.prompt_tokens);
    EXPECT_EQ(with.ttft_mean_ms, without.ttft_mean_ms);
    EXPECT_EQ(with.skew_tokens, without.skew_tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ReloadTest,
                         testing::Values(ReloadCase{"Nothing", ReloadChange::kNothing},
                                         ReloadCase{"Unused", ReloadChange::kUnused},
                                         ReloadCase{"State", ReloadChange::kState}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace epp::bench
