#include "tests/bench/replay.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "host/base/str_cat.h"
#include "host/config/endpoint_picker_config.h"
#include "tests/bench/host_under_test.h"
#include "tests/bench/summary.h"
#include "tests/bench/trace_tools.h"
#include "tests/sim/prompt.h"

namespace epp::bench {
namespace {

using sim::Engine;
using sim::EngineConfig;
using sim::EngineEvent;
using sim::kNever;
using sim::SimTime;
using sim::TraceRequest;

constexpr std::string_view kPrefixProducer = "approx-prefix-cache-producer";
constexpr uint64_t kIndexBytes = uint64_t{256} << 20;  // its maxIndexBytes

// SplitMix64: the same numbers for the same seed and request, whatever was drawn before.
class SeededRandom final : public loader::RandomSource {
 public:
  explicit SeededRandom(uint64_t seed) : seed_(seed), state_(seed) {}
  void Begin(uint64_t request) { state_ = seed_ + (request << 32); }
  uint64_t Next() noexcept override {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  const uint64_t seed_;
  uint64_t state_;
};

struct InFlight {
  std::vector<char> body;
  std::unique_ptr<request::Exchange> exchange;
  uint32_t server = 0;
  SimTime arrival{};
};

struct ServerTotals {
  uint64_t requests = 0;
  uint64_t tokens = 0;
};

class Replay {
 public:
  Replay(const ReplayOptions& options, std::shared_ptr<const config::SourceText> config,
         HostUnderTest& host, FakeClock& clock, SeededRandom& random)
      : options_(options),
        config_(std::move(config)),
        host_(host),
        clock_(clock),
        random_(random),
        totals_(options.servers) {
    for (uint32_t s = 0; s < options.servers; ++s) {
      engines_.push_back(std::make_unique<Engine>(EngineOf(s)));
      next_.push_back(kNever);
      numbers_.emplace(host.HostPort(s), s);
    }
    chunk_ = R"(data: {"choices":[{"text":"w"}]})";
    chunk_ += "\n\n";
  }

  absl::Status Run(const std::vector<TraceRequest>& trace) {
    Scrape();
    for (size_t i = 0; i < trace.size(); ++i) {
      const auto arrival = SimTime(static_cast<int64_t>(
          static_cast<double>(trace[i].arrival.count()) / options_.time_scale));
      AdvanceTo(arrival);
      if (options_.reload_every > 0 && i > 0 && i % options_.reload_every == 0) {
        if (absl::Status status = Reload(); !status.ok()) return status;
      }
      if (absl::Status status = Arrive(i, trace[i], arrival); !status.ok()) return status;
    }
    while (!in_flight_.empty()) {
      const SimTime next = *std::min_element(next_.begin(), next_.end());
      if (next == kNever) break;
      AdvanceTo(next);
    }
    return absl::OkStatus();
  }

  ReplayResult Result() {
    ReplayResult out;
    for (const auto& engine : engines_) {
      const auto stats = engine->stats();
      out.prompt_tokens += stats.prompt_tokens;
      out.cached_tokens += stats.cached_tokens;
      out.preemptions += stats.preemptions;
    }
    out.requests = ttft_ms_.size();
    out.rejected = rejected_;
    double sum = 0;
    for (const double ms : ttft_ms_) sum += ms;
    if (!ttft_ms_.empty()) out.ttft_mean_ms = sum / static_cast<double>(ttft_ms_.size());
    out.ttft_p50_ms = Percentile(ttft_ms_, 0.5);
    out.ttft_p90_ms = Percentile(ttft_ms_, 0.9);
    out.ttft_p99_ms = Percentile(ttft_ms_, 0.99);
    out.skew_requests = Skew(&ServerTotals::requests);
    out.skew_tokens = Skew(&ServerTotals::tokens);
    out.simulated_s = std::chrono::duration<double>(now_).count();
    out.reloads = reloads_;
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
      request.exchange->OnStreamEnd(request::StreamEnd::kHalfClosed);
      in_flight_.erase(it);
    }
  }

  absl::Status Arrive(uint64_t id, const TraceRequest& from, SimTime arrival) {
    InFlight request;
    const std::string text = TokenBody(from);
    request.body.resize(text.size() + request::Body::kPadding);
    std::memcpy(request.body.data(), text.data(), text.size());
    request.arrival = arrival;
    random_.Begin(id);
    request.exchange = host_.NewExchange();
    const std::string length = std::to_string(text.size());
    const std::vector<request::Header> headers = {{":method", "POST"},
                                                  {":path", "/v1/completions"},
                                                  {"content-type", "application/json"},
                                                  {"content-length", length}};
    request.exchange->OnRequestHeaders(headers, metadata_, false);
    const auto verdict =
        request.exchange->OnRequestBody({request.body.data(), text.size()}, metadata_);
    if (verdict.kind != request::RequestVerdict::Kind::kForward) {
      return absl::InternalError(
          StrCat("request ", id, " was not forwarded: ", verdict.immediate.body));
    }
    const auto number = numbers_.find(verdict.headers.set.front().value);
    if (number == numbers_.end()) {
      return absl::InternalError(StrCat("request ", id, " went to an unknown server \"",
                                        verdict.headers.set.front().value, "\""));
    }
    request.server = number->second;
    request.exchange->OnRequestSent();
    sim::EngineRequest job;
    job.id = id;
    job.prompt_tokens = std::max(1U, from.prompt_tokens);
    job.output_tokens = std::max(1U, from.output_tokens);
    job.block_hashes = sim::ExpandTraceBlocks(from.hash_ids, sim::kMooncakeBlockTokens,
                                              options_.engine.block_tokens, job.prompt_tokens);
    totals_[request.server].requests += 1;
    totals_[request.server].tokens += job.prompt_tokens + job.output_tokens;
    const absl::Status submitted = engines_[request.server]->Submit(std::move(job), arrival);
    if (!submitted.ok()) {
      ++rejected_;
      request.exchange->OnStreamEnd(request::StreamEnd::kCancelled);
      return absl::OkStatus();
    }
    changed_ = true;
    next_[request.server] = engines_[request.server]->NextEventTime();
    in_flight_.emplace(id, std::move(request));
    return absl::OkStatus();
  }

  EngineConfig EngineOf(uint32_t server) const {
    EngineConfig engine = options_.engine;
    if (server + options_.small_servers < options_.servers) return engine;
    engine.kv_blocks /= 2;
    engine.prefill_tokens_per_s /= 2;
    engine.decode_per_token *= 2;
    return engine;
  }

  absl::Status Reload() {
    ++reloads_;
    const bool odd = reloads_ % 2 == 1;
    std::string changes;
    if (options_.reload_change == ReloadChange::kUnused && odd) {
      changes = "plugins: [{name: unused-by-any-profile, type: queue-scorer}]\n";
    } else if (options_.reload_change == ReloadChange::kState) {
      for (const auto& instance : host_.generation()->instances()) {
        const std::string_view type = instance->type().name();
        if (type != kPrefixProducer) continue;
        StrAppend(&changes, changes.empty() ? "plugins:\n" : "", "- {name: ", instance->name(),
                  ", type: ", type, ", parameters: {maxIndexBytes: ", kIndexBytes + odd, "}}\n");
      }
    }
    return host_.Reload(Over(config_, changes));
  }

  // The config with `changes`, a text of its own, laid over it.
  static std::shared_ptr<const config::SourceText> Over(
      const std::shared_ptr<const config::SourceText>& config, const std::string& changes) {
    if (changes.empty()) return config;
    auto out = std::make_shared<config::SourceText>();
    out->name = "changes.yaml";
    out->text = StrCat("epp: {include: [replayed-config]}\n", changes);
    out->included = config->included;
    auto base = std::make_shared<config::SourceText>(*config);
    if (base->text.empty()) base->text = config::kDefaultConfig;
    out->included["replayed-config"] = {std::move(base), ""};
    return out;
  }

  const ReplayOptions& options_;
  const std::shared_ptr<const config::SourceText> config_;
  HostUnderTest& host_;
  FakeClock& clock_;
  SeededRandom& random_;
  NoMetadata metadata_;
  const std::vector<request::Header> response_headers_ = {{":status", "200"},
                                                          {"content-type", "text/event-stream"}};
  std::string chunk_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<SimTime> next_;  // of each engine
  std::unordered_map<std::string, uint32_t> numbers_;
  std::unordered_map<uint64_t, InFlight> in_flight_;
  std::vector<EngineEvent> events_;
  std::vector<ServerTotals> totals_;
  std::vector<double> ttft_ms_;
  size_t rejected_ = 0;
  size_t reloads_ = 0;
  SimTime now_{};
  SimTime next_scrape_{};
  bool changed_ = true;
};

}  // namespace

ReplayOptions::ReplayOptions() {
  engine.kv_blocks = 30'000;
  engine.max_batched_tokens = 8192;
  engine.prefill_tokens_per_s = 10'000;
  engine.decode_per_token = std::chrono::milliseconds(15);
  engine.token_events = false;
}

absl::StatusOr<ReplayResult> RunReplay(std::shared_ptr<const config::SourceText> config,
                                       const std::vector<TraceRequest>& trace,
                                       const ReplayOptions& options) {
  FakeClock clock;
  SeededRandom random(options.seed);
  HostOptions host_options;
  host_options.config = config;
  host_options.plugins_dir = options.plugins_dir;
  host_options.clock = &clock;
  if (options.seed != 0) host_options.random = &random;
  const auto host = HostUnderTest::Start(host_options);
  if (!host.ok()) return host.status();
  (*host)->AddEndpoints(options.servers);
  Replay replay(options, std::move(config), **host, clock, random);
  if (absl::Status status = replay.Run(trace); !status.ok()) return status;
  return replay.Result();
}

}  // namespace epp::bench
