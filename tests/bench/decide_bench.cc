// One request through the host and the real plugin libraries, without a transport: how long the
// decision takes, and how much CPU time the whole of our own work. See README.md.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/bench/chat_body.h"
#include "tests/bench/host_under_test.h"
#include "tests/bench/process_stats.h"
#include "tests/bench/summary.h"

namespace {

using epp::bench::ChatBody;
using epp::bench::HostUnderTest;
using epp::bench::Percentile;
using epp::request::Exchange;
using epp::request::Header;
using epp::request::RequestVerdict;
using nlohmann::ordered_json;

constexpr size_t kBytesPerToken = 4;
constexpr size_t kChunks = 50;

struct Options {
  std::vector<uint32_t> endpoints = {10, 100, 1000, 10000};
  std::vector<size_t> tokens = {256, 1000, 10000, 100000};
  double seconds = 0.5;  // per cell
  double shared = 0.5;
  std::string config;
  std::string plugins_dir;
  std::string json;
};

// A body as the ext-proc server's buffer holds it: readable beyond its end.
class PaddedBody {
 public:
  void Fill(const std::string& text) {
    bytes_.resize(text.size() + epp::request::Body::kPadding);
    std::memcpy(bytes_.data(), text.data(), text.size());
  }
  epp::request::Body view() {
    return {bytes_.data(), bytes_.size() - epp::request::Body::kPadding};
  }

 private:
  std::vector<char> bytes_;
};

class Bench {
 public:
  Bench(HostUnderTest& host, size_t body_bytes, double shared)
      : host_(host), body_(body_bytes, shared, 11) {
    for (const auto& pair :
         epp::bench::ChatHeaders(body_.size(), "3f1c2d4e-0000-4000-8000-1234567890ab")) {
      texts_.push_back(pair);
    }
    for (const auto& [name, value] : texts_) headers_.push_back({name, value});
  }

  // Half of the requests repeat an earlier prompt, as the second turn of a conversation would.
  bool One(bool with_response, uint64_t* request_ns) {
    const uint64_t number = count_ % 2 == 0 ? count_ : count_ / 2;
    ++count_;
    padded_.Fill(body_.For(number));
    const uint64_t begin = epp::bench::ThreadCpuNs();
    std::unique_ptr<Exchange> exchange = host_.NewExchange();
    exchange->OnRequestHeaders(headers_, metadata_, false);
    const RequestVerdict verdict = exchange->OnRequestBody(padded_.view(), metadata_);
    if (verdict.kind != RequestVerdict::Kind::kForward) return false;
    exchange->OnRequestSent();
    if (with_response) {
      exchange->OnResponseHeaders(response_headers_, metadata_, false);
      const uint64_t chunks_begin = epp::bench::ThreadCpuNs();
      for (size_t i = 0; i < kChunks; ++i) {
        exchange->OnResponseBody(chunk_, i + 1 == kChunks);
      }
      chunk_ns_ += epp::bench::ThreadCpuNs() - chunks_begin;
    }
    exchange->OnStreamEnd(epp::request::StreamEnd::kHalfClosed);
    exchange.reset();
    *request_ns += epp::bench::ThreadCpuNs() - begin;
    return true;
  }

  uint64_t chunk_ns() const { return chunk_ns_; }

 private:
  HostUnderTest& host_;
  ChatBody body_;
  PaddedBody padded_;
  epp::bench::NoMetadata metadata_;
  std::vector<std::pair<std::string, std::string>> texts_;
  std::vector<Header> headers_;
  const std::vector<Header> response_headers_ = {{":status", "200"},
                                                 {"content-type", "text/event-stream"}};
  const std::string chunk_ = epp::bench::ChatChunk(200);
  uint64_t count_ = 0;
  uint64_t chunk_ns_ = 0;
};

struct Timings {
  std::vector<uint32_t> parse, produce, schedule, decision, total;
};

// The latest `count` records.
void Collect(const HostUnderTest& host, size_t count, Timings* out) {
  host.records().Visit([&](const epp::telemetry::DecisionRecord& r) {
    if (count-- == 0) return false;
    out->parse.push_back(r.parse_ns);
    out->produce.push_back(r.produce_ns);
    out->schedule.push_back(r.filter_ns + r.score_ns + r.pick_ns);
    out->decision.push_back(r.produce_ns + r.filter_ns + r.score_ns + r.pick_ns);
    out->total.push_back(r.total_ns);
    return true;
  });
}

ordered_json Summary(std::vector<uint32_t>& ns) {
  return {{"p50", Percentile(ns, 0.5)}, {"p99", Percentile(ns, 0.99)}};
}

// One cell of the table; null after a message when a request was not forwarded.
ordered_json Measure(HostUnderTest& host, const Options& options, size_t body_bytes) {
  constexpr size_t kBatch = 256;
  Bench bench(host, body_bytes, options.shared);
  uint64_t warm_up = 0;
  Timings timings;
  uint64_t cpu_ns = 0;
  uint64_t count = 0;
  for (size_t i = 0; i < 64; ++i) {
    if (!bench.One(false, &warm_up)) {
      std::fprintf(stderr, "decide_bench: a request was not forwarded\n");
      return nullptr;
    }
  }
  const auto limit_ns = static_cast<uint64_t>(options.seconds * 1e9);
  while (cpu_ns < limit_ns || count < 100) {
    for (size_t i = 0; i < kBatch && (cpu_ns < limit_ns || i < 100); ++i, ++count) {
      if (!bench.One(false, &cpu_ns)) return nullptr;
    }
    Collect(host, count - timings.total.size(), &timings);
  }
  ordered_json out;
  out["requests"] = count;
  out["decision_ns"] = Summary(timings.decision);
  out["parse_ns"] = Summary(timings.parse);
  out["produce_ns"] = Summary(timings.produce);
  out["schedule_ns"] = Summary(timings.schedule);
  out["total_ns"] = Summary(timings.total);
  out["own_cpu_ns_per_request"] = cpu_ns / count;
  return out;
}

ordered_json MeasureChunks(HostUnderTest& host, const Options& options) {
  Bench bench(host, 1024, options.shared);
  uint64_t cpu_ns = 0;
  uint64_t count = 0;
  while (cpu_ns < static_cast<uint64_t>(options.seconds * 1e9)) {
    if (!bench.One(true, &cpu_ns)) return nullptr;
    ++count;
  }
  return bench.chunk_ns() / (count * kChunks);
}

absl::StatusOr<std::unique_ptr<HostUnderTest>> StartHost(const Options& options, bool observe,
                                                         uint32_t endpoints) {
  epp::bench::HostOptions host_options;
  host_options.plugins_dir = options.plugins_dir;
  host_options.observe_responses = observe;
  if (!options.config.empty()) {
    std::ifstream in(options.config, std::ios::binary);
    if (!in) return absl::NotFoundError(options.config + ": cannot be read");
    host_options.config_text.assign(std::istreambuf_iterator<char>(in), {});
  }
  auto host = HostUnderTest::Start(host_options);
  if (!host.ok()) return host;
  (*host)->AddEndpoints(endpoints);
  for (uint32_t i = 0; i < endpoints; ++i) {
    (*host)->SetMetrics(i, {.waiting = i * 7 % 13,
                            .running = i * 5 % 31,
                            .kv_usage = i * 3 % 17 / 20.0,
                            .block_tokens = 16,
                            .blocks = 10000});
  }
  (*host)->Publish();
  return host;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Cost of one decision through the real plugins");
  app.add_option("--endpoints", options.endpoints, "pool sizes")->delimiter(',');
  app.add_option("--tokens", options.tokens, "prompt sizes, four bytes a token")->delimiter(',');
  app.add_option("--seconds", options.seconds, "CPU time per cell")->capture_default_str();
  app.add_option("--shared", options.shared, "share of the prompt that all requests begin with")
      ->capture_default_str();
  app.add_option("--config", options.config, "EndpointPickerConfig; default: the built-in one");
  app.add_option("--plugins", options.plugins_dir, "directory of plugin libraries");
  app.add_option("--json", options.json, "write the results to this file");
  CLI11_PARSE(app, argc, argv);

  ordered_json results;
  std::printf("%9s %8s | %17s | %17s | %17s | %17s | %17s | %9s\n", "endpoints", "tokens",
              "decision p50 p99", "parse p50 p99", "produce p50 p99", "schedule p50 p99",
              "total p50 p99", "CPU us");
  for (const uint32_t endpoints : options.endpoints) {
    const auto host = StartHost(options, false, endpoints);
    if (!host.ok()) {
      std::fprintf(stderr, "decide_bench: %s\n", std::string(host.status().message()).c_str());
      return 1;
    }
    for (const size_t tokens : options.tokens) {
      ordered_json cell = Measure(**host, options, tokens * kBytesPerToken);
      if (cell.is_null()) return 1;
      std::printf("%9u %8zu |", endpoints, tokens);
      for (const char* key : {"decision_ns", "parse_ns", "produce_ns", "schedule_ns", "total_ns"}) {
        std::printf(" %8.1f %8.1f |", cell[key]["p50"].get<double>() * 1e-3,
                    cell[key]["p99"].get<double>() * 1e-3);
      }
      std::printf(" %9.1f\n", cell["own_cpu_ns_per_request"].get<double>() * 1e-3);
      std::fflush(stdout);
      cell["endpoints"] = endpoints;
      cell["tokens"] = tokens;
      results["decisions"].push_back(std::move(cell));
    }
  }
  for (const bool observe : {false, true}) {
    const auto host = StartHost(options, observe, 100);
    if (!host.ok()) return 1;
    const ordered_json ns = MeasureChunks(**host, options);
    if (ns.is_null()) return 1;
    std::printf("own work per response chunk, %s: %zu ns\n",
                observe ? "when something reads chunks" : "when nothing reads chunks",
                ns.get<size_t>());
    results[observe ? "chunk_ns_read" : "chunk_ns_unread"] = ns;
  }
  if (!options.json.empty() && !(std::ofstream(options.json) << results.dump(2) << '\n')) {
    std::fprintf(stderr, "decide_bench: %s cannot be written\n", options.json.c_str());
    return 1;
  }
  return 0;
}
