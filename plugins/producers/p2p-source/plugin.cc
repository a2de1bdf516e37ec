// p2p-source-producer: names an endpoint from which the prompt's KV cache can be fetched.
//
//   tokens[i] = blocks[i] * B        blocks in CPU memory when tiers are known, else all cached
//   ones sources   = those with tokens > 0 and tokens + B >= max(tokens)
//
// One of the sources is drawn by the hash of the request's id, with weight 1 / (1 + queue). Before
// the request is sent on, a header names it, unless it is where the prompt is computed, or would
// save less than minCachedTokenDelta tokens.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "plugins/common/attributes.hpp"

namespace {

constexpr const char* kPrefixParam = "prefixMatchInfoProducerName";
constexpr std::string_view kHeader = "x-kv-cache-source-host-port";
constexpr int64_t kMaxTokens = int64_t{1} << 40;

// Of the source, for other plugins: its id and the tokens that it holds.
constexpr epp::AttributeKind kBestEndpoint{"best-match.endpoint", EPP_T_I64, EPP_SCOPE_REQUEST};
constexpr epp::AttributeKind kBestTokens{"best-match.tokens", EPP_T_I64, EPP_SCOPE_REQUEST};

uint32_t Fnv1a(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

// What producers say of the prompt's cache.
class Cached {
 public:
  Cached(const epp::Call& call, const epp::Candidates& in)
      : match_(in.column<int64_t>(0)),
        cached_(in.column<int64_t>(1)),
        cpu_(in.column<int64_t>(2)),
        block_(std::clamp<int64_t>(call.column<int64_t>(0)[0], 0, kMaxTokens)) {}
  int64_t block() const { return block_; }
  // Tokens that others can fetch from candidate i.
  int64_t ToFetch(size_t i) const { return Tokens(cpu_.has(i) ? cpu_[i] : Blocks(i)); }
  // Tokens that candidate i need not compute.
  int64_t Held(size_t i) const { return Tokens(Blocks(i)); }

 private:
  int64_t Blocks(size_t i) const { return cached_.has(i) ? cached_[i] : match_[i]; }
  int64_t Tokens(int64_t blocks) const {
    int64_t tokens = 0;
    if (blocks <= 0 || __builtin_mul_overflow(blocks, block_, &tokens)) return 0;
    return std::min(tokens, kMaxTokens);
  }

  const epp::Column<int64_t> match_;
  const epp::Column<int64_t> cached_;
  const epp::Column<int64_t> cpu_;
  const int64_t block_;
};

class P2pSourceProducer {
 public:
  static constexpr const char* kName = "p2p-source-producer";
  static constexpr const char* kDoc =
      "Names an endpoint from which the one that computes the prompt can fetch its KV cache.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr std::array kParams{
      epp::Plugin(kPrefixParam, nullptr, "Producer of the match information."),
      epp::Int("minCachedTokenDelta", 1, 1, 0x1p40,
               "Tokens that the source must have more than the endpoint that computes."),
      epp::String("prefillProfileName", "prefill",
                  "Profile whose endpoint computes the prompt, when it ran.")};
  static constexpr std::array kConsumes{
      epp::Needs(epp::attr::kPrefixMatchBlocks).From(kPrefixParam),
      epp::Uses(epp::common::kPrefixCachedBlocks).From(kPrefixParam),
      epp::Uses(epp::common::kPrefixCpuBlocks).From(kPrefixParam),
      epp::Uses(epp::attr::kWaitingQueueSize),
      epp::Needs(epp::attr::kPrefixBlockSize).From(kPrefixParam)};
  static constexpr std::array kProduces{epp::Makes(kBestEndpoint), epp::Makes(kBestTokens)};

  static epp::Result<P2pSourceProducer> Create(const epp::Context& ctx) {
    return P2pSourceProducer(ctx.i64(1), std::string(ctx.str(2)));
  }

  epp::Status Produce(const epp::Call& call, const epp::Candidates& in, epp::Outputs& out) const {
    const Cached cached(call, in);
    int64_t most = 0;
    for (size_t i = 0; i < in.size(); ++i) most = std::max(most, cached.ToFetch(i));
    if (most == 0) return None(out);

    const auto queue = in.column<int64_t>(3);
    const auto is_source = [&](size_t i) {
      const int64_t tokens = cached.ToFetch(i);
      return tokens > 0 && tokens + cached.block() >= most;
    };
    const auto weight = [&](size_t i) {
      return 1.0 / (1.0 + static_cast<double>(std::max<int64_t>(queue[i], 0)));
    };
    double sum = 0;
    for (size_t i = 0; i < in.size(); ++i) sum += is_source(i) ? weight(i) : 0.0;
    double target = Fnv1a(epp::View(call.request().request_id)) * 0x1p-32 * sum;
    size_t chosen = in.size();
    for (size_t i = 0; i < in.size(); ++i) {
      if (!is_source(i)) continue;
      chosen = i;
      if (target < weight(i)) break;
      target -= weight(i);
    }

    auto* const source = call.Alloc<Source>();
    if (source == nullptr) return None(out);
    *source = {&in.endpoint(chosen), cached.ToFetch(chosen)};
    call.state<Source>() = source;
    out.Set<int64_t>(0, static_cast<int64_t>(source->endpoint->id));
    out.Set<int64_t>(1, source->tokens);
    return {};
  }

  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling& done,
                         const epp::Candidates& in, const epp::Editor& edit) const {
    edit.RemoveHeader(kHeader);  // the client does not say
    const Source* const source = std::exchange(call.state<Source>(), nullptr);
    if (source == nullptr) return {};
    size_t profile = done.Find(prefill_);
    if (profile == done.size() || !done.ok(profile)) profile = done.primary();
    if (profile >= done.size() || !done.ok(profile)) return {};
    const epp_profile_result& computes = done.result(profile);
    if (computes.targets[0]->id == source->endpoint->id) return {};
    const int64_t held = Cached(call, in).Held(computes.target_rows[0]);
    if (source->tokens - held < min_delta_) return {};
    edit.SetHeader(kHeader, epp::View(source->endpoint->host_port));
    return {};
  }

 private:
  struct Source {
    const epp_endpoint* endpoint = nullptr;
    int64_t tokens = 0;
  };
  P2pSourceProducer(int64_t min_delta, std::string prefill)
      : min_delta_(min_delta), prefill_(std::move(prefill)) {}
  static epp::Status None(const epp::Outputs& out) {
    out.ClearRequest(0);
    out.ClearRequest(1);
    return {};
  }

  int64_t min_delta_;
  std::string prefill_;
};

}  // namespace

EPP_LIBRARY("p2p-source-producer", "0.1.0", P2pSourceProducer)
