// approx-prefix-cache-producer: guesses what each endpoint's prefix cache holds from what has been
// sent there.
//
// Produce hashes the prompt in blocks and looks them up; PreRequest records the blocks for the
// endpoints that the request goes to. See hashing.h for the hashes and index.h for the index.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hashing.h"
#include "plugins/common/bytes.hpp"
#include "plugins/common/json.hpp"
#include "plugins/common/prefix_index/index.h"

namespace {

using epp::prefix_index::Index;
using epp::prefix_index::LookupScratch;

constexpr int64_t kMinBlockTokens = 64;
constexpr int64_t kDefaultBlockTokens = 16;
constexpr int64_t kDefaultCapacity = 31250;                // blocks an endpoint
constexpr uint64_t kMaxRequestBlocks = uint64_t{1} << 20;  // of all prompts; 8 MiB of hashes
constexpr uint64_t kBytesPerToken = 4;
constexpr std::string_view kPrefillProfile = "prefill";
constexpr size_t kMaxDumped = 100;

struct Settings {
  bool auto_tune;
  int64_t block_tokens;
  int64_t max_tokens;  // 0: max_blocks counts
  int64_t max_blocks;  // 0 or less: unlimited
  int64_t capacity;    // blocks an endpoint
};

// What one request carries from Produce to PreRequest. In the request's memory.
struct Prompts {
  uint64_t* hashes;   // [total]
  uint32_t* lengths;  // [prompt_count] blocks
  uint32_t* match;    // [candidates] blocks
  uint32_t prompt_count;
  uint32_t candidates;
  uint64_t total;
  uint64_t block_tokens;
};

struct Metrics {
  epp::Series size;
  epp::Series hit_ratio;
  epp::Series hit_bytes;
  epp::Series bytes;
  epp::Series blocks;
  epp::Series evictions;

  Metrics(const epp::Context& ctx, std::string_view type, uint64_t limit_bytes) {
    const epp_host* const host = ctx.host().raw();
    const std::array<std::string_view, 2> names{"plugin_name", "plugin_type"};
    const std::array<std::string_view, 2> values{ctx.name(), type};
    const std::array<std::string_view, 1> own_names{"plugin"};
    const std::array<std::string_view, 1> own_values{ctx.name()};
    constexpr std::array kRatios{0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0};
    constexpr std::array kBytes{0.0,    16.0,   32.0,   64.0,   128.0,   256.0,   512.0,
                                1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0};
    size = epp::Metric(host, EPP_METRIC_GAUGE, "llm_d_epp_prefix_indexer_size",
                       "Blocks in the approximate prefix index, over all endpoints.", names)
               .With(values);
    hit_ratio =
        epp::Metric(host, EPP_METRIC_HISTOGRAM, "llm_d_epp_prefix_indexer_hit_ratio",
                    "Share of the prompt's blocks matched on the chosen endpoint.", names, kRatios)
            .With(values);
    hit_bytes = epp::Metric(host, EPP_METRIC_HISTOGRAM, "llm_d_epp_prefix_indexer_hit_bytes",
                            "Bytes of the prompt matched on the chosen endpoint.", names, kBytes)
                    .With(values);
    bytes = epp::Metric(host, EPP_METRIC_GAUGE, "epp_prefix_index_bytes",
                        "Memory of the prefix index.", own_names)
                .With(own_values);
    blocks = epp::Metric(host, EPP_METRIC_GAUGE, "epp_prefix_index_blocks",
                         "Blocks in the prefix index, over all endpoints.", own_names)
                 .With(own_values);
    evictions = epp::Metric(host, EPP_METRIC_COUNTER, "epp_prefix_index_evictions_total",
                            "Blocks that had to go for newer ones.", own_names)
                    .With(own_values);
    epp::Metric(host, EPP_METRIC_GAUGE, "epp_prefix_index_limit_bytes",
                "Most memory that the prefix index may take.", own_names)
        .With(own_values)
        .Add(static_cast<double>(limit_bytes));
  }
};

class ApproxPrefixCacheProducer {
 public:
  static constexpr const char* kName = "approx-prefix-cache-producer";
  static constexpr const char* kDoc =
      "Estimates how much of the prompt each endpoint has cached, from what was sent there before.";
  static constexpr std::array kParams{
      epp::Bool("autoTune", true, "Prefer the block size and cache size that endpoints report."),
      epp::Int("blockSizeTokens", kDefaultBlockTokens, -0x1p63, 0x1p63,
               "Tokens a block; raised to 64."),
      epp::Int("blockSize", 0, -0x1p63, 0x1p63, "Old name of blockSizeTokens.").Deprecated(),
      epp::Int("maxPrefixTokensToMatch", 131072, 0, 0x1p63,
               "Tokens of a prompt to look at; 0: maxPrefixBlocksToMatch counts."),
      epp::Int("maxPrefixBlocksToMatch", 2048, -0x1p63, 0x1p63,
               "Blocks of a prompt to look at; 0: all.")
          .Deprecated(),
      epp::Int("lruCapacityPerServer", kDefaultCapacity, -0x1p63, 0x1p63,
               "Blocks remembered for an endpoint; 0 or less means the default."),
      epp::Int("maxIndexBytes", int64_t{256} << 20, int64_t{8} << 20, int64_t{1} << 40,
               "Most memory of the index, for all endpoints; 56 bytes a block.")};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kTokenizedPrompt),
                                        epp::Uses(epp::attr::kCacheBlockSize),
                                        epp::Uses(epp::attr::kCacheNumBlocks)};
  static constexpr std::array kProduces{epp::Makes(epp::attr::kPrefixMatchBlocks),
                                        epp::Makes(epp::attr::kPrefixTotalBlocks),
                                        epp::Makes(epp::attr::kPrefixBlockSize)};
  static constexpr uint32_t kStateVersion = 1;

  static epp::Result<ApproxPrefixCacheProducer> Create(const epp::Context& ctx) {
    return CreateAs<ApproxPrefixCacheProducer>(ctx);
  }
  template <class T>
  static epp::Result<T> CreateAs(const epp::Context& ctx) {
    Settings s{ctx.flag(0), ctx.i64(1), ctx.i64(3), ctx.i64(4), ctx.i64(5)};
    if (ctx.i64(2) > 0 && s.block_tokens == kDefaultBlockTokens) s.block_tokens = ctx.i64(2);
    if (!s.auto_tune && s.block_tokens <= 0) {
      return epp::Status::Invalid("blockSizeTokens: got " + std::to_string(s.block_tokens) +
                                  ", want more than 0 because autoTune is false");
    }
    if (s.block_tokens < kMinBlockTokens && s.block_tokens != kDefaultBlockTokens) {
      ctx.host().Log(EPP_LOG_WARN, "blockSizeTokens: " + std::to_string(s.block_tokens) +
                                       " is too small, blocks have 64 tokens");
    }
    s.block_tokens = std::max(s.block_tokens, kMinBlockTokens);
    if (s.capacity <= 0) s.capacity = kDefaultCapacity;
    return std::make_unique<T>(ctx, s, static_cast<uint64_t>(ctx.i64(6)), T::kName);
  }

  ApproxPrefixCacheProducer(const epp::Context& ctx, const Settings& settings, uint64_t limit_bytes,
                            std::string_view type)
      : settings_(settings),
        host_(ctx.host()),
        metrics_(ctx, type, limit_bytes),
        index_(limit_bytes, ctx.host().random_u64()),
        scratch_(std::make_unique<WorkerScratch[]>(ctx.host().workers())) {}

  epp::Status Produce(const epp::Call& call, const epp::Candidates& in, epp::Outputs& out) {
    const int64_t block_tokens = BlockTokens(in);
    out.Set<int64_t>(0, 0);
    out.Set<int64_t>(1, block_tokens);
    const auto* const tokenized =
        static_cast<const epp_tokenized_prompt*>(call.column<const void*>(0)[0]);
    if (tokenized == nullptr || tokenized->prompt_count == 0) return {};
    Prompts* const prompts = Hash(call, *tokenized, static_cast<uint64_t>(block_tokens));
    if (prompts == nullptr) return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    if (prompts->total == 0) return {};
    prompts->candidates = static_cast<uint32_t>(in.size());
    prompts->match = call.Alloc<uint32_t>(in.size());
    if (prompts->match == nullptr) return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};

    LookupScratch& scratch = scratch_[call.worker()].lookup;
    index_.Begin(&scratch);
    const uint64_t* hashes = prompts->hashes;
    for (uint32_t p = 0; p < prompts->prompt_count; ++p) {
      index_.Lookup({hashes, prompts->lengths[p]}, &scratch);
      hashes += prompts->lengths[p];
    }
    const std::span<int64_t> match = out.column<int64_t>(0);
    for (size_t i = 0; i < in.size(); ++i) {
      const uint32_t slot = in.slot(i);
      const uint32_t depth = slot < scratch.depth.size() ? scratch.depth[slot] : 0;
      if (depth != 0 && index_.Knows(slot, in.endpoint(i).id)) {
        match[i] = prompts->match[i] = depth;
      }
    }
    out.Set<int64_t>(0, static_cast<int64_t>(prompts->total));
    call.state<Prompts>() = prompts;
    return {};
  }

  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling& scheduling,
                         const epp::Candidates& in, epp::Editor&) {
    const Prompts* const prompts = call.state<Prompts>();
    if (prompts == nullptr) return {};
    const epp_endpoint* primary = nullptr;
    uint64_t evicted = 0;
    if (scheduling.primary() < scheduling.size() && scheduling.ok(scheduling.primary())) {
      const epp_profile_result& result = scheduling.result(scheduling.primary());
      primary = result.targets[0];
      Observe(*prompts, result.target_rows[0]);
      evicted += Record(*prompts, result, in);
    }
    const size_t prefill = scheduling.Find(kPrefillProfile);
    if (prefill < scheduling.size() && scheduling.ok(prefill) &&
        scheduling.result(prefill).targets[0] != primary) {
      evicted += Record(*prompts, scheduling.result(prefill), in);
    }
    if (evicted > 0) metrics_.evictions.Add(static_cast<double>(evicted));
    PublishSize();
    return {};
  }

  void Upserted(const epp_endpoint& endpoint) {
    if (!index_.Register(endpoint.slot, endpoint.id, epp::View(endpoint.name))) {
      host_.Log(EPP_LOG_WARN, "too many endpoints, one is left out of the prefix index");
    }
  }

  void Removed(const epp_endpoint& endpoint) {
    index_.Unregister(endpoint.slot, endpoint.id);
    PublishSize();
  }

  // What makes hashes comparable and limits meaningful, then the index.
  epp::Status SaveState(std::string& out) const {
    if (index_.blocks() == 0) return {};
    epp::common::PutBytes(&out, uint32_t{settings_.auto_tune});
    epp::common::PutBytes(&out, settings_.block_tokens);
    epp::common::PutBytes(&out, settings_.capacity);
    index_.Save(&out);
    return {};
  }

  epp::Status LoadState(uint32_t version, std::string_view bytes) {
    if (version != kStateVersion) {
      return epp::Status::Invalid("the index has version " + std::to_string(version) + ", want " +
                                  std::to_string(kStateVersion));
    }
    epp::common::ByteReader in(bytes);
    uint32_t auto_tune = 0;
    int64_t block_tokens = 0;
    int64_t capacity = 0;
    std::string_view index;
    if (!in.Get(&auto_tune) || !in.Get(&block_tokens) || !in.Get(&capacity) ||
        !in.GetRaw(bytes.size() - kStateHeader, &index)) {
      return epp::Status::Invalid("the index is cut off");
    }
    if (block_tokens != settings_.block_tokens || (auto_tune != 0) != settings_.auto_tune) {
      return epp::Status::Invalid("the index was made with " + BlockRule(auto_tune, block_tokens) +
                                  ", this instance has " +
                                  BlockRule(settings_.auto_tune, settings_.block_tokens) +
                                  ": its hashes mean nothing here");
    }
    const auto capacity_of = [&](uint32_t blocks) {
      // Another number than the parameter's came from the endpoint.
      const bool reported = settings_.auto_tune && int64_t{blocks} != capacity;
      return reported ? blocks : CapacityBlocks(settings_.capacity);
    };
    if (!index_.Load(index, capacity_of)) return epp::Status::Invalid("the index is malformed");
    PublishSize();
    return {};
  }

  // {"blocks":N,"bytes":N,"limitBytes":N,"endpoints":[{"endpoint":"ns/a","blocks":N}],...}
  epp::Status Dump(std::string& out) const {
    std::vector<Index::EndpointBlocks> endpoints = index_.Endpoints();
    const size_t shown = std::min(endpoints.size(), kMaxDumped);
    std::partial_sort(endpoints.begin(), endpoints.begin() + static_cast<ptrdiff_t>(shown),
                      endpoints.end(), [](const auto& a, const auto& b) {
                        return a.blocks != b.blocks ? a.blocks > b.blocks : a.name < b.name;
                      });
    out = "{\"blocks\":" + std::to_string(index_.blocks()) +
          ",\"bytes\":" + std::to_string(index_.Bytes()) +
          ",\"total\":" + std::to_string(endpoints.size()) +
          ",\"truncated\":" + (shown < endpoints.size() ? "true" : "false") + ",\"endpoints\":[";
    for (size_t i = 0; i < shown; ++i) {
      out += i == 0 ? "{\"endpoint\":" : ",{\"endpoint\":";
      epp::common::AppendJsonString(&out, endpoints[i].name);
      out += ",\"blocks\":" + std::to_string(endpoints[i].blocks) + "}";
    }
    out += "]}";
    return {};
  }

 private:
  struct alignas(64) WorkerScratch {
    LookupScratch lookup;
  };

  static constexpr size_t kStateHeader = 2 * sizeof(int64_t) + sizeof(uint32_t);

  static std::string BlockRule(bool auto_tune, int64_t block_tokens) {
    return "blocks of " + std::to_string(block_tokens) + " tokens" +
           (auto_tune ? " unless reported" : "");
  }
  static uint32_t CapacityBlocks(int64_t capacity) {
    return static_cast<uint32_t>(std::min<int64_t>(capacity, std::numeric_limits<uint32_t>::max()));
  }

  int64_t BlockTokens(const epp::Candidates& in) const {
    int64_t tokens = settings_.block_tokens;
    if (settings_.auto_tune && in.size() > 0) {
      const int64_t reported = in.column<int64_t>(0)[0];
      if (reported > 0) tokens = reported;
    }
    return std::max(tokens, kMinBlockTokens);
  }

  uint64_t MaxBlocks(uint64_t block_tokens) const {
    if (settings_.max_tokens > 0) return static_cast<uint64_t>(settings_.max_tokens) / block_tokens;
    if (settings_.max_blocks > 0) return static_cast<uint64_t>(settings_.max_blocks);
    return kMaxRequestBlocks;
  }

  // Null when the request has no memory left.
  Prompts* Hash(const epp::Call& call, const epp_tokenized_prompt& in,
                uint64_t block_tokens) const {
    Prompts* const out = call.Alloc<Prompts>();
    if (out == nullptr) return nullptr;
    out->block_tokens = block_tokens;
    out->lengths = call.Alloc<uint32_t>(in.prompt_count);
    if (out->lengths == nullptr) return nullptr;
    const uint64_t max_blocks = MaxBlocks(block_tokens);
    for (uint32_t p = 0; p < in.prompt_count; ++p) {
      const uint64_t blocks =
          epp::approx::BlockCount(in.offsets[p + 1] - in.offsets[p], block_tokens);
      const uint64_t used = std::min({blocks, max_blocks, kMaxRequestBlocks - out->total});
      out->lengths[p] = static_cast<uint32_t>(used);
      out->total += used;
    }
    out->prompt_count = in.prompt_count;
    if (out->total == 0) return out;
    out->hashes = call.Alloc<uint64_t>(out->total);
    if (out->hashes == nullptr) return nullptr;
    const uint64_t root =
        epp::approx::HashRoot(epp::View(call.request().target_model), epp::View(in.cache_salt));
    uint64_t* at = out->hashes;
    for (uint32_t p = 0; p < in.prompt_count; ++p) {
      const std::span<const uint32_t> tokens(in.tokens + in.offsets[p],
                                             in.offsets[p + 1] - in.offsets[p]);
      epp::approx::HashBlocks(root, tokens, block_tokens, {at, out->lengths[p]});
      at += out->lengths[p];
    }
    return out;
  }

  // Records the prompts for the first target; returns the evictions.
  uint64_t Record(const Prompts& prompts, const epp_profile_result& result,
                  const epp::Candidates& in) {
    const epp_endpoint& target = *result.targets[0];
    int64_t capacity = settings_.capacity;
    const uint32_t row = result.target_rows[0];
    if (settings_.auto_tune && row < in.size()) {
      const int64_t reported = in.column<int64_t>(1)[row];
      if (reported > 0) capacity = reported;
    }
    const uint32_t limit = CapacityBlocks(capacity);
    uint64_t evicted = 0;
    const uint64_t* at = prompts.hashes;
    for (uint32_t p = 0; p < prompts.prompt_count; ++p) {
      evicted += index_.Insert(target.slot, target.id, {at, prompts.lengths[p]}, limit);
      at += prompts.lengths[p];
    }
    return evicted;
  }

  void Observe(const Prompts& prompts, uint32_t row) const {
    if (row >= prompts.candidates) return;
    const uint64_t match = prompts.match[row];
    metrics_.hit_ratio.Add(static_cast<double>(match) / static_cast<double>(prompts.total));
    metrics_.hit_bytes.Add(static_cast<double>(match * prompts.block_tokens * kBytesPerToken));
  }

  void PublishSize() const {
    const auto blocks = static_cast<double>(index_.blocks());
    metrics_.size.Add(blocks);
    metrics_.blocks.Add(blocks);
    metrics_.bytes.Add(static_cast<double>(index_.Bytes()));
  }

  const Settings settings_;
  const epp::Host host_;
  const Metrics metrics_;
  Index index_;                                     // thread-safe
  const std::unique_ptr<WorkerScratch[]> scratch_;  // [workers], each for its worker alone
};

// The same for endpoints that are whole clusters, beside one for endpoints that are not.
class MulticlusterApproxPrefixCacheProducer : public ApproxPrefixCacheProducer {
 public:
  static constexpr const char* kName = "multicluster-approx-prefix-cache-producer";
  static constexpr const char* kDoc =
      "Estimates how much of the prompt each cluster has cached, from what was sent there before.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  using ApproxPrefixCacheProducer::ApproxPrefixCacheProducer;
  static epp::Result<MulticlusterApproxPrefixCacheProducer> Create(const epp::Context& ctx) {
    return CreateAs<MulticlusterApproxPrefixCacheProducer>(ctx);
  }
};

}  // namespace

EPP_LIBRARY("approx-prefix-cache-producer", "0.1.0", ApproxPrefixCacheProducer,
            MulticlusterApproxPrefixCacheProducer)
