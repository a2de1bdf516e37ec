// inflight-load-producer: requests and tokens that this process has sent to each endpoint and that
// have not ended there.
//
// PreRequest counts the request on the first target of every profile. Tokens come off with the
// first response chunk when they stand for the prompt alone, else with the end; a prefill target is
// done with the first chunk. What is left comes off with the end. See estimate.h for the numbers.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "counters.h"
#include "estimate.h"
#include "gauges.h"
#include "plugins/common/json.hpp"
#include "state.h"

namespace {

using epp::inflight::Counters;
using epp::inflight::Gauges;
using epp::inflight::Load;

constexpr const char* kProducerParam = "prefixMatchInfoProducerName";
constexpr std::string_view kPrefillProfile = "prefill";
constexpr size_t kMaxGaugeEntries = 16384;
constexpr size_t kMaxDumped = 100;

// One target of one request, and what is still counted for it.
struct Held {
  uint64_t id;
  uint32_t slot;
  bool prefill;
  bool counted;  // by the counters; the endpoint may have left before
  bool request;
  int64_t tokens;
  Gauges::Entry* gauge;
};

// In the request's memory.
struct RequestState {
  Held* held;
  uint32_t count;
};

class InflightLoadProducer {
 public:
  static constexpr const char* kName = "inflight-load-producer";
  static constexpr const char* kDoc =
      "Counts the requests and tokens in flight on every endpoint, and what the request would add.";
  static constexpr std::array kParams{
      epp::Bool("addEstimatedOutputTokens", false, "Count estimated output tokens too."),
      epp::Float("outputRatio", 1.5, 0, 1e9, "Estimated output tokens per input token."),
      epp::Int("maxEstimatedOutputTokens", 0, 0, 0x1p63, "Limit of the estimate.").Unset(),
      epp::Plugin(kProducerParam, nullptr, "Producer of the prefix match information."),
      epp::Bool("syncCrossReplicaState", true, "Has no effect: replicas do not share loads.")
          .Ignored()};
  static constexpr std::array kConsumes{
      epp::Needs(epp::attr::kTokenizedPrompt),
      epp::Uses(epp::attr::kPrefixMatchBlocks).From(kProducerParam),
      epp::Uses(epp::attr::kPrefixTotalBlocks).From(kProducerParam),
      epp::Uses(epp::attr::kPrefixBlockSize).From(kProducerParam)};
  static constexpr std::array kProduces{epp::Makes(epp::attr::kInflightRequests),
                                        epp::Makes(epp::attr::kInflightTokens),
                                        epp::Makes(epp::attr::kUncachedRequestTokens)};
  static constexpr uint32_t kStateVersion = 1;
  static constexpr bool kStateFollows = true;  // what began on the old instance ends there
  static constexpr uint32_t kWants = EPP_WANT_FIRST | EPP_WANT_END;

  static epp::Result<InflightLoadProducer> Create(const epp::Context& ctx) {
    return std::make_unique<InflightLoadProducer>(ctx);
  }

  explicit InflightLoadProducer(const epp::Context& ctx)
      : add_output_(ctx.flag(0)),
        output_{ctx.f64(1), ctx.has(2) ? ctx.i64(2) : -1},
        host_(ctx.host()),
        gauges_(ctx, kMaxGaugeEntries) {}

  epp::Status Produce(const epp::Call& call, const epp::Candidates& in, epp::Outputs& out) const {
    const std::span<int64_t> requests = out.column<int64_t>(0);
    const std::span<int64_t> tokens = out.column<int64_t>(1);
    const std::span<int64_t> uncached = out.column<int64_t>(2);
    const Prompt prompt(call, in);
    for (size_t i = 0; i < in.size(); ++i) {
      const Load load = counters_.Read(in.slot(i), in.endpoint(i).id);
      requests[i] = load.requests;
      tokens[i] = load.tokens;
      uncached[i] = Cost(call, prompt, i);
    }
    return {};
  }

  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling& scheduling,
                         const epp::Candidates& in, epp::Editor&) {
    auto* const state = call.Keep<RequestState>();
    Held* const held = call.Keep<Held>(scheduling.size());
    if (state == nullptr || held == nullptr) {
      return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    }
    *state = {held, 0};
    const Prompt prompt(call, in);
    for (size_t i = 0; i < scheduling.size(); ++i) {
      if (!scheduling.ok(i)) continue;
      const epp_profile_result& result = scheduling.result(i);
      const epp_endpoint& target = *result.targets[0];
      const int64_t tokens = Cost(call, prompt, result.target_rows[0]);
      const epp_request& request = call.request();
      held[state->count++] = {target.id,
                              target.slot,
                              scheduling.name(i) == kPrefillProfile,
                              counters_.Add(target.slot, target.id, {1, tokens}),
                              true,
                              tokens,
                              gauges_.Add(epp::View(target.name), epp::View(request.fairness_id),
                                          request.priority, {1, tokens})};
    }
    call.state<RequestState>() = state;
    return {};
  }

  epp::Status OnBody(const epp::Call& call, const epp_response_event& event, epp::Editor&) {
    RequestState* const state = call.state<RequestState>();
    if (state == nullptr) return {};
    for (Held& h : std::span(state->held, state->count)) {
      if (event.flags & EPP_CHUNK_LAST) {
        Release(h, true);
      } else if (event.flags & EPP_CHUNK_FIRST) {
        if (h.prefill || !add_output_) Release(h, h.prefill);
      }
    }
    return {};
  }

  void Upserted(const epp_endpoint& endpoint) {
    if (!counters_.Register(endpoint.slot, endpoint.id, epp::View(endpoint.name))) {
      host_.Log(EPP_LOG_WARN, "too many endpoints, the load of one is not counted");
    }
  }

  void Removed(const epp_endpoint& endpoint) { counters_.Unregister(endpoint.slot, endpoint.id); }

  epp::Status SaveState(std::string& out) const {
    epp::inflight::Save(counters_.NonZero(), gauges_.NonZero(), &out);
    return {};
  }
  epp::Status LoadState(uint32_t version, std::string_view bytes) {
    std::vector<Counters::Known> counts;
    std::vector<Gauges::Known> gauges;
    if (version != kStateVersion) {
      return epp::Status::Invalid("the counts have version " + std::to_string(version) + ", want " +
                                  std::to_string(kStateVersion));
    }
    if (!epp::inflight::Parse(bytes, &counts, &gauges)) {
      return epp::Status::Invalid("the counts are malformed");
    }
    counters_.Inherit(counts);
    gauges_.Inherit(gauges);
    return {};
  }

  // {"endpoints":[{"endpoint":"ns/a","requests":1,"tokens":12}],"total":1,"truncated":false}
  epp::Status Dump(std::string& out) const {
    std::vector<Counters::Named> all = counters_.All();
    const size_t shown = std::min(all.size(), kMaxDumped);
    std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(shown), all.end(),
                      [](const auto& a, const auto& b) {
                        if (a.load.requests != b.load.requests) {
                          return a.load.requests > b.load.requests;
                        }
                        if (a.load.tokens != b.load.tokens) return a.load.tokens > b.load.tokens;
                        return a.name < b.name;
                      });
    out = "{\"endpoints\":[";
    for (size_t i = 0; i < shown; ++i) {
      out += i == 0 ? "{\"endpoint\":" : ",{\"endpoint\":";
      epp::common::AppendJsonString(&out, all[i].name);
      out += ",\"requests\":" + std::to_string(all[i].load.requests) +
             ",\"tokens\":" + std::to_string(all[i].load.tokens) + "}";
    }
    out += "],\"total\":" + std::to_string(all.size()) +
           ",\"truncated\":" + (shown < all.size() ? "true" : "false") + "}";
    return {};
  }

 private:
  // What the request columns say about the prompt.
  struct Prompt {
    Prompt(const epp::Call& call, const epp::Candidates& in)
        : match(in.column<int64_t>(0)),
          prefix_known(call.column<int64_t>(1).has(0) && call.column<int64_t>(2).has(0)),
          total_blocks(call.column<int64_t>(1)[0]),
          block_tokens(call.column<int64_t>(2)[0]) {
      const auto* const tokenized =
          static_cast<const epp_tokenized_prompt*>(call.column<const void*>(0)[0]);
      if (tokenized != nullptr && tokenized->prompt_count > 0) {
        input = static_cast<int64_t>(tokenized->offsets[tokenized->prompt_count] -
                                     tokenized->offsets[0]);
      }
    }

    epp::Column<int64_t> match;
    bool prefix_known;
    int64_t total_blocks;
    int64_t block_tokens;
    int64_t input = 0;  // tokens
  };

  // Tokens that the request costs candidate i.
  int64_t Cost(const epp::Call& call, const Prompt& p, size_t i) const {
    std::optional<epp::inflight::PrefixMatch> prefix;
    if (p.prefix_known && i < p.match.size() && p.match.has(i)) {
      prefix = {p.match[i], p.total_blocks, p.block_tokens};
    }
    int64_t tokens = epp::inflight::UncachedTokens(p.input, prefix);
    if (add_output_) {
      const epp_parsed* const parsed = call.request().parsed;
      tokens += epp::inflight::OutputTokens(
          p.input, parsed == nullptr ? -1 : parsed->max_output_tokens, output_);
    }
    return tokens;
  }

  // Takes back the tokens, and the request too if `whole`; each once.
  void Release(Held& h, bool whole) {
    const Load back{whole && h.request ? 1 : 0, h.tokens};
    if (back.requests == 0 && back.tokens == 0) return;
    if (h.counted) counters_.Add(h.slot, h.id, {-back.requests, -back.tokens});
    gauges_.Subtract(h.gauge, back, back.requests != 0);
    h.tokens = 0;
    h.request = h.request && !whole;
  }

  const bool add_output_;
  const epp::inflight::OutputRule output_;
  const epp::Host host_;
  Counters counters_;  // thread-safe
  Gauges gauges_;      // thread-safe
};

}  // namespace

EPP_LIBRARY("inflight-load-producer", "0.1.0", InflightLoadProducer)
