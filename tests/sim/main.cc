// epp-sim: simulated model servers for trials and tests.

#include <CLI/CLI.hpp>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/server.h"

namespace {

using epp::sim::ServerOptions;

constexpr size_t kMaxServers = 1024;

constexpr char kAbout[] =
    "Simulated LLM servers that look like vLLM on the wire.\n\n"
    "Each server answers the OpenAI, Anthropic and token endpoints with made-up text in the time "
    "that a real one would take: queueing, prefill of what its KV cache does not hold, and "
    "decoding in batches. A prompt's time to first token therefore depends on where its prefix "
    "was seen before, which is what a router should know. Four bytes are one token.\n\n"
    "Faults at run time: POST /sim/fault {\"kind\": \"http_error\", \"rate\": 0.1, \"status\": "
    "500}; kinds are none, die, hang, slow_headers, http_error, drop, truncate, "
    "wrong_content_type, "
    "garbage_metrics, huge_metrics. POST /sim/metrics {\"waiting\": 9} makes /metrics lie. "
    "GET /sim/requests shows what arrived, GET /sim/state the truth.";

constexpr char kExample[] =
    "Example: three servers on ports 18000 to 18002\n"
    "  epp-sim --port 18000-18002 --model demo --kv-blocks 400\n";

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

// "18000" or "18000-18002"; an empty list is an error.
std::vector<uint16_t> ParsePorts(const std::string& text) {
  const size_t dash = text.find('-');
  const auto first = ParsePort(std::string_view(text).substr(0, dash));
  const auto last =
      dash == std::string::npos ? first : ParsePort(std::string_view(text).substr(dash + 1));
  std::vector<uint16_t> ports;
  if (!first || !last) return ports;
  for (uint32_t port = *first; port <= *last; ++port) ports.push_back(static_cast<uint16_t>(port));
  return ports;
}

struct Arguments {
  std::vector<std::string> ports = {"18000"};
  std::string name = "sim";
  std::vector<std::string> addresses = {"127.0.0.1"};
  std::vector<std::string> roles = {"any"};
  std::string kv = "any";
  std::string ec = "none";
  double decode_ms = 10;
  std::vector<std::string> faults;
  ServerOptions server;  // what all have in common
};

void Declare(CLI::App* app, Arguments* arguments) {
  ServerOptions& server = arguments->server;
  const CLI::Range at_least_one(1, 1'000'000'000);
  const CLI::Range positive(1e-6, 1e12);
  app->footer(kExample);
  app->add_option("--port", arguments->ports, "Port or range of ports; may be repeated. 0: any")
      ->capture_default_str();
  app->add_option("--bind", arguments->addresses,
                  "IP address to listen on; repeated, one for each server in turn")
      ->capture_default_str();
  app->add_option("--name", arguments->name, "Servers are called NAME-0, NAME-1, ...")
      ->capture_default_str();
  app->add_option("--model", server.models, "Model that is served; may be repeated")
      ->capture_default_str();
  app->add_option("--lora", server.loras, "Adapter of the first model; may be repeated");
  app->add_option("--max-loras", server.max_loras, "max_lora that the metrics show")
      ->capture_default_str();
  app->add_flag("--strict-models", server.strict_models,
                "Answer 404 for models that are not listed");
  app->add_option("--kv-blocks", server.engine.kv_blocks, "Blocks of the KV cache")
      ->check(at_least_one)
      ->capture_default_str();
  app->add_option("--block-size", server.engine.block_tokens, "Tokens per block")
      ->check(at_least_one)
      ->capture_default_str();
  app->add_option("--max-num-seqs", server.engine.max_running, "Most requests in one batch")
      ->check(at_least_one)
      ->capture_default_str();
  app->add_option("--max-batched-tokens", server.engine.max_batched_tokens,
                  "Most tokens computed in one step")
      ->check(at_least_one)
      ->capture_default_str();
  app->add_option("--prefill-tokens-per-s", server.engine.prefill_tokens_per_s, "Prefill speed")
      ->check(positive)
      ->capture_default_str();
  app->add_option("--decode-ms-per-token", arguments->decode_ms,
                  "Time of a token when nothing else runs")
      ->check(positive)
      ->capture_default_str();
  app->add_option("--decode-slope", server.engine.decode_slope,
                  "Growth of that time per further request in the batch")
      ->check(CLI::Range(0.0, 1000.0))
      ->capture_default_str();
  app->add_option("--output-tokens", server.output_tokens,
                  "Length of an answer that max_tokens does not cut")
      ->check(at_least_one)
      ->capture_default_str();
  app->add_option("--speed", server.speed, "Simulated seconds per second")
      ->check(CLI::Range(1e-3, 1e6))
      ->capture_default_str();
  app->add_option("--metrics-bytes", server.metrics_bytes, "Least size of the metrics page")
      ->check(CLI::Range(0, 100'000'000))
      ->capture_default_str();
  app->add_option("--log-requests", server.log_requests, "Requests that /sim/requests remembers")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app->add_option("--kv-connector", arguments->kv,
                  "How KV blocks are handed over: any (requests are believed), nixl, moriio, "
                  "shared-storage, sglang, mooncake, offloading (requests are checked)")
      ->capture_default_str();
  app->add_option("--ec-connector", arguments->ec,
                  "How encoded media are handed over: none, example, nixl")
      ->capture_default_str();
  app->add_option("--role", arguments->roles,
                  "any, prefill, decode or encode; repeated, one for each server in turn")
      ->capture_default_str();
  app->add_option("--transfer-wait-ms", server.transfer.wait_ms,
                  "How long decode waits for KV blocks that are to come")
      ->check(CLI::Range(0, 3'600'000))
      ->capture_default_str();
  app->add_option("--bootstrap-port", server.transfer.bootstrap_port, "Of sglang's prefill workers")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  app->add_option("--p2p-port", server.transfer.p2p_port, "Of offloading's second tier")
      ->check(CLI::Range(1, 65535))
      ->capture_default_str();
  app->add_option(
      "--fault", arguments->faults,
      "Fault from the start, as JSON like that of POST /sim/fault; with \"server\" only "
      "for that one");
}

// Empty with a message on stderr when something is wrong.
std::vector<ServerOptions> Expand(const Arguments& arguments) {
  std::vector<epp::sim::Fault> faults;
  for (const std::string& text : arguments.faults) {
    const absl::StatusOr<epp::sim::Fault> fault = epp::sim::ParseFault(text);
    if (!fault.ok()) {
      std::fprintf(stderr, "--fault: %s\n", std::string(fault.status().message()).c_str());
      return {};
    }
    faults.push_back(*fault);
  }
  const auto kv = epp::sim::KvConnectorOf(arguments.kv);
  const auto ec = epp::sim::EcConnectorOf(arguments.ec);
  if (!kv || !ec) {
    std::fprintf(stderr, "--kv-connector, --ec-connector: got %s and %s, want one of --help\n",
                 arguments.kv.c_str(), arguments.ec.c_str());
    return {};
  }
  std::vector<ServerOptions> servers;
  for (const std::string& text : arguments.ports) {
    const std::vector<uint16_t> ports = ParsePorts(text);
    if (ports.empty() || servers.size() + ports.size() > kMaxServers) {
      std::fprintf(stderr, "--port: got \"%s\", want PORT or FIRST-LAST, at most %zu in all\n",
                   text.c_str(), kMaxServers);
      return {};
    }
    for (const uint16_t port : ports) {
      ServerOptions server = arguments.server;
      server.port = port;
      server.address = arguments.addresses[servers.size() % arguments.addresses.size()];
      server.transfer.kv = *kv;
      server.transfer.ec = *ec;
      const std::string& role = arguments.roles[servers.size() % arguments.roles.size()];
      if (!epp::sim::RoleOf(role)) {
        std::fprintf(stderr, "--role: got %s, want any, prefill, decode or encode\n", role.c_str());
        return {};
      }
      server.transfer.role = *epp::sim::RoleOf(role);
      server.name = arguments.name + "-" + std::to_string(servers.size());
      server.engine.decode_per_token =
          epp::sim::SimTime(static_cast<int64_t>(arguments.decode_ms * 1e6));
      for (const epp::sim::Fault& fault : faults) {
        if (fault.server.empty() || fault.server == server.name) server.faults.push_back(fault);
      }
      servers.push_back(std::move(server));
    }
  }
  return servers;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(kAbout);
  Declare(&app, &arguments);
  CLI11_PARSE(app, argc, argv);
  std::vector<ServerOptions> servers = Expand(arguments);
  if (servers.empty()) return 2;

  // Blocked before any thread starts, so that only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const auto simulator = epp::sim::Simulator::Start(std::move(servers));
  if (!simulator.ok()) {
    std::fprintf(stderr, "epp-sim: %s\n", std::string(simulator.status().message()).c_str());
    return 1;
  }
  for (size_t i = 0; i < (*simulator)->size(); ++i) {
    const ServerOptions& server = (*simulator)->options(i);
    const bool v6 = server.address.find(':') != std::string::npos;
    std::printf("%s listening on http://%s%s%s:%u model %s, %u blocks of %u tokens\n",
                server.name.c_str(), v6 ? "[" : "", server.address.c_str(), v6 ? "]" : "",
                (*simulator)->port(i), server.models.front().c_str(), server.engine.kv_blocks,
                server.engine.block_tokens);
  }
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  return 0;
}
