#include "host/serve/trial_drive.h"

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/base/arena.h"
#include "host/base/str_cat.h"
#include "host/base/waker.h"
#include "host/loader/guard.h"
#include "host/request/http_exchange.h"
#include "host/scheduling/cycle.h"
#include "host/scrape/sink.h"
#include "host/serve/plugin_states.h"
#include "host/telemetry/decisions.h"

namespace epp::serve {
namespace {

using loader::Entry;
using loader::InFlight;

constexpr std::array<uint32_t, 4> kPoolSizes = {0, 1, 2, 65};

struct Sample {
  const char* path;
  const char* body;
};
constexpr std::array kSamples = {
    Sample{
        "/v1/chat/completions",
        R"({"model":"trial","stream":true,"messages":[{"role":"user","content":"Hello there."}]})"},
    Sample{"/v1/completions", R"({"model":"trial","prompt":"Hello there.","max_tokens":7})"},
    Sample{"/v1/messages",
           R"({"model":"trial","max_tokens":7,"messages":[{"role":"user","content":"Hello."}]})"},
    Sample{"/v1/completions", "not JSON"},
};

constexpr std::string_view kPage =
    "# TYPE vllm:num_requests_waiting gauge\n"
    "vllm:num_requests_waiting{model_name=\"trial\"} 3.0\n"
    "vllm:num_requests_running{model_name=\"trial\"} 2.0\n"
    "vllm:kv_cache_usage_perc{model_name=\"trial\"} 0.25\n"
    "vllm:gpu_cache_usage_perc{model_name=\"trial\"} 0.25\n"
    "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"a,b\",waiting_lora_adapters="
    "\"\"} 1.7e9\n"
    "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"1000\"} 1.0\n";
constexpr std::string_view kModels =
    R"({"object":"list","data":[{"id":"trial","object":"model","owned_by":"trial"}]})";

class NoMetadata final : public request::Metadata {
 public:
  bool List(std::string_view, std::string_view, std::vector<std::string_view>*) const override {
    return false;
  }
  std::optional<std::string_view> String(std::string_view, std::string_view) const override {
    return std::nullopt;
  }
};

epp_str Str(std::string_view s) { return {s.data(), s.size()}; }

// Lets the thread that drives wait for a producer.
class Bell final : public Waker {
 public:
  void Wake() override {
    const std::lock_guard lock(mutex_);
    rung_ = true;
    changed_.notify_all();
  }
  // False when it was not woken in time.
  bool Wait() {
    std::unique_lock lock(mutex_);
    const bool woken = changed_.wait_for(lock, kPatience, [this] { return rung_; });
    rung_ = false;
    return woken;
  }

 private:
  // Whether the service behind a producer answers is not what is tried.
  static constexpr std::chrono::milliseconds kPatience{50};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool rung_ = false;
};

class Driver {
 public:
  Driver(Platform& platform, std::unique_ptr<runtime::Generation> generation)
      : platform_(platform), generation_(std::move(generation)), rings_(2, {16, 16}) {}

  void Run() {
    generation_->AttachToPool();
    serving_.Publish(std::shared_ptr<const request::Serving>(generation_, &generation_->serving()));
    request::Services services;
    services.clock = &Clock::Real();
    services.pool = &platform_.pool();
    services.serving = &serving_;
    services.metrics = &platform_.metrics();
    services.decisions = &rings_;
    services.operations = &platform_.hub().operations();
    services.options.observe_responses = true;
    request::HttpExchangeFactory factory(services, platform_.workers());
    for (const uint32_t n : kPoolSizes) {
      std::vector<pool::Endpoint::Fields> fields;
      for (uint32_t i = 0; i < n; ++i) {
        fields.push_back({"trial",
                          StrCat("server-", i),
                          StrCat("192.0.2.", i + 1),
                          8000,
                          0,
                          {{"role", i % 2 ? "decode" : "prefill"}}});
      }
      platform_.pool().Replace(std::move(fields));
      platform_.pool().Publish();
      Scrape();
      platform_.pool().Publish();
      uint32_t turn = 0;
      for (const Sample& sample : kSamples) Exchange(factory, sample, turn++ % 2);
      Each();
    }
    for (const auto& instance : generation_->instances()) (void)StateJson(*instance);
    std::string reason;
    (void)PluginsReady(*generation_, &reason);
    // Endpoints leave while the instances are there.
    platform_.pool().Replace({});
    platform_.pool().Publish();
    serving_.Publish(nullptr);
  }

  const runtime::Generation& generation() const { return *generation_; }
  void Destroy() { generation_.reset(); }

 private:
  void Exchange(request::HttpExchangeFactory& factory, const Sample& sample, uint32_t worker) {
    std::vector<char> body(std::strlen(sample.body) + request::Body::kPadding);
    std::memcpy(body.data(), sample.body, std::strlen(sample.body));
    const std::vector<request::Header> headers = {{":method", "POST"},
                                                  {":path", sample.path},
                                                  {"content-type", "application/json"},
                                                  {"x-request-id", "trial"}};
    const std::vector<request::Header> response = {{":status", "200"},
                                                   {"content-type", "text/event-stream"}};
    const auto bell = std::make_shared<Bell>();
    const auto exchange = factory.NewExchange(worker, bell);
    exchange->OnRequestHeaders(headers, metadata_, false);
    auto verdict = exchange->OnRequestBody({body.data(), std::strlen(sample.body)}, metadata_);
    while (verdict.kind == request::RequestVerdict::Kind::kPending && bell->Wait()) {
      verdict = exchange->TakeVerdict();
    }
    if (verdict.kind == request::RequestVerdict::Kind::kForward) {
      exchange->OnRequestSent();
      exchange->OnResponseHeaders(response, metadata_, false);
      exchange->OnResponseBody(
          "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}],\"model\":\"trial\"}"
          "\n\n",
          false);
      exchange->OnResponseBody(
          "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,"
          "\"total_tokens\":4}}\n\ndata: [DONE]\n\n",
          true);
    }
    exchange->OnStreamEnd(request::StreamEnd::kHalfClosed);
  }

  // What the requests above did not reach: profiles that the handler did not choose.
  void Each() {
    const scheduling::Wiring& wiring = generation_->serving().wiring;
    Arena arena(&blocks_);
    Arena kept(&blocks_);
    scheduling::RequestContext context;
    context.wiring = &wiring;
    context.arena = &arena;
    context.kept = &kept;
    context.clock = &Clock::Real();
    context.observer = generation_->serving().observer;
    context.request.struct_size = sizeof(epp_request);
    context.request.request_id = Str("trial");
    context.request.path = Str(kSamples[1].path);
    context.request.model = context.request.target_model = Str("trial");
    context.request.fairness_id = Str("default-flow");
    epp_parsed parsed{};
    parsed.struct_size = sizeof(epp_parsed);
    parsed.max_output_tokens = -1;
    parsed.model = Str("trial");
    context.request.parsed = &parsed;
    context.Prepare();
    const auto frame = platform_.pool().current();
    scheduling::SetCandidates(context, frame, nullptr, static_cast<uint32_t>(frame->size()));
    (void)scheduling::Produce(context);
    const uint32_t n = context.candidates->size();
    for (const scheduling::BoundPlugin& plugin : wiring.plugins) {
      const loader::Instance& instance = *plugin.instance;
      const epp_call call = context.CallFor(plugin, Clock::Real().mono_ns());
      epp_error err{sizeof(epp_error), EPP_OK, {}};
      void* const self = plugin.self(0);
      if (const auto* filter = instance.Get<epp_filter>(EPP_FILTER_ID)) {
        std::vector<uint64_t> keep(n / 64 + 1);
        const epp_candidates* in = context.candidates->View(plugin, arena);
        const InFlight inside(plugin.guard(), Entry::kFilter, 0);
        filter->filter(self, &call, in, keep.data(), &err);
      }
      if (const auto* scorer = instance.Get<epp_scorer>(EPP_SCORER_ID)) {
        std::vector<double> out(n + 1);
        const epp_candidates* in = context.candidates->View(plugin, arena);
        const InFlight inside(plugin.guard(), Entry::kScorer, 0);
        scorer->score(self, &call, in, out.data(), &err);
      }
      if (const auto* decider = instance.Get<epp_decider>(EPP_DECIDER_ID)) {
        uint32_t yes = 0;
        const std::vector<uint64_t> first(n / 64 + 1, 0);
        scheduling::CandidateList* nobody = context.candidates->Keep(first.data(), arena);
        const InFlight inside(plugin.guard(), Entry::kDecider, 0);
        decider->decide(self, &call, nobody->View(plugin, arena), &yes, &err);
      }
      const auto* picker = instance.Get<epp_picker>(EPP_PICKER_ID);
      if (picker != nullptr && n > 0) {
        std::vector<uint32_t> picks(n);
        uint32_t count = 0;
        const std::vector<double> totals(n, 0.5);
        const epp_candidates* in = context.candidates->View(plugin, arena);
        const InFlight inside(plugin.guard(), Entry::kPicker, 0);
        picker->pick(self, &call, in, totals.data(), picks.data(), &count, &err);
      }
    }
    context.Release();
  }

  void Scrape() {
    scrape::Sink sink;
    const auto frame = platform_.pool().current();
    for (const runtime::DataSource& source : generation_->sources()) {
      const std::string_view payload(source.plan.payload.data, source.plan.payload.size);
      std::string body(payload == "openai-models" ? kModels : kPage);
      const size_t size = body.size();
      body.append(64, '\0');
      for (const runtime::Extractor& from : source.extractors) {
        const scrape::Extractor extractor{std::string(from.instance->type().name()),
                                          from.instance->self(),
                                          from.table,
                                          from.attributes,
                                          from.types,
                                          generation_,
                                          &from.instance->guard()};
        for (const auto& endpoint : frame->owners()) {
          epp_scrape in{};
          in.struct_size = sizeof(in);
          in.endpoint = &endpoint->abi();
          in.body = {body.data(), size};
          in.content_type = Str("text/plain");
          in.now_ns = Clock::Real().mono_ns();
          epp_error err{sizeof(epp_error), EPP_OK, {}};
          sink.Clear();
          const epp_sink* out = sink.For(extractor);
          {
            const InFlight inside(*extractor.guard, Entry::kScraper, 0);
            extractor.table->scrape(extractor.self, &in, out, &err);
          }
          platform_.pool().Update(endpoint->abi().id, sink.values(), true);
        }
      }
    }
  }

  Platform& platform_;
  std::shared_ptr<runtime::Generation> generation_;
  request::ServingSlot serving_;
  telemetry::DecisionRings rings_;
  BlockCache blocks_;
  const NoMetadata metadata_;
};

}  // namespace

void Drive(Platform& platform, std::unique_ptr<runtime::Generation> generation,
           const std::function<void(const runtime::Generation&)>& before_end) {
  Driver driver(platform, std::move(generation));
  driver.Run();
  before_end(driver.generation());
  driver.Destroy();
}

}  // namespace epp::serve
