// Plays the proxy against an ext-proc server and tells what streams cost it. See README.md for what
// the numbers mean.

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/bench/load.h"

namespace {

using namespace epp::bench;

void PrintText(const nlohmann::ordered_json& r) {
  const auto& latency = r["request_latency_us"];
  std::printf("%.0f streams/s, body %zu bytes, %u streams at once on %u connections\n",
              r["streams_per_s"].get<double>(), r["body_bytes"].get<size_t>(),
              r["concurrency"].get<uint32_t>(), r["connections"].get<uint32_t>());
  std::printf("request phase us: p50 %.0f, p90 %.0f, p99 %.0f, p99.9 %.0f\n",
              latency["p50"].get<double>(), latency["p90"].get<double>(),
              latency["p99"].get<double>(), latency["p99.9"].get<double>());
  std::printf("ok %zu, immediate %zu, failed %zu, response bodies not wanted by %zu\n",
              r["ok"].get<size_t>(), r["immediate"].get<size_t>(), r["failed"].get<size_t>(),
              r["response_bodies_not_wanted"].get<size_t>());
  for (const auto& [what, count] : r["errors"].items()) {
    std::printf("  %zu x %s\n", count.get<size_t>(), what.c_str());
  }
  if (!r.contains("server")) return;
  const auto& server = r["server"];
  std::printf("server: %.1f us CPU per stream (%.0f%% system), %.2f cores, RSS %zu KiB\n",
              server["cpu_us_per_stream"].get<double>(), server["system_share"].get<double>() * 100,
              server["busy_cores"].get<double>(), server["rss_kib"].get<size_t>());
  if (server.contains("cpu_us_per_chunk")) {
    std::printf("server: %.2f us CPU per response chunk\n",
                server["cpu_us_per_chunk"].get<double>());
  }
}

}  // namespace

int main(int argc, char** argv) {
  LoadOptions options;
  CLI::App app("ext-proc load generator: plays the proxy");
  DeclareLoadOptions(&app, &options);
  CLI11_PARSE(app, argc, argv);

  std::vector<std::unique_ptr<ExtProcStub>> stubs;
  for (uint32_t i = 0; i < options.connections; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    arguments.SetMaxReceiveMessageSize(-1);
    const auto channel =
        grpc::CreateCustomChannel(options.target, grpc::InsecureChannelCredentials(), arguments);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
      std::fprintf(stderr, "extproc_load: no connection to %s\n", options.target.c_str());
      return 1;
    }
    stubs.push_back(envoy::service::ext_proc::v3::ExternalProcessor::NewStub(channel));
  }

  double without_chunks = 0;
  if (options.chunks > 0 && options.chunk_baseline) {
    // The response phase without chunks is not free; what is left over is theirs.
    LoadOptions baseline = options;
    baseline.chunks = 0;
    const auto result = RunLoad(baseline, stubs);
    if (options.server_pid != 0) without_chunks = result["server"]["cpu_us_per_stream"];
    options.first_number += baseline.warmup + baseline.streams + baseline.concurrency;
  }
  nlohmann::ordered_json result = RunLoad(options, stubs);
  if (options.chunks > 0 && options.chunk_baseline && options.server_pid != 0) {
    result["server"]["cpu_us_per_chunk"] =
        (result["server"]["cpu_us_per_stream"].get<double>() - without_chunks) / options.chunks;
  }
  const std::string json = result.dump(2) + "\n";
  if (options.json == "-") {
    std::fputs(json.c_str(), stdout);
  } else {
    PrintText(result);
    if (!options.json.empty() && !(std::ofstream(options.json) << json)) {
      std::fprintf(stderr, "extproc_load: %s cannot be written\n", options.json.c_str());
      return 1;
    }
  }
  return result["failed"].get<uint64_t>() == 0 ? 0 : 3;
}
