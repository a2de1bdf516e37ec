// mm-embeddings-cache-producer: guesses which embeddings of images, audio and videos each endpoint
// holds, from what has been sent there.
//
// Produce looks the request's items up; PreRequest records them for the endpoints that the request
// goes to. An item is known by the hash that the tokenizer gave it.
#include "epp/plugin.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "plugins/common/json.hpp"
#include "plugins/common/prefix_index/index.h"
#include "plugins/common/scorer_attributes.hpp"

namespace {

using epp::prefix_index::Index;
using epp::prefix_index::LookupScratch;

constexpr int64_t kDefaultMegabytes = 4096;
constexpr int64_t kMegabytesPerItem = 2;
constexpr int64_t kMaxItems = int64_t{1} << 30;
constexpr std::string_view kEncodeProfile = "encode";
constexpr std::array<std::string_view, 4> kModalities{"other", "image", "audio", "video"};
constexpr size_t kMaxDumped = 100;

size_t ModalityIndex(int32_t modality) {
  return modality > 0 && static_cast<size_t>(modality) < kModalities.size()
             ? static_cast<size_t>(modality)
             : 0;
}

struct Item {
  uint64_t key;
  uint32_t modality;  // index into kModalities
};

// What one request carries from Produce to PreRequest. In the request's memory.
struct Items {
  Item* items;  // [count], distinct keys
  size_t count;
};

class Metrics {
 public:
  Metrics(const epp::Context& ctx, std::string_view type) : name_(ctx.name()), type_(type) {
    const epp_host* const host = ctx.host().raw();
    constexpr std::array<std::string_view, 4> kLabels{"plugin_type", "plugin_name", "modality",
                                                      "pod"};
    constexpr std::array kRatios{0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0};
    const epp::Metric queries(host, EPP_METRIC_COUNTER, "llm_d_epp_encoder_cache_queries_total",
                              "Multimodal items that requests asked for.",
                              std::span(kLabels).first(3));
    hits_ = epp::Metric(host, EPP_METRIC_COUNTER, "llm_d_epp_encoder_cache_hits_total",
                        "Multimodal items that an endpoint was believed to hold.", kLabels);
    const std::array<std::string_view, 2> own{type_, name_};
    ratio_ = epp::Metric(host, EPP_METRIC_HISTOGRAM, "llm_d_epp_encoder_cache_hit_ratio",
                         "Share of a request's multimodal items held, per candidate.",
                         std::span(kLabels).first(2), kRatios)
                 .With(own);
    for (size_t m = 0; m < kModalities.size(); ++m) {
      const std::array<std::string_view, 3> labels{type_, name_, kModalities[m]};
      queries_[m] = queries.With(labels);
    }
  }

  // The hits of one endpoint, by modality.
  using Hits = std::array<epp::Series, kModalities.size()>;
  Hits HitsOf(std::string_view pod) const {
    Hits out;
    for (size_t m = 0; m < kModalities.size(); ++m) {
      const std::array<std::string_view, 4> labels{type_, name_, kModalities[m], pod};
      out[m] = hits_.With(labels);
    }
    return out;
  }
  const epp::Series& queries(size_t modality) const { return queries_[modality]; }
  const epp::Series& ratio() const { return ratio_; }

 private:
  const std::string name_;
  const std::string type_;
  epp::Metric hits_;
  Hits queries_;
  epp::Series ratio_;
};

class MmEmbeddingsCacheProducer {
 public:
  static constexpr const char* kName = "mm-embeddings-cache-producer";
  static constexpr const char* kDoc =
      "Estimates which multimodal embeddings each endpoint holds, from what was sent there before.";
  static constexpr std::array kParams{
      epp::Int("cacheSizeInMBPerServer", kDefaultMegabytes, -0x1p63, 0x1p63,
               "Embedding cache of an endpoint; 2 MiB an item. 0 or less means the default."),
      epp::Int("cacheSizeInMB", 0, -0x1p63, 0x1p63, "Write cacheSizeInMBPerServer.")
          .Unset()
          .Deprecated(),
      epp::Int("maxIndexBytes", int64_t{256} << 20, int64_t{8} << 20, int64_t{1} << 40,
               "Most memory of the index, for all endpoints; 56 bytes an item.")};
  enum Param { kPerServer, kOldName, kMaxIndexBytes };
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kTokenizedPrompt)};
  static constexpr std::array kProduces{epp::Makes(epp::common::kEncoderMatchedSize),
                                        epp::Makes(epp::common::kEncoderRequestSize)};
  static constexpr uint32_t kStateVersion = 1;

  static epp::Result<MmEmbeddingsCacheProducer> Create(const epp::Context& ctx) {
    int64_t megabytes = ctx.i64(kPerServer);
    if (megabytes == kDefaultMegabytes && ctx.has(kOldName)) megabytes = ctx.i64(kOldName);
    if (megabytes <= 0) megabytes = kDefaultMegabytes;
    const int64_t items = std::clamp<int64_t>(megabytes / kMegabytesPerItem, 1, kMaxItems);
    return std::make_unique<MmEmbeddingsCacheProducer>(ctx, static_cast<uint32_t>(items));
  }

  MmEmbeddingsCacheProducer(const epp::Context& ctx, uint32_t capacity)
      : capacity_(capacity),
        host_(ctx.host()),
        metrics_(ctx, kName),
        index_(static_cast<uint64_t>(ctx.i64(kMaxIndexBytes)), ctx.host().random_u64()),
        scratch_(std::make_unique<WorkerScratch[]>(ctx.host().workers())),
        hits_(std::make_unique<std::atomic<const Metrics::Hits*>[]>(epp::prefix_index::kMaxSlots)) {
  }

  epp::Status Produce(const epp::Call& call, const epp::Candidates& in, epp::Outputs& out) {
    Items* items = nullptr;
    if (epp::Status status = Collect(call, &items); !status.ok()) return status;
    if (items == nullptr) {
      out.ClearRequest(0);
      for (size_t i = 0; i < in.size(); ++i) out.Clear(0, i);
      return {};
    }
    call.state<Items>() = items;
    const std::span<int64_t> matched = out.column<int64_t>(0);
    for (uint32_t m = 0; m < kModalities.size(); ++m) Match(call, in, *items, m, matched);
    const auto total = static_cast<double>(items->count);
    for (const int64_t n : matched) metrics_.ratio().Add(static_cast<double>(n) / total);
    out.Set<int64_t>(0, static_cast<int64_t>(items->count));
    return {};
  }

  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling& scheduling,
                         const epp::Candidates&, epp::Editor&) {
    const Items* const items = call.state<Items>();
    if (items == nullptr) return {};
    const size_t primary = scheduling.primary();
    const size_t encode = scheduling.Find(kEncodeProfile);
    Record(scheduling, primary, *items);
    if (encode != primary) Record(scheduling, encode, *items);
    return {};
  }

  void Upserted(const epp_endpoint& endpoint) {
    if (!index_.Register(endpoint.slot, endpoint.id, epp::View(endpoint.name))) {
      host_.Log(EPP_LOG_WARN, "too many endpoints, the embeddings of one are not counted");
      return;
    }
    const std::string_view name = epp::View(endpoint.name);
    const std::lock_guard lock(mu_);
    auto at = pods_.find(name);
    if (at == pods_.end()) at = pods_.emplace(name, metrics_.HitsOf(name)).first;
    hits_[endpoint.slot].store(&at->second, std::memory_order_release);
  }

  void Removed(const epp_endpoint& endpoint) { index_.Unregister(endpoint.slot, endpoint.id); }

  epp::Status SaveState(std::string& out) const {
    if (index_.blocks() > 0) index_.Save(&out);
    return {};
  }

  epp::Status LoadState(uint32_t version, std::string_view bytes) {
    if (version != kStateVersion) {
      return epp::Status::Invalid("the index has version " + std::to_string(version) + ", want " +
                                  std::to_string(kStateVersion));
    }
    if (bytes.empty()) return {};
    if (!index_.Load(bytes, [this](uint32_t) { return capacity_; })) {
      return epp::Status::Invalid("the index is malformed");
    }
    return {};
  }

  // {"items":N,"bytes":N,"total":N,"truncated":false,"endpoints":[{"endpoint":"ns/a","items":N}]}
  epp::Status Dump(std::string& out) const {
    std::vector<Index::EndpointBlocks> endpoints = index_.Endpoints();
    const size_t shown = std::min(endpoints.size(), kMaxDumped);
    std::partial_sort(endpoints.begin(), endpoints.begin() + static_cast<ptrdiff_t>(shown),
                      endpoints.end(), [](const auto& a, const auto& b) {
                        return a.blocks != b.blocks ? a.blocks > b.blocks : a.name < b.name;
                      });
    out = "{\"items\":" + std::to_string(index_.blocks()) +
          ",\"bytes\":" + std::to_string(index_.Bytes()) +
          ",\"total\":" + std::to_string(endpoints.size()) +
          ",\"truncated\":" + (shown < endpoints.size() ? "true" : "false") + ",\"endpoints\":[";
    for (size_t i = 0; i < shown; ++i) {
      out += i == 0 ? "{\"endpoint\":" : ",{\"endpoint\":";
      epp::common::AppendJsonString(&out, endpoints[i].name);
      out += ",\"items\":" + std::to_string(endpoints[i].blocks) + "}";
    }
    out += "]}";
    return {};
  }

 private:
  struct alignas(64) WorkerScratch {
    LookupScratch lookup;
  };

  // The distinct items of the request; null when there are none.
  static epp::Status Collect(const epp::Call& call, Items** out) {
    const auto* const prompt =
        static_cast<const epp_tokenized_prompt*>(call.column<const void*>(0)[0]);
    if (prompt == nullptr || prompt->media_count == 0) return {};
    Item* const items = call.Alloc<Item>(prompt->media_count);
    Items* const all = call.Alloc<Items>();
    if (items == nullptr || all == nullptr) {
      return {EPP_RESOURCE_EXHAUSTED, "out of request memory"};
    }
    Item* end = items;
    for (const epp_media& media : std::span(prompt->media, prompt->media_count)) {
      if (media.hash.size == 0) continue;
      *end++ = {XXH64(media.hash.data, media.hash.size, 0),
                static_cast<uint32_t>(ModalityIndex(media.modality))};
    }
    std::sort(items, end, [](const Item& a, const Item& b) {
      return a.key != b.key ? a.key < b.key : a.modality < b.modality;
    });
    end = std::unique(items, end, [](const Item& a, const Item& b) { return a.key == b.key; });
    if (end == items) return {};
    *all = {items, static_cast<size_t>(end - items)};
    *out = all;
    return {};
  }

  // Adds the items of one modality that each candidate holds.
  void Match(const epp::Call& call, const epp::Candidates& in, const Items& items,
             uint32_t modality, std::span<int64_t> matched) {
    LookupScratch& scratch = scratch_[call.worker()].lookup;
    size_t asked = 0;
    for (const Item& item : std::span(items.items, items.count)) {
      if (item.modality != modality) continue;
      if (asked++ == 0) index_.Begin(&scratch);
      index_.Lookup({&item.key, 1}, &scratch);
    }
    if (asked == 0) return;
    metrics_.queries(modality).Add(static_cast<double>(asked));
    for (size_t i = 0; i < in.size(); ++i) {
      const uint32_t slot = in.slot(i);
      const uint32_t held = slot < scratch.depth.size() ? scratch.depth[slot] : 0;
      if (held == 0 || !index_.Knows(slot, in.endpoint(i).id)) continue;
      matched[i] += held;
      const Metrics::Hits* const hits = hits_[slot].load(std::memory_order_acquire);
      if (hits != nullptr) (*hits)[modality].Add(held);
    }
  }

  void Record(const epp::Scheduling& scheduling, size_t profile, const Items& items) {
    if (profile >= scheduling.size() || !scheduling.ok(profile)) return;
    const epp_profile_result& result = scheduling.result(profile);
    for (const epp_endpoint* target : std::span(result.targets, result.target_count)) {
      for (const Item& item : std::span(items.items, items.count)) {
        index_.Insert(target->slot, target->id, {&item.key, 1}, capacity_);
      }
    }
  }

  const uint32_t capacity_;  // items an endpoint, at least 1
  const epp::Host host_;
  const Metrics metrics_;
  Index index_;                                     // thread-safe
  const std::unique_ptr<WorkerScratch[]> scratch_;  // [workers], each for its worker alone
  // [kMaxSlots], into pods_; null before the slot was used.
  const std::unique_ptr<std::atomic<const Metrics::Hits*>[]> hits_;
  std::mutex mu_;                                           // guards pods_
  std::map<std::string, Metrics::Hits, std::less<>> pods_;  // entries stay, as the series do
};

}  // namespace

EPP_LIBRARY("mm-embeddings-cache-producer", "0.1.0", MmEmbeddingsCacheProducer)
