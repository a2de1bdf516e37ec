// Compares configs by replaying a trace through each; see README.md. Every one sees the same
// arrivals.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "host/base/str_cat.h"
#include "host/config/includes.h"
#include "tests/bench/replay.h"
#include "tests/bench/trace_tools.h"

namespace {

using epp::bench::ReloadChange;
using epp::bench::ReplayOptions;
using epp::bench::ReplayResult;
using epp::sim::TraceRequest;
using nlohmann::ordered_json;

constexpr const char* kRandom = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: random-picker
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: random-picker}
)";
constexpr const char* kLoadOnly = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: queue-scorer
  - type: kv-cache-utilization-scorer
  - type: max-score-picker
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: queue-scorer, weight: 2}
      - {pluginRef: kv-cache-utilization-scorer, weight: 2}
      - {pluginRef: max-score-picker}
)";

struct Options {
  std::string trace;
  std::vector<std::string> profiles = {"random", "load", "default"};
  size_t requests = 0;  // 0: all
  bool keep_bursts = false;
  std::string json;
  ReplayOptions replay;
};

// The config of a profile by name, or of a file with what it includes; null when there is no such
// file.
std::shared_ptr<const epp::config::SourceText> ConfigOf(const std::string& profile) {
  const auto text = [&](std::string config) {
    return std::make_shared<const epp::config::SourceText>(
        epp::config::SourceText{profile, std::move(config)});
  };
  if (profile == "random") return text(kRandom);
  if (profile == "load") return text(kLoadOnly);
  if (profile == "default") return text("");
  std::ifstream in(profile, std::ios::binary);
  if (!in) return nullptr;
  epp::config::IncludedFiles files(profile);
  return epp::config::ReadIncludes({profile, std::string(std::istreambuf_iterator<char>(in), {})},
                                   files);
}

// "profiles/long-context.yaml" -> "long-context".
std::string ShortName(const std::string& profile) {
  std::string name = profile.substr(profile.rfind('/') + 1);
  if (name.ends_with(".yaml")) name.resize(name.size() - 5);
  return name;
}

ordered_json ToJson(const ReplayResult& result) {
  ordered_json out;
  out["requests"] = result.requests;
  out["rejected"] = result.rejected;
  out["hit_rate"] = result.hit_rate();
  out["ttft_ms"] = {{"mean", result.ttft_mean_ms},
                    {"p50", result.ttft_p50_ms},
                    {"p90", result.ttft_p90_ms},
                    {"p99", result.ttft_p99_ms}};
  out["skew_requests"] = result.skew_requests;
  out["skew_tokens"] = result.skew_tokens;
  out["preemptions"] = result.preemptions;
  out["simulated_s"] = result.simulated_s;
  if (result.reloads > 0) out["reloads"] = result.reloads;
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Replay of a request trace through real scheduling, in simulated time");
  app.add_option("--trace", options.trace, "Mooncake trace (JSON lines)")->required();
  app.add_option("--profiles", options.profiles, "random, load, default, or configuration files")
      ->delimiter(',');
  app.add_option("--servers", options.replay.servers, "modelled servers")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--small-servers", options.replay.small_servers,
                 "so many of them with half the cache and half the speed")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--requests", options.requests, "only the first so many; 0: all")
      ->capture_default_str();
  app.add_option("--time-scale", options.replay.time_scale, "2: arrivals twice as fast")
      ->check(CLI::Range(0.001, 1000.0))
      ->capture_default_str();
  app.add_flag("--keep-bursts", options.keep_bursts,
               "keep requests with one timestamp at one moment, instead of spreading them");
  app.add_option("--scrape-ms", options.replay.scrape_ms, "age that metrics may have")
      ->check(CLI::Range(1, 60'000))
      ->capture_default_str();
  app.add_option("--kv-blocks", options.replay.engine.kv_blocks, "blocks of 16 tokens per server")
      ->capture_default_str();
  app.add_option("--prefill-tokens-per-s", options.replay.engine.prefill_tokens_per_s,
                 "of one server")
      ->capture_default_str();
  app.add_option("--reload-every", options.replay.reload_every,
                 "build and swap in a new generation every so many requests; 0: never")
      ->capture_default_str();
  app.add_option("--reload-change", options.replay.reload_change,
                 "what differs between them: nothing, unused (a scorer that no profile uses), or "
                 "state (new prefix producers, which take over what the old ones have learned)")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, ReloadChange>{{"nothing", ReloadChange::kNothing},
                                              {"unused", ReloadChange::kUnused},
                                              {"state", ReloadChange::kState}},
          CLI::ignore_case));
  app.add_option("--seed", options.replay.seed,
                 "of everything random, so that a run can be repeated; 0: the system's")
      ->capture_default_str();
  app.add_option("--plugins", options.replay.plugins_dir, "directory of plugin libraries");
  app.add_option("--json", options.json, "write the results to this file");
  CLI11_PARSE(app, argc, argv);

  if (access(options.trace.c_str(), R_OK) != 0) {
    std::printf("replay: skipped, there is no trace at \"%s\"\n", options.trace.c_str());
    return 0;
  }
  auto trace = epp::sim::ReadTrace(options.trace);
  if (!trace.ok()) {
    std::fprintf(stderr, "replay: %s\n", std::string(trace.status().message()).c_str());
    return 1;
  }
  if (!options.keep_bursts) epp::bench::SpreadBursts(*trace);
  if (options.requests > 0 && options.requests < trace->size()) trace->resize(options.requests);

  ordered_json results;
  const ReplayOptions& replay = options.replay;
  const size_t all_blocks = (size_t{replay.servers} * 2 - replay.small_servers) *
                            replay.engine.kv_blocks * replay.engine.block_tokens /
                            epp::sim::kMooncakeBlockTokens / 2;
  results["bound"]["hit_rate_one_cache"] = epp::bench::CacheBound(*trace, all_blocks);
  results["bound"]["hit_rate_endless_cache"] = epp::bench::CacheBound(*trace, SIZE_MAX);
  std::printf(
      "%zu requests on %u servers; one cache of their total size would hit %.1f%%, an endless one "
      "%.1f%%\n",
      trace->size(), replay.servers, results["bound"]["hit_rate_one_cache"].get<double>() * 100,
      results["bound"]["hit_rate_endless_cache"].get<double>() * 100);
  std::printf("%-20s %6s | %8s %8s %8s %8s | %8s %8s | %7s %6s\n", "profile", "hits", "TTFT mean",
              "p50 ms", "p90", "p99", "skew req", "tokens", "preempt", "took s");
  for (const std::string& profile : options.profiles) {
    const auto config = ConfigOf(profile);
    if (!config) {
      std::fprintf(stderr, "replay: %s: cannot be read\n", profile.c_str());
      return 1;
    }
    const auto begin = std::chrono::steady_clock::now();
    const auto result = epp::bench::RunReplay(config, *trace, replay);
    if (!result.ok()) {
      std::fprintf(stderr, "replay: %s: %s\n", profile.c_str(),
                   std::string(result.status().message()).c_str());
      return 1;
    }
    const double took_s =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("%-20s %5.1f%% | %9.0f %8.0f %8.0f %8.0f | %8.3f %8.3f | %7zu %6.1f\n",
                ShortName(profile).c_str(), result->hit_rate() * 100, result->ttft_mean_ms,
                result->ttft_p50_ms, result->ttft_p90_ms, result->ttft_p99_ms,
                result->skew_requests, result->skew_tokens, size_t{result->preemptions}, took_s);
    std::fflush(stdout);
    results[profile] = ToJson(*result);
    results[profile]["took_s"] = took_s;
  }
  if (!options.json.empty() && !(std::ofstream(options.json) << results.dump(2) << '\n')) {
    std::fprintf(stderr, "replay: %s cannot be written\n", options.json.c_str());
    return 1;
  }
  return 0;
}
