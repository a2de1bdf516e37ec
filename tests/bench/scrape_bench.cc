// What scraping costs: simulated vLLM servers in a child process, our scrape loop with the real
// scraper libraries in this one. See README.md.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "host/scrape/scrape_loop.h"
#include "tests/bench/host_under_test.h"
#include "tests/bench/process_stats.h"
#include "tests/sim/server.h"

namespace {

using epp::bench::HostUnderTest;

struct Options {
  uint32_t endpoints = 100;
  size_t page_bytes = 50'000;
  uint64_t interval_ms = 50;
  double seconds = 5;
  int sim_cpu = -1;
  std::string plugins_dir;
  std::string json;
};

// Serves until the parent is gone; writes its ports to `out`. Never returns.
[[noreturn]] void RunSimulator(const Options& options, int out) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (options.sim_cpu >= 0) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(options.sim_cpu, &cpus);
    sched_setaffinity(0, sizeof(cpus), &cpus);
  }
  std::vector<epp::sim::ServerOptions> servers(options.endpoints);
  for (size_t i = 0; i < servers.size(); ++i) {
    servers[i].name = "sim-" + std::to_string(i);
    servers[i].metrics_bytes = options.page_bytes;
  }
  const auto simulator = epp::sim::Simulator::Start(std::move(servers));
  if (!simulator.ok()) {
    std::fprintf(stderr, "scrape_bench: %s\n", std::string(simulator.status().message()).c_str());
    _exit(1);
  }
  std::vector<uint16_t> ports;
  for (size_t i = 0; i < (*simulator)->size(); ++i) ports.push_back((*simulator)->port(i));
  const auto bytes = static_cast<ssize_t>(ports.size() * sizeof(uint16_t));
  if (write(out, ports.data(), static_cast<size_t>(bytes)) != bytes) _exit(1);
  for (;;) pause();
}

struct Simulators {
  pid_t pid = 0;
  std::vector<uint16_t> ports;
  ~Simulators() {
    if (pid <= 0) return;
    kill(pid, SIGTERM);
    waitpid(pid, nullptr, 0);
  }
};

// Must come before this process has threads.
bool Fork(const Options& options, Simulators* simulators) {
  int ends[2];
  if (pipe(ends) != 0) return false;
  simulators->pid = fork();
  if (simulators->pid < 0) return false;
  if (simulators->pid == 0) {
    close(ends[0]);
    RunSimulator(options, ends[1]);
  }
  close(ends[1]);
  simulators->ports.resize(options.endpoints);
  auto* at = reinterpret_cast<char*>(simulators->ports.data());
  size_t left = simulators->ports.size() * sizeof(uint16_t);
  while (left > 0) {
    const ssize_t n = read(ends[0], at, left);
    if (n <= 0) break;
    at += n;
    left -= static_cast<size_t>(n);
  }
  close(ends[0]);
  return left == 0;
}

std::vector<epp::scrape::Source> SourcesOf(const HostUnderTest& host) {
  std::vector<epp::scrape::Source> sources;
  for (const epp::runtime::DataSource& from : host.generation()->sources()) {
    epp::scrape::Source source;
    source.name = from.instance->name();
    source.type = from.instance->type().name();
    source.plan = from.plan;
    source.owner = host.generation();
    for (const epp::runtime::Extractor& e : from.extractors) {
      source.extractors.push_back({std::string(e.instance->type().name()), e.instance->self(),
                                   e.table, e.attributes, e.types, host.generation()});
    }
    sources.push_back(std::move(source));
  }
  return sources;
}

struct Fetches {
  uint64_t fetches = 0;
  uint64_t failures = 0;
};
Fetches Count(const epp::scrape::ScrapeLoop& loop) {
  Fetches sum;
  for (const auto& status : loop.status()) {
    sum.fetches += status.fetches;
    sum.failures += status.failures;
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Cost of scraping many endpoints");
  app.add_option("--endpoints", options.endpoints, "simulated servers")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--page-bytes", options.page_bytes, "size of a metrics page")
      ->capture_default_str();
  app.add_option("--interval-ms", options.interval_ms, "between two scrapes of an endpoint")
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "time to measure")->capture_default_str();
  app.add_option("--sim-cpu", options.sim_cpu, "core of the simulated servers; -1: any");
  app.add_option("--plugins", options.plugins_dir, "directory of plugin libraries");
  app.add_option("--json", options.json, "write the result to this file");
  CLI11_PARSE(app, argc, argv);

  Simulators simulators;
  if (!Fork(options, &simulators)) {
    std::fprintf(stderr, "scrape_bench: the simulated servers did not start\n");
    return 1;
  }
  epp::bench::HostOptions host_options;
  host_options.plugins_dir = options.plugins_dir;
  const auto host = HostUnderTest::Start(host_options);
  if (!host.ok()) {
    std::fprintf(stderr, "scrape_bench: %s\n", std::string(host.status().message()).c_str());
    return 1;
  }
  (*host)->AddEndpoints(simulators.ports);

  epp::scrape::ScrapeLoop::Options loop_options;
  loop_options.tick_ns = options.interval_ms * 1'000'000;
  epp::scrape::ScrapeLoop loop(&(*host)->pool(), loop_options, nullptr);
  if (const absl::Status status = loop.SetSources(SourcesOf(**host)); !status.ok()) {
    std::fprintf(stderr, "scrape_bench: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  // Connections and buffers exist after a few rounds.
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const Fetches fetches_before = Count(loop);
  const uint64_t cpu_before = epp::bench::ProcessCpuNs(getpid());
  const auto begin = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
  const uint64_t cpu_ns = epp::bench::ProcessCpuNs(getpid()) - cpu_before;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const Fetches after = Count(loop);
  const uint64_t fetches = after.fetches - fetches_before.fetches;

  nlohmann::ordered_json out;
  out["endpoints"] = options.endpoints;
  out["page_bytes"] = options.page_bytes;
  out["interval_ms"] = options.interval_ms;
  out["cores"] = static_cast<double>(cpu_ns) * 1e-9 / seconds;
  out["cores_per_100_endpoints"] = out["cores"].get<double>() * 100 / options.endpoints;
  out["scrapes_per_s"] = static_cast<double>(fetches) / seconds;
  out["scrapes_wanted_per_s"] =
      options.endpoints * 1000.0 / static_cast<double>(options.interval_ms);
  out["cpu_us_per_scrape"] =
      fetches ? static_cast<double>(cpu_ns) * 1e-3 / static_cast<double>(fetches) : 0;
  out["failures"] = after.failures - fetches_before.failures;
  out["rss_kib"] = epp::bench::ResidentKib(getpid());
  std::printf(
      "%u endpoints, %zu byte pages, every %zu ms: %.3f cores (%.3f per 100 endpoints), %.1f us a "
      "scrape\n%.0f scrapes/s of %.0f wanted, %zu failed, RSS %zu KiB\n",
      options.endpoints, options.page_bytes, options.interval_ms, out["cores"].get<double>(),
      out["cores_per_100_endpoints"].get<double>(), out["cpu_us_per_scrape"].get<double>(),
      out["scrapes_per_s"].get<double>(), out["scrapes_wanted_per_s"].get<double>(),
      out["failures"].get<size_t>(), out["rss_kib"].get<size_t>());
  if (!options.json.empty() && !(std::ofstream(options.json) << out.dump(2) << '\n')) {
    std::fprintf(stderr, "scrape_bench: %s cannot be written\n", options.json.c_str());
    return 1;
  }
  return 0;
}
