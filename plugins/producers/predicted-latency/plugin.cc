// predicted-latency-producer: asks a latency model what the request would take on every endpoint,
// compares that with the request's objectives, and teaches the model what it took in fact.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plugins/common/attributes.hpp"
#include "plugins/common/scorer_attributes.hpp"
#include "plugins/producers/predicted-latency/metrics.h"
#include "plugins/producers/predicted-latency/predictor.h"
#include "plugins/producers/predicted-latency/running.h"

namespace {

using epp::latency::Features;
using epp::latency::Metrics;
using epp::latency::Prediction;
using epp::latency::Predictor;
using epp::latency::Running;
using epp::latency::ServerSettings;

constexpr const char* kPrefixParam = "prefixMatchInfoProducerName";
constexpr const char* kLoadParam = "inFlightLoadProducerName";
constexpr const char* kEncoderParam = "encoderCacheMatchInfoProducerName";
constexpr std::string_view kPrefillProfile = "prefill";
constexpr size_t kMaxModelLabel = 256;

// Milliseconds; what is no number counts as 0.
double Objective(const epp::Call& call, std::string_view name, std::string_view old_name) {
  auto text = call.header(name);
  if (!text) text = call.header(old_name);
  if (!text) return 0;
  double value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  return error == std::errc() && end == text->data() + text->size() ? value : 0;
}

// Of the request phase, by row.
struct Asked {
  std::pair<double, double>* values;  // [rows] predictions in ms; null: there are none
  uint32_t rows;
  double call_seconds;
};

// Of one request that was sent on.
struct Sent {
  uint64_t number;  // among the running; 0: not counted
  uint64_t at_ns;
  uint64_t first_ns;  // 0: nothing came yet
  uint64_t chunks;
  double ttft_slo, tpot_slo;
  Features decode, prefill;
  epp_str target_model;
};
// A slot holds one after the other.
struct State {
  Asked asked;
  Sent* sent;
};

class PredictedLatencyProducer {
 public:
  static constexpr const char* kName = "predicted-latency-producer";
  static constexpr const char* kDoc =
      "Asks a latency model what the request would take on every endpoint, and teaches it.";
  static constexpr uint32_t kWants = EPP_WANT_FIRST | EPP_WANT_CHUNKS | EPP_WANT_END;
  static constexpr uint32_t kOnProduceFailure = EPP_ASYNC_FAIL_SKIP;
  static constexpr std::array kParams{
      epp::Float("sloBufferFactor", 1, 0, 1e6, "Share of a TPOT objective that may be used up."),
      epp::Int("contextTTL", 300'000'000'000, 1, 0x1p62,
               "Nanoseconds after which a request that still runs is forgotten."),
      epp::Bool("streamingMode", false, "Responses are streamed: the first chunk ends the TTFT."),
      epp::String("endpointRoleLabel", "", "Label of endpoints that says what they do."),
      epp::Bool("predictInProduce", true, "Ask the model; false: only teach it."),
      epp::Plugin(kPrefixParam, nullptr, "Producer of the prefix match information."),
      epp::Plugin(kLoadParam, nullptr, "Producer of the load in flight."),
      epp::Bool("useEncoderCacheFeatures", false, "Tell the model of cached multimodal items."),
      epp::Plugin(kEncoderParam, nullptr, "Producer of the encoder cache information."),
      epp::Float("samplingMean", 1000, -epp::detail::kInf, epp::detail::kInf, "Has no effect.")
          .Ignored(),
      epp::Int("maxDecodeTokenSamplesForPrediction", 0, -0x1p63, 0x1p63, "Has no effect.")
          .Ignored()};
  static constexpr std::array kConsumes{
      epp::Uses(epp::attr::kKvCacheUsage),
      epp::Uses(epp::attr::kWaitingQueueSize),
      epp::Uses(epp::attr::kRunningRequestsSize),
      epp::Needs(epp::attr::kPrefixMatchBlocks).From(kPrefixParam),
      epp::Needs(epp::attr::kInflightRequests).From(kLoadParam),
      epp::Needs(epp::attr::kInflightTokens).From(kLoadParam),
      epp::Uses(epp::common::kEncoderMatchedSize).From(kEncoderParam),
      epp::Needs(epp::attr::kTokenizedPrompt),
      epp::Needs(epp::attr::kPrefixTotalBlocks).From(kPrefixParam),
      epp::Uses(epp::common::kEncoderRequestSize).From(kEncoderParam)};
  static constexpr std::array kProduces{
      epp::Makes(epp::common::kLatencyTtftValid),    epp::Makes(epp::common::kLatencyTpotValid),
      epp::Makes(epp::common::kLatencyTtftHeadroom), epp::Makes(epp::common::kLatencyTpotHeadroom),
      epp::Makes(epp::common::kLatencyTtft),         epp::Makes(epp::common::kLatencyTpot),
      epp::Makes(epp::common::kLatencyDispatched)};

  static epp::Result<PredictedLatencyProducer> Create(const epp::Context& ctx) {
    if (!(ctx.f64(0) > 0)) return epp::Status::Invalid("sloBufferFactor: want more than 0");
    return std::make_unique<PredictedLatencyProducer>(ctx);
  }

  explicit PredictedLatencyProducer(const epp::Context& ctx)
      : host_(ctx.host()),
        factor_(ctx.f64(0)),
        streaming_(ctx.flag(2)),
        role_label_(ctx.str(3)),
        predict_(ctx.flag(4)),
        encoder_(ctx.flag(7)),
        metrics_(ctx),
        running_(static_cast<uint64_t>(ctx.i64(1))),
        predictor_(std::make_shared<Predictor>(ctx.host(), ServerSettings::FromEnvironment())) {}

  // ---- before the request is scheduled ----

  struct Operation {
    std::shared_ptr<Prediction> prediction = std::make_shared<Prediction>();
    uint64_t began_ns = 0;
  };

  epp::Status StartProduce(const epp::Call& call, const epp::Candidates& in,
                           const epp::Outputs& out, epp::Completion done,
                           std::shared_ptr<Operation>& operation) const {
    const uint64_t most = predictor_->settings().max_bulk;
    if (!predict_ || in.size() == 0 || in.size() > most || !HasMetrics(in)) {
      return Nothing(in, out);
    }
    if (!predictor_->ok()) return {EPP_UNAVAILABLE, "this host has no HTTP client"};
    auto made = std::make_shared<Operation>();
    made->began_ns = host_.mono_ns();
    Prediction& prediction = *made->prediction;
    prediction.count = in.size();
    prediction.done = done;
    for (size_t i = 0; i < in.size(); ++i) {
      if (i > 0) prediction.rows += ',';
      epp::latency::AppendFeatures(FeaturesOf(call, in, i), prediction.rows);
    }
    operation = made;
    predictor_->Predict(made->prediction);
    return {};
  }

  epp::Status FinishProduce(Operation& operation, const epp::Call& call, const epp::Candidates& in,
                            const epp::Outputs& out) {
    const std::vector<std::pair<double, double>>& values = operation.prediction->values;
    if (values.size() != in.size()) return Nothing(in, out);
    const double ttft_slo = TtftSlo(call), tpot_slo = TpotSlo(call);
    for (size_t i = 0; i < in.size(); ++i) {
      const auto [ttft, tpot] = values[i];
      const Running::Load load = running_.Read(in.endpoint(i).id);
      out.column<uint8_t>(0)[i] = ttft < ttft_slo;
      out.column<double>(2)[i] = ttft_slo - ttft;
      bool valid = true;
      double headroom = 0;
      const bool prefill = !role_label_.empty() && Role(in.endpoint(i)) == "prefill";
      if (streaming_ && !prefill) {
        double limit = tpot_slo * factor_;
        if (load.tightest_ms > 0) limit = std::min(limit, load.tightest_ms * factor_);
        valid = tpot < limit;
        headroom = limit - tpot;
      }
      out.column<uint8_t>(1)[i] = valid;
      out.column<double>(3)[i] = headroom;
      out.column<double>(4)[i] = ttft;
      out.column<double>(5)[i] = tpot;
      out.column<int64_t>(6)[i] = load.requests;
    }
    auto* const state = call.Keep<State>();
    if (state == nullptr) return {};
    state->asked.values = call.Alloc<std::pair<double, double>>(values.size());
    if (state->asked.values == nullptr) return {};
    std::copy(values.begin(), values.end(), state->asked.values);
    state->asked.rows = static_cast<uint32_t>(values.size());
    state->asked.call_seconds = static_cast<double>(host_.mono_ns() - operation.began_ns) * 1e-9;
    call.state<State>() = state;
    return {};
  }

  // ---- afterwards ----

  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling& scheduling,
                         const epp::Candidates& in, epp::Editor&) {
    State* state = call.state<State>();
    const Asked asked = state ? std::exchange(state->asked, {}) : Asked{};
    const uint32_t primary = scheduling.primary();
    if (primary >= scheduling.size() || !scheduling.ok(primary)) return {};
    const epp_profile_result& result = scheduling.result(primary);
    const uint32_t row = result.target_rows[0];
    if (row >= in.size()) return {};
    if (state == nullptr) state = call.Keep<State>();
    auto* const sent = call.Keep<Sent>();
    const std::string_view model = epp::View(call.request().target_model).substr(0, kMaxModelLabel);
    char* const text = call.Keep<char>(model.size() + 1);
    if (state == nullptr || sent == nullptr || text == nullptr) {
      return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    }
    std::memcpy(text, model.data(), model.size());
    sent->target_model = {text, model.size()};
    sent->at_ns = call.now_ns();
    sent->ttft_slo = TtftSlo(call);
    sent->tpot_slo = TpotSlo(call);
    sent->decode = sent->prefill = Kept(call, FeaturesOf(call, in, row));
    const size_t prefill = scheduling.Find(kPrefillProfile);
    if (prefill < scheduling.size() && prefill != primary && scheduling.ok(prefill) &&
        scheduling.result(prefill).target_rows[0] < in.size()) {
      sent->prefill = Kept(call, FeaturesOf(call, in, scheduling.result(prefill).target_rows[0]));
    }
    sent->number = running_.Add(result.targets[0]->id, sent->tpot_slo, call.now_ns());
    if (asked.values != nullptr && row < asked.rows) {
      metrics_.Predicted(model, asked.values[row].first * 1e-3, asked.values[row].second * 1e-3,
                         asked.call_seconds);
    }
    state->sent = sent;
    call.state<State>() = state;
    return {};
  }

  epp::Status OnBody(const epp::Call& call, const epp_response_event& event, epp::Editor&) {
    State* const state = call.state<State>();
    if (state == nullptr || state->sent == nullptr) return {};
    Sent& sent = *state->sent;
    const bool last = event.flags & EPP_CHUNK_LAST;
    if (event.bytes.size > 0) ++sent.chunks;
    if (sent.first_ns == 0 && (streaming_ ? event.bytes.size > 0 : last)) {
      sent.first_ns = call.now_ns();
    }
    if (!last) return {};
    running_.Remove(sent.number);
    state->sent = nullptr;
    if (event.end != EPP_END_NATURAL || sent.first_ns == 0) return {};
    const double ttft_ms = static_cast<double>(sent.first_ns - sent.at_ns) * 1e-6;
    const std::string_view model = epp::View(sent.target_model);
    metrics_.Ttft(model, ttft_ms * 1e-3, sent.ttft_slo * 1e-3);
    predictor_->Teach(sent.prefill, ttft_ms, 0);
    if (!streaming_ || sent.chunks < 2) return {};
    const double total_ms = static_cast<double>(call.now_ns() - sent.at_ns) * 1e-6;
    const double tpot_ms = (total_ms - ttft_ms) / static_cast<double>(sent.chunks - 1);
    metrics_.Tpot(model, tpot_ms * 1e-3, sent.tpot_slo * 1e-3);
    sent.decode.prefix_score = 0;
    predictor_->Teach(sent.decode, 0, tpot_ms);
    return {};
  }

  void Upserted(const epp_endpoint&) {}
  void Removed(const epp_endpoint& endpoint) { running_.Forget(endpoint.id); }

 private:
  static double TtftSlo(const epp::Call& call) {
    return Objective(call, "x-llm-d-slo-ttft-ms", "x-slo-ttft-ms");
  }
  static double TpotSlo(const epp::Call& call) {
    return Objective(call, "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms");
  }

  static epp::Status Nothing(const epp::Candidates& in, const epp::Outputs& out) {
    for (size_t a = 0; a < kProduces.size(); ++a) {
      for (size_t i = 0; i < in.size(); ++i) out.Clear(a, i);
    }
    return {};
  }

  static bool HasMetrics(const epp::Candidates& in) {
    const auto kv = in.column<double>(0);
    const auto waiting = in.column<int64_t>(1);
    for (size_t i = 0; i < in.size(); ++i) {
      if (!kv.has(i) || !waiting.has(i)) return false;
    }
    return true;
  }

  std::string_view Role(const epp_endpoint& endpoint) const {
    return epp::Label(endpoint, role_label_);
  }

  Features FeaturesOf(const epp::Call& call, const epp::Candidates& in, size_t i) const {
    Features f;
    f.kv_usage = in.column<double>(0)[i];
    f.waiting = in.column<int64_t>(1)[i];
    const auto load = in.column<int64_t>(4);
    f.running = load.has(i) ? load[i] : in.column<int64_t>(2)[i];
    f.prefill_tokens = in.column<int64_t>(5)[i];
    const int64_t total = call.column<int64_t>(1)[0];
    if (total > 0) {
      f.prefix_score = static_cast<double>(in.column<int64_t>(3)[i]) / static_cast<double>(total);
    }
    const auto* const prompt =
        static_cast<const epp_tokenized_prompt*>(call.column<const void*>(0)[0]);
    if (prompt != nullptr) {
      f.input_tokens = static_cast<int64_t>(prompt->offsets[prompt->prompt_count]);
    }
    if (encoder_) {
      f.encoder_input = call.column<int64_t>(2)[0];
      f.encoder_matched = in.column<int64_t>(6)[i];
    }
    if (!role_label_.empty()) f.pod_type = epp::Str(Role(in.endpoint(i)));
    return f;
  }

  // With texts that outlive the frame.
  static Features Kept(const epp::Call& call, Features f) {
    if (f.pod_type.size == 0) return f;
    char* const text = call.Keep<char>(f.pod_type.size);
    if (text == nullptr) {
      f.pod_type = {nullptr, 0};
      return f;
    }
    std::memcpy(text, f.pod_type.data, f.pod_type.size);
    f.pod_type.data = text;
    return f;
  }

  const epp::Host host_;
  const double factor_;
  const bool streaming_;
  const std::string role_label_;
  const bool predict_;
  const bool encoder_;
  const Metrics metrics_;
  Running running_;
  const std::shared_ptr<Predictor> predictor_;
};

}  // namespace

EPP_LIBRARY("predicted-latency-producer", "0.1.0", PredictedLatencyProducer)
