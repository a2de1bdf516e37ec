// Replays a request trace in simulated time: real scheduling (libraries, pool, exchanges) in front
// of modelled servers. See README.md.
//
// Every profile sees the same arrivals. Scheduling sees the servers as it would in production:
// through metrics that are up to one scrape interval old, and through what it counts itself.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/bench/host_under_test.h"
#include "tests/bench/process_stats.h"
#include "tests/bench/summary.h"
#include "tests/sim/engine.h"
#include "tests/sim/prompt.h"
#include "tests/sim/trace.h"

namespace {

using epp::bench::HostUnderTest;
using epp::sim::Engine;
using epp::sim::EngineEvent;
using epp::sim::kNever;
using epp::sim::SimTime;
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
  uint32_t servers = 8;
  size_t requests = 0;  // 0: all
  double time_scale = 1;
  bool keep_bursts = false;
  uint64_t scrape_ms = 50;
  std::string plugins_dir;
  std::string json;
  epp::sim::EngineConfig engine;
};

// {"model":"demo","prompt":[...]} with token ids that agree where the trace's blocks agree.
std::string TokenBody(const TraceRequest& request) {
  std::string body = R"({"model":"demo","stream":true,"max_tokens":)" +
                     std::to_string(std::max(1U, request.output_tokens)) + R"(,"prompt":[)";
  body.reserve(body.size() + size_t{request.prompt_tokens} * 7 + 2);
  char digits[12];
  for (uint32_t t = 0; t < request.prompt_tokens; ++t) {
    const size_t block = t / epp::sim::kMooncakeBlockTokens;
    // A trace's last id may be missing; such tokens are the request's own.
    const uint64_t id = block < request.hash_ids.size()
                            ? request.hash_ids[block]
                            : static_cast<uint64_t>(request.arrival.count());
    uint64_t z = id * 0x9e3779b97f4a7c15u + t % epp::sim::kMooncakeBlockTokens;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z ^= z >> 27;
    const auto end = std::to_chars(digits, digits + sizeof(digits), z % 128000).ptr;
    body.append(digits, end);
    body += ',';
  }
  body.back() = ']';
  body += '}';
  return body;
}

// Recorders that round times to seconds make bursts that never were: requests of one moment are
// spread evenly up to the next. `trace` is in order of arrival.
void SpreadBursts(std::vector<TraceRequest>& trace) {
  for (size_t begin = 0; begin < trace.size();) {
    size_t end = begin;
    while (end < trace.size() && trace[end].arrival == trace[begin].arrival) ++end;
    if (end < trace.size()) {
      const SimTime gap = trace[end].arrival - trace[begin].arrival;
      const auto count = static_cast<int64_t>(end - begin);
      for (int64_t i = 1; i < count; ++i) {
        trace[begin + static_cast<size_t>(i)].arrival += gap * i / count;
      }
    }
    begin = end;
  }
}

// The share of prompt tokens that one LRU cache of `capacity_blocks` trace blocks would serve, were
// every request done at once: a bound for any placement on caches of that total size.
double CacheBound(const std::vector<TraceRequest>& trace, size_t capacity_blocks) {
  std::list<uint64_t> order;  // most recent first
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> held;
  uint64_t hits = 0;
  uint64_t all = 0;
  for (const TraceRequest& request : trace) {
    bool matching = true;
    for (size_t b = 0; b < request.hash_ids.size(); ++b) {
      const uint64_t begin = b * epp::sim::kMooncakeBlockTokens;
      if (begin >= request.prompt_tokens) break;
      matching = matching && held.contains(request.hash_ids[b]);
      if (matching) {
        hits += std::min<uint64_t>(epp::sim::kMooncakeBlockTokens, request.prompt_tokens - begin);
      }
    }
    all += request.prompt_tokens;
    for (size_t b = request.hash_ids.size(); b-- > 0;) {
      if (const auto it = held.find(request.hash_ids[b]); it != held.end()) {
        order.splice(order.begin(), order, it->second);
        continue;
      }
      order.push_front(request.hash_ids[b]);
      held.emplace(request.hash_ids[b], order.begin());
    }
    while (held.size() > capacity_blocks) {
      held.erase(order.back());
      order.pop_back();
    }
  }
  return all ? static_cast<double>(hits) / static_cast<double>(all) : 0;
}

struct InFlight {
  std::vector<char> body;
  std::unique_ptr<epp::request::Exchange> exchange;
  uint32_t server = 0;
  SimTime arrival{};
};

struct ServerTotals {
  uint64_t requests = 0;
  uint64_t tokens = 0;
};

class Replay {
 public:
  Replay(const Options& options, HostUnderTest& host, epp::FakeClock& clock)
      : options_(options), host_(host), clock_(clock), totals_(options.servers) {
    for (uint32_t s = 0; s < options.servers; ++s) {
      engines_.push_back(std::make_unique<Engine>(options.engine));
      next_.push_back(kNever);
      numbers_.emplace(host.HostPort(s), s);
    }
    chunk_ = R"(data: {"choices":[{"text":"w"}]})";
    chunk_ += "\n\n";
  }

  // False after a message when a request could not be routed.
  bool Run(const std::vector<TraceRequest>& trace) {
    Scrape();
    for (size_t i = 0; i < trace.size(); ++i) {
      const auto arrival = SimTime(static_cast<int64_t>(
          static_cast<double>(trace[i].arrival.count()) / options_.time_scale));
      AdvanceTo(arrival);
      if (!Arrive(i, trace[i], arrival)) return false;
    }
    while (!in_flight_.empty()) {
      const SimTime next = *std::min_element(next_.begin(), next_.end());
      if (next == kNever) break;
      AdvanceTo(next);
    }
    return true;
  }

  ordered_json Result() {
    uint64_t prompt = 0;
    uint64_t cached = 0;
    uint64_t preemptions = 0;
    for (const auto& engine : engines_) {
      const auto stats = engine->stats();
      prompt += stats.prompt_tokens;
      cached += stats.cached_tokens;
      preemptions += stats.preemptions;
    }
    ordered_json out;
    out["requests"] = ttft_ms_.size();
    out["rejected"] = rejected_;
    out["hit_rate"] = prompt ? static_cast<double>(cached) / static_cast<double>(prompt) : 0;
    double sum = 0;
    for (const double ms : ttft_ms_) sum += ms;
    out["ttft_ms"]["mean"] = ttft_ms_.empty() ? 0 : sum / static_cast<double>(ttft_ms_.size());
    for (const auto& [name, share] :
         std::map<std::string, double>{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}}) {
      out["ttft_ms"][name] = epp::bench::Percentile(ttft_ms_, share);
    }
    out["skew_requests"] = Skew(&ServerTotals::requests);
    out["skew_tokens"] = Skew(&ServerTotals::tokens);
    out["preemptions"] = preemptions;
    out["simulated_s"] = std::chrono::duration<double>(now_).count();
    return out;
  }

 private:
  double Skew(uint64_t ServerTotals::*member) const {
    uint64_t most = 0;
    uint64_t sum = 0;
    for (const ServerTotals& t : totals_) {
      most = std::max(most, t.*member);
      sum += t.*member;
    }
    return sum ? static_cast<double>(most) * static_cast<double>(totals_.size()) /
                     static_cast<double>(sum)
               : 0;
  }

  void SetTime(SimTime to) {
    if (to <= now_) return;
    clock_.Advance(static_cast<uint64_t>((to - now_).count()));
    now_ = to;
  }

  // Lives through engine steps and scrapes, in order, up to `to`; at one time steps come first.
  void AdvanceTo(SimTime to) {
    for (;;) {
      const auto first = std::min_element(next_.begin(), next_.end());
      const SimTime at = std::min(*first, next_scrape_);
      if (at > to) break;
      SetTime(at);
      if (*first <= next_scrape_) {
        const auto server = static_cast<uint32_t>(first - next_.begin());
        events_.clear();
        engines_[server]->Advance(at, &events_);
        *first = engines_[server]->NextEventTime();
        changed_ = true;
        for (const EngineEvent& event : events_) OnEvent(event);
      } else {
        Scrape();
      }
    }
    SetTime(to);
  }

  void Scrape() {
    next_scrape_ = now_ + std::chrono::milliseconds(options_.scrape_ms);
    if (!changed_) return;
    changed_ = false;
    for (uint32_t s = 0; s < engines_.size(); ++s) {
      const auto stats = engines_[s]->stats();
      host_.SetMetrics(s, {.waiting = stats.waiting,
                           .running = stats.running,
                           .kv_usage = stats.KvUsage(),
                           .block_tokens = options_.engine.block_tokens,
                           .blocks = stats.blocks});
    }
    host_.Publish();
  }

  void OnEvent(const EngineEvent& event) {
    const auto it = in_flight_.find(event.request);
    if (it == in_flight_.end()) return;
    InFlight& request = it->second;
    if (event.kind == EngineEvent::Kind::kFirstToken) {
      ttft_ms_.push_back(
          std::chrono::duration<double, std::milli>(event.at - request.arrival).count());
      request.exchange->OnResponseHeaders(response_headers_, metadata_, false);
      request.exchange->OnResponseBody(chunk_, false);
    } else if (event.kind == EngineEvent::Kind::kFinished) {
      request.exchange->OnResponseBody("", true);
      request.exchange->OnStreamEnd(epp::request::StreamEnd::kHalfClosed);
      in_flight_.erase(it);
    }
  }

  bool Arrive(uint64_t id, const TraceRequest& from, SimTime arrival) {
    InFlight request;
    const std::string text = TokenBody(from);
    request.body.resize(text.size() + epp::request::Body::kPadding);
    std::memcpy(request.body.data(), text.data(), text.size());
    request.arrival = arrival;
    request.exchange = host_.NewExchange();
    const std::string length = std::to_string(text.size());
    const std::vector<epp::request::Header> headers = {{":method", "POST"},
                                                       {":path", "/v1/completions"},
                                                       {"content-type", "application/json"},
                                                       {"content-length", length}};
    request.exchange->OnRequestHeaders(headers, metadata_, false);
    const auto verdict =
        request.exchange->OnRequestBody({request.body.data(), text.size()}, metadata_);
    if (verdict.kind != epp::request::RequestVerdict::Kind::kForward) {
      std::fprintf(stderr, "replay: request %zu was not forwarded: %s\n", id,
                   verdict.immediate.body.c_str());
      return false;
    }
    const auto number = numbers_.find(verdict.headers.set.front().value);
    if (number == numbers_.end()) {
      std::fprintf(stderr, "replay: request %zu went to an unknown server \"%s\"\n", id,
                   verdict.headers.set.front().value.c_str());
      return false;
    }
    request.server = number->second;
    epp::sim::EngineRequest job;
    job.id = id;
    job.prompt_tokens = std::max(1U, from.prompt_tokens);
    job.output_tokens = std::max(1U, from.output_tokens);
    job.block_hashes = epp::sim::ExpandTraceBlocks(from.hash_ids, epp::sim::kMooncakeBlockTokens,
                                                   options_.engine.block_tokens, job.prompt_tokens);
    totals_[request.server].requests += 1;
    totals_[request.server].tokens += job.prompt_tokens + job.output_tokens;
    const absl::Status submitted = engines_[request.server]->Submit(std::move(job), arrival);
    if (!submitted.ok()) {
      ++rejected_;
      request.exchange->OnStreamEnd(epp::request::StreamEnd::kCancelled);
      return true;
    }
    changed_ = true;
    next_[request.server] = engines_[request.server]->NextEventTime();
    in_flight_.emplace(id, std::move(request));
    return true;
  }

  const Options& options_;
  HostUnderTest& host_;
  epp::FakeClock& clock_;
  epp::bench::NoMetadata metadata_;
  const std::vector<epp::request::Header> response_headers_ = {
      {":status", "200"}, {"content-type", "text/event-stream"}};
  std::string chunk_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<SimTime> next_;  // of each engine
  std::unordered_map<std::string, uint32_t> numbers_;
  std::unordered_map<uint64_t, InFlight> in_flight_;
  std::vector<EngineEvent> events_;
  std::vector<ServerTotals> totals_;
  std::vector<double> ttft_ms_;
  uint64_t rejected_ = 0;
  SimTime now_{};
  SimTime next_scrape_{};
  bool changed_ = true;
};

// The text of a profile by name, or of a file; nothing when there is no such file.
std::optional<std::string> ConfigOf(const std::string& profile) {
  if (profile == "random") return kRandom;
  if (profile == "load") return kLoadOnly;
  if (profile == "default") return "";
  std::ifstream in(profile, std::ios::binary);
  if (!in) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.engine.kv_blocks = 30'000;
  options.engine.max_batched_tokens = 8192;
  options.engine.prefill_tokens_per_s = 10'000;
  options.engine.decode_per_token = std::chrono::milliseconds(15);
  options.engine.token_events = false;
  CLI::App app("Replay of a request trace through real scheduling, in simulated time");
  app.add_option("--trace", options.trace, "Mooncake trace (JSON lines)")->required();
  app.add_option("--profiles", options.profiles, "random, load, default, or configuration files")
      ->delimiter(',');
  app.add_option("--servers", options.servers, "modelled servers")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--requests", options.requests, "only the first so many; 0: all")
      ->capture_default_str();
  app.add_option("--time-scale", options.time_scale, "2: arrivals twice as fast")
      ->check(CLI::Range(0.001, 1000.0))
      ->capture_default_str();
  app.add_flag("--keep-bursts", options.keep_bursts,
               "keep requests with one timestamp at one moment, instead of spreading them");
  app.add_option("--scrape-ms", options.scrape_ms, "age that metrics may have")
      ->check(CLI::Range(1, 60'000))
      ->capture_default_str();
  app.add_option("--kv-blocks", options.engine.kv_blocks, "blocks of 16 tokens per server")
      ->capture_default_str();
  app.add_option("--prefill-tokens-per-s", options.engine.prefill_tokens_per_s, "of one server")
      ->capture_default_str();
  app.add_option("--plugins", options.plugins_dir, "directory of plugin libraries");
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
  if (!options.keep_bursts) SpreadBursts(*trace);
  if (options.requests > 0 && options.requests < trace->size()) trace->resize(options.requests);

  ordered_json results;
  const size_t all_blocks = size_t{options.servers} * options.engine.kv_blocks *
                            options.engine.block_tokens / epp::sim::kMooncakeBlockTokens;
  results["bound"]["hit_rate_one_cache"] = CacheBound(*trace, all_blocks);
  results["bound"]["hit_rate_endless_cache"] = CacheBound(*trace, SIZE_MAX);
  std::printf(
      "%zu requests on %u servers; one cache of their total size would hit %.1f%%, an endless one "
      "%.1f%%\n",
      trace->size(), options.servers, results["bound"]["hit_rate_one_cache"].get<double>() * 100,
      results["bound"]["hit_rate_endless_cache"].get<double>() * 100);
  std::printf("%-10s %6s | %8s %8s %8s %8s | %8s %8s | %7s %6s\n", "profile", "hits", "TTFT mean",
              "p50 ms", "p90", "p99", "skew req", "tokens", "preempt", "took s");
  for (const std::string& profile : options.profiles) {
    const auto config = ConfigOf(profile);
    if (!config) {
      std::fprintf(stderr, "replay: %s: cannot be read\n", profile.c_str());
      return 1;
    }
    const auto begin = std::chrono::steady_clock::now();
    epp::FakeClock clock;
    epp::bench::HostOptions host_options;
    host_options.config_text = *config;
    host_options.plugins_dir = options.plugins_dir;
    host_options.clock = &clock;
    const auto host = HostUnderTest::Start(host_options);
    if (!host.ok()) {
      std::fprintf(stderr, "replay: %s: %s\n", profile.c_str(),
                   std::string(host.status().message()).c_str());
      return 1;
    }
    (*host)->AddEndpoints(options.servers);
    Replay replay(options, **host, clock);
    if (!replay.Run(*trace)) return 1;
    ordered_json result = replay.Result();
    result["took_s"] =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const auto& ttft = result["ttft_ms"];
    std::printf("%-10s %5.1f%% | %9.0f %8.0f %8.0f %8.0f | %8.3f %8.3f | %7zu %6.1f\n",
                profile.c_str(), result["hit_rate"].get<double>() * 100, ttft["mean"].get<double>(),
                ttft["p50"].get<double>(), ttft["p90"].get<double>(), ttft["p99"].get<double>(),
                result["skew_requests"].get<double>(), result["skew_tokens"].get<double>(),
                result["preemptions"].get<size_t>(), result["took_s"].get<double>());
    std::fflush(stdout);
    results[profile] = std::move(result);
  }
  if (!options.json.empty() && !(std::ofstream(options.json) << results.dump(2) << '\n')) {
    std::fprintf(stderr, "replay: %s cannot be written\n", options.json.c_str());
    return 1;
  }
  return 0;
}
