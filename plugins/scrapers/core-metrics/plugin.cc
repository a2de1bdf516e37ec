// core-metrics-extractor: what schedulers need to know, from a model server's Prometheus page.
#include "epp/plugin.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engines.h"

namespace {

using epp::core_metrics::CustomMetric;
using epp::core_metrics::Engine;
using epp::core_metrics::EngineConfig;
using epp::core_metrics::Found;
using epp::core_metrics::kBlockSize;
using epp::core_metrics::kCacheInfo;
using epp::core_metrics::kFirstCustom;
using epp::core_metrics::kKvUsage;
using epp::core_metrics::kLora;
using epp::core_metrics::kNumBlocks;
using epp::core_metrics::kQueued;
using epp::core_metrics::kRunning;
using epp::core_metrics::Wanted;

constexpr std::string_view kLegacyEngineLabel = "inference.networking.k8s.io/engine-type";
constexpr size_t kMaxAdapters = 1024;      // of one list
constexpr size_t kMaxAdapterBytes = 1024;  // of one name
constexpr size_t kMaxCustomMetrics = 64;   // of one engine

enum Attr : uint32_t {
  kAttrQueue,
  kAttrRunning,
  kAttrKv,
  kAttrActive,
  kAttrWaiting,
  kAttrMaxActive,
  kAttrBlockSize,
  kAttrNumBlocks,
  kAttrFirstCustom,
};

int64_t Truncated(double value) {
  if (value >= 9.2e18) return INT64_MAX;
  if (value <= -9.2e18) return INT64_MIN;
  return static_cast<int64_t>(value);
}

bool ParseInt(std::string_view text, int64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

std::string_view Trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

class CoreMetricsExtractor {
 public:
  static constexpr const char* kName = epp::attr::kCore;
  static constexpr const char* kDoc =
      "Reads queue, running requests, KV-cache use, LoRA adapters and cache geometry from the "
      "Prometheus page of a model server.";
  static constexpr const char* kPayload = "prometheus-text";
  static constexpr std::array kParams{
      epp::String("engineLabelKey", "llm-d.ai/engine-type", "endpoint label that names the engine"),
      epp::String("defaultEngine", "vllm",
                  "engine of endpoints without that label, or with an unknown one"),
      epp::Json("engineConfigs",
                "further engines: a list of {name, queuedRequestsSpec, runningRequestsSpec, "
                "kvUsageSpec, loraSpec, cacheInfoSpec, ...}; one of a built-in's name replaces it"),
  };
  static constexpr std::array kProduces{
      epp::Makes(epp::attr::kWaitingQueueSize).TypeNamed(),
      epp::Makes(epp::attr::kRunningRequestsSize).TypeNamed(),
      epp::Makes(epp::attr::kKvCacheUsage).TypeNamed(),
      epp::Makes(epp::attr::kActiveModels).TypeNamed(),
      epp::Makes(epp::attr::kWaitingModels).TypeNamed(),
      epp::Makes(epp::attr::kMaxActiveModels).TypeNamed(),
      epp::Makes(epp::attr::kCacheBlockSize).TypeNamed(),
      epp::Makes(epp::attr::kCacheNumBlocks).TypeNamed(),
  };

  static epp::Result<CoreMetricsExtractor> Create(const epp::Context& ctx) {
    auto made = std::make_unique<CoreMetricsExtractor>();
    epp::Status status = made->Init(ctx);
    if (!status.ok()) return status;
    return epp::Result<CoreMetricsExtractor>(std::move(made));
  }

  std::span<const epp_attr_spec* const> Consumes() const { return {}; }
  std::span<const epp_attr_spec* const> Produces() const { return produces_; }

  // Good when at least one value was found; what is missing keeps its former value.
  epp::Status Scrape(const epp_scrape& in, epp::Sink& out) const {
    const Named& named = EngineOf(*in.endpoint);
    const Engine& engine = *named.engine;
    std::array<Found, kFirstCustom + kMaxCustomMetrics> buffer;
    const std::span<Found> found(buffer.data(), engine.scanner.size());
    if (const uint32_t n = engine.scanner.Scan(epp::View(in.body), found)) malformed_.Add(n);

    bool any = false;
    const auto integer = [&](size_t slot, uint32_t attribute) {
      if (!found[slot].found) return;
      out.Set(attribute, Truncated(found[slot].value));
      any = true;
    };
    integer(kQueued, kAttrQueue);
    integer(kRunning, kAttrRunning);
    integer(kBlockSize, kAttrBlockSize);
    integer(kNumBlocks, kAttrNumBlocks);
    if (found[kKvUsage].found) {
      out.Set(kAttrKv, found[kKvUsage].value);
      any = true;
    }
    if (found[kLora].found) {
      SetLora(found[kLora].labels, out);
      any = true;
    }
    if (found[kCacheInfo].found) any |= SetCacheInfo(engine, found[kCacheInfo].labels, out);
    for (size_t i = kFirstCustom; i < found.size(); ++i) {
      if (!found[i].found) continue;
      out.Set(engine.custom_attributes[i - kFirstCustom], found[i].value);
      any = true;
    }
    if (any) return {};
    return {EPP_NOT_FOUND, "the page has no metric of engine \"" + named.name + "\""};
  }

 private:
  struct Named {
    std::string name;
    std::unique_ptr<Engine> engine;
  };

  epp::Status Init(const epp::Context& ctx) {
    host_ = ctx.host();
    label_key_ = ctx.str(0);
    std::vector<EngineConfig> configs;
    epp::Status status = epp::core_metrics::ParseEngineConfigs(ctx.str(2), configs);
    if (!status.ok()) return status;
    const size_t configured = configs.size();
    for (EngineConfig& built_in : epp::core_metrics::BuiltInEngines()) {
      bool replaced = false;
      for (size_t i = 0; i < configured; ++i) replaced |= configs[i].name == built_in.name;
      if (!replaced) configs.push_back(std::move(built_in));
    }
    for (const auto& made : kProduces) produces_.push_back(&made.spec);
    for (const EngineConfig& config : configs) {
      status = AddEngine(config);
      if (!status.ok()) return status;
    }
    const size_t n = engines_.size();
    default_ = n;
    std::string names;
    for (size_t i = 0; i < n; ++i) {
      if (engines_[i].name == ctx.str(1)) default_ = i;
      names += (i ? ", " : "") + engines_[i].name;
    }
    if (default_ == n) {
      return epp::Status::Invalid("defaultEngine is \"" + std::string(ctx.str(1)) +
                                  "\", want one of " + names);
    }
    const std::array<std::string_view, 1> labels{"problem"};
    const epp::Metric problems(host_.raw(), EPP_METRIC_COUNTER, "epp_core_metrics_problems_total",
                               "Lines or labels of metrics pages that could not be used.", labels);
    malformed_ = problems.With(std::array<std::string_view, 1>{"malformed-line"});
    bad_label_ = problems.With(std::array<std::string_view, 1>{"bad-label"});
    return {};
  }

  epp::Status AddEngine(const EngineConfig& config) {
    std::vector<Wanted> wanted;
    epp::Status status = epp::core_metrics::WantedOf(config, wanted);
    if (!status.ok()) return status;
    if (config.custom.size() > kMaxCustomMetrics) {
      return epp::Status::Invalid("engine \"" + config.name + "\" has more than " +
                                  std::to_string(kMaxCustomMetrics) + " customMetrics");
    }
    auto engine = std::make_unique<Engine>(std::move(wanted));
    engine->block_size_label = config.block_size_label;
    engine->num_blocks_label = config.num_blocks_label;
    for (const CustomMetric& custom : config.custom) {
      uint32_t index = 0;
      while (index < produces_.size() && produces_[index]->key != custom.key) ++index;
      if (index < kAttrFirstCustom) {
        return epp::Status::Invalid("engine \"" + config.name + "\": attributeKey \"" + custom.key +
                                    "\" is taken by a built-in attribute");
      }
      if (index == produces_.size()) {
        auto made = std::make_unique<Custom>();
        made->key = custom.key;
        made->spec = {sizeof(epp_attr_spec),
                      EPP_T_F64,
                      EPP_SCOPE_ENDPOINT,
                      EPP_ATTR_TYPE_NAMED,
                      made->key.c_str(),
                      nullptr,
                      nullptr,
                      nullptr};
        produces_.push_back(&made->spec);
        custom_.push_back(std::move(made));
      }
      engine->custom_attributes.push_back(index);
    }
    engines_.push_back({config.name, std::move(engine)});
    return {};
  }

  const Named& EngineOf(const epp_endpoint& endpoint) const {
    std::string_view name = epp::Label(endpoint, label_key_);
    if (name.empty()) name = epp::Label(endpoint, kLegacyEngineLabel);
    if (!name.empty()) {
      for (const Named& named : engines_) {
        if (named.name == name) return named;
      }
    }
    return engines_[default_];
  }

  void SetAdapters(std::string_view list, uint32_t attribute, epp::Sink& out) const {
    std::array<uint32_t, kMaxAdapters> symbols;
    size_t count = 0;
    while (!list.empty() && count < symbols.size()) {
      const size_t comma = list.find(',');
      const std::string_view name = Trim(list.substr(0, comma));
      list = comma == std::string_view::npos ? "" : list.substr(comma + 1);
      if (name.empty() || name.size() > kMaxAdapterBytes) continue;
      const uint32_t symbol = host_.Intern(name);
      if (symbol != 0) symbols[count++] = symbol;
    }
    out.Set(attribute, std::span<const uint32_t>(symbols.data(), count));
  }

  void SetLora(std::string_view labels, epp::Sink& out) const {
    std::string_view running, waiting, max_lora;
    epp::core_metrics::ForEachLabel(labels, [&](std::string_view name, std::string_view value) {
      if (name == "running_lora_adapters") running = value;
      if (name == "waiting_lora_adapters") waiting = value;
      if (name == "max_lora") max_lora = value;
    });
    SetAdapters(running, kAttrActive, out);
    SetAdapters(waiting, kAttrWaiting, out);
    int64_t max = 0;
    if (max_lora.empty()) return;
    if (ParseInt(max_lora, max)) {
      out.Set(kAttrMaxActive, max);
    } else {
      bad_label_.Add(1);
    }
  }

  bool SetCacheInfo(const Engine& engine, std::string_view labels, epp::Sink& out) const {
    bool block_size_set = false, num_blocks_set = false;
    epp::core_metrics::ForEachLabel(labels, [&](std::string_view name, std::string_view value) {
      const bool is_size = name == engine.block_size_label;
      if (!is_size && name != engine.num_blocks_label) return;
      int64_t number = 0;
      if (!ParseInt(value, number)) {
        bad_label_.Add(1);
      } else if (is_size) {
        out.Set(kAttrBlockSize, number);
        block_size_set = true;
      } else {
        out.Set(kAttrNumBlocks, number);
        num_blocks_set = true;
      }
    });
    // An old block size would be wrong now, whereas the number of blocks is late at start-up.
    if (!block_size_set) out.Clear(kAttrBlockSize);
    return block_size_set || num_blocks_set;
  }

  struct Custom {
    std::string key;
    epp_attr_spec spec{};
  };

  epp::Host host_;
  std::string label_key_;
  std::vector<Named> engines_;
  size_t default_ = 0;
  std::vector<const epp_attr_spec*> produces_;
  std::vector<std::unique_ptr<Custom>> custom_;
  epp::Series malformed_;
  epp::Series bad_label_;
};

}  // namespace

EPP_LIBRARY("core-metrics-extractor", "0.1.0", CoreMetricsExtractor)
