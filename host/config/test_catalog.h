// Plugin types for tests, named like the real ones and declaring what those declare, without doing
// anything. Linked in, not loaded.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "epp/plugin.hpp"
#include "host/config/endpoint_picker_config.h"
#include "host/loader/catalog.h"

namespace epp::config::test {

template <class T>
struct Creatable {
  static Result<T> Create(const Context&) { return T(); }
};

template <class T>
struct NoOpScorer : Creatable<T> {
  static constexpr const char* kDoc = "Scores 0.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  Status Score(const Call&, const Candidates&, std::span<double>) const { return {}; }
};

struct QueueScorer : NoOpScorer<QueueScorer> {
  static constexpr const char* kName = "queue-scorer";
  static constexpr std::array kConsumes{Needs(attr::kWaitingQueueSize)};
};

struct KvScorer : NoOpScorer<KvScorer> {
  static constexpr const char* kName = "kv-cache-utilization-scorer";
  static constexpr std::array kConsumes{Needs(attr::kKvCacheUsage)};
};

struct PrefixScorer : NoOpScorer<PrefixScorer> {
  static constexpr const char* kName = "prefix-cache-scorer";
  static constexpr uint32_t kFlags = 0;
  static constexpr std::array kParams{
      String("prefixMatchInfoProducerName", nullptr, "The producer to read.")};
  static constexpr std::array kConsumes{
      Needs(attr::kPrefixMatchBlocks).From("prefixMatchInfoProducerName"),
      Needs(attr::kPrefixTotalBlocks).From("prefixMatchInfoProducerName")};
};

template <class T>
struct NoOpFilter : Creatable<T> {
  static constexpr const char* kDoc = "Keeps all.";
  Status Filter(const Call&, const Candidates&, Keep& keep) const {
    keep.All();
    return {};
  }
};

struct LabelFilter : NoOpFilter<LabelFilter> {
  static constexpr const char* kName = "label-selector-filter";
  static constexpr std::array kAliases{"by-label"};
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
};

struct UtilizationFilter : NoOpFilter<UtilizationFilter> {
  static constexpr const char* kName = "utilization-filter";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
};

struct ContextLength : NoOpFilter<ContextLength> {
  static constexpr const char* kName = "context-length-aware";
  static constexpr const char* kDeprecated = "use something else";
  Status Score(const Call&, const Candidates&, std::span<double>) const { return {}; }
};

template <class T>
struct FirstPicker : Creatable<T> {
  static constexpr const char* kDoc = "Picks the first.";
  Status Pick(const Call&, const Candidates&, std::span<const double>, Picks& picks) const {
    picks.Add(0);
    return {};
  }
};
struct MaxScorePicker : FirstPicker<MaxScorePicker> {
  static constexpr const char* kName = "max-score-picker";
  static constexpr std::array kParams{Int("maxNumOfEndpoints", 1, 1, 64, "Targets to name.")};
};
struct RandomPicker : FirstPicker<RandomPicker> {
  static constexpr const char* kName = "random-picker";
};

template <class T>
struct FirstProfileHandler : Creatable<T> {
  static constexpr const char* kDoc = "Runs the first profile.";
  Status Choose(const Call&, const Scheduling&, const Candidates&,
                std::span<int32_t> decisions) const {
    decisions[0] = EPP_DECIDE_RUN;
    return {};
  }
  Status Conclude(const Call&, const Scheduling& done, const Candidates&, uint32_t& primary) const {
    if (!done.ok(0)) return {EPP_INTERNAL, "no target"};
    primary = 0;
    return {};
  }
};
struct SingleHandler : FirstProfileHandler<SingleHandler> {
  static constexpr const char* kName = "single-profile-handler";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  Status Check(std::span<const epp_str> names) const {
    if (names.size() != 1) return Status::Invalid("want exactly one profile");
    return {};
  }
};
struct DisaggHandler : FirstProfileHandler<DisaggHandler> {
  static constexpr const char* kName = "disagg-profile-handler";
  static constexpr std::array kParams{
      Plugin("deciders.prefill", nullptr, "The decider.").Implementing(EPP_DECIDER_ID),
      Plugin("deciders.encode", nullptr, "The other decider.").Implementing(EPP_DECIDER_ID)};
};
struct PdHandler : FirstProfileHandler<PdHandler> {
  static constexpr const char* kName = "pd-profile-handler";
  static constexpr std::array kParams{
      Plugin("deciderPluginName", "prefix-based-pd-decider", "The decider.")
          .Implementing(EPP_DECIDER_ID)};
};
struct Decider : Creatable<Decider> {
  static constexpr const char* kName = "prefix-based-pd-decider";
  static constexpr const char* kDoc = "Decides.";
  static constexpr std::array kParams{Plugin("next", nullptr, "Whom to ask next.")};
  Status Decide(const Call&, const Candidates&, bool&) const { return {}; }
};

template <class T>
struct NoOpParser : Creatable<T> {
  static constexpr const char* kDoc = "Understands nothing.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  Status ParseRequest(const Call&, const epp_request&, epp_parsed&) const { return {}; }
};
struct OpenAiParser : NoOpParser<OpenAiParser> {
  static constexpr const char* kName = "openai-parser";
  static constexpr std::array kSuffixes{"chat/completions"};
};
struct AnthropicParser : NoOpParser<AnthropicParser> {
  static constexpr const char* kName = "anthropic-parser";
  static constexpr std::array kSuffixes{"messages"};
};
struct VllmHttpParser : NoOpParser<VllmHttpParser> {
  static constexpr const char* kName = "vllmhttp-parser";
  static constexpr std::array kSuffixes{"inference/v1/generate"};
};
struct PassthroughParser : NoOpParser<PassthroughParser> {
  static constexpr const char* kName = "passthrough-parser";
};

struct MetricsSource : Creatable<MetricsSource> {
  static constexpr const char* kName = "metrics-data-source";
  static constexpr const char* kDoc = "Fetches metrics.";
  static constexpr const char* const kSchemes[] = {"http", "https"};
  static constexpr std::array kParams{
      String("scheme", "http", "How.").OneOf(kSchemes),
      Duration("interval", 0, 0, 3600, "How often."),
  };
  Status Plan(epp_fetch_plan& out) const {
    out.path = Str("/metrics");
    out.payload = Str("prometheus-text");
    return {};
  }
};
struct ModelsSource : Creatable<ModelsSource> {
  static constexpr const char* kName = "models-data-source";
  static constexpr const char* kDoc = "Fetches models.";
  Status Plan(epp_fetch_plan& out) const {
    out.path = Str("/v1/models");
    out.payload = Str("openai-models");
    return {};
  }
};
struct CoreExtractor : Creatable<CoreExtractor> {
  static constexpr const char* kName = "core-metrics-extractor";
  static constexpr const char* kDoc = "Reads metrics.";
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr const char* kPayload = "prometheus-text";
  static constexpr std::array kProduces{
      Makes(attr::kWaitingQueueSize).TypeNamed(), Makes(attr::kRunningRequestsSize).TypeNamed(),
      Makes(attr::kKvCacheUsage).TypeNamed(), Makes(attr::kActiveModels).TypeNamed()};
  Status Scrape(const epp_scrape&, Sink&) const { return {}; }
};

struct TokenProducer : Creatable<TokenProducer> {
  static constexpr const char* kName = "token-producer";
  static constexpr const char* kDoc = "Makes no tokens.";
  static constexpr std::array kAliases{"tokenizer"};
  static constexpr uint32_t kFlags = EPP_TYPE_ANY_PARAMS;
  static constexpr std::array kProduces{Makes(attr::kTokenizedPrompt)};
  Status Produce(const Call&, const Candidates&, Outputs& out) const {
    out.ClearRequest(0);
    return {};
  }
};
struct ApproxProducer : Creatable<ApproxProducer> {
  static constexpr const char* kName = "approx-prefix-cache-producer";
  static constexpr const char* kDoc = "Matches nothing.";
  static constexpr std::array kParams{
      Int("blockSizeTokens", 64, 1, 65536, "Tokens a block."),
      Int("maxPrefixTokensToMatch", 0, 0, detail::kInf, "0 means no limit."),
      Int("blockSize", 0, 0, 65536, "Use blockSizeTokens.").Deprecated(),
  };
  static constexpr std::array kConsumes{Needs(attr::kTokenizedPrompt)};
  static constexpr std::array kProduces{Makes(attr::kPrefixMatchBlocks),
                                        Makes(attr::kPrefixTotalBlocks)};
  Status Produce(const Call&, const Candidates&, Outputs&) const { return {}; }
};

// Reports its name as the others do, but is known to the host by a private interface.
struct FileDiscoveryBase : Creatable<FileDiscoveryBase> {
  static constexpr const char* kName = "file-discovery";
  static constexpr const char* kDoc = "Reads endpoints.";
  static constexpr std::array kParams{String("path", nullptr, "The file.").Required()};
};
inline const epp_plugin_type* FileDiscovery() {
  static constexpr const char* kInterfaces[] = {kDiscoveryInterface};
  static constexpr epp_plugin_type kRecord = [] {
    epp_plugin_type record = epp::detail::Type<FileDiscoveryBase>::kRecord;
    record.interfaces = kInterfaces;
    record.interface_count = 1;
    record.get_interface = [](void*, const char*) noexcept -> const void* { return kInterfaces; };
    return record;
  }();
  return &kRecord;
}

template <class... T>
void AddTypes(loader::Catalog& catalog) {
  for (const epp_plugin_type* type : epp::detail::Types<T...>::kTable) catalog.AddBuiltin(type);
}

inline loader::Catalog RealNames() {
  loader::Catalog catalog;
  AddTypes<QueueScorer, KvScorer, PrefixScorer, LabelFilter, UtilizationFilter, ContextLength,
           MaxScorePicker, RandomPicker, SingleHandler, DisaggHandler, PdHandler, Decider,
           OpenAiParser, AnthropicParser, VllmHttpParser, PassthroughParser, MetricsSource,
           ModelsSource, CoreExtractor, TokenProducer, ApproxProducer>(catalog);
  catalog.AddBuiltin(FileDiscovery());
  return catalog;
}

inline std::shared_ptr<const SourceText> Text(std::string text, std::string name = "config.yaml") {
  return std::make_shared<const SourceText>(SourceText{std::move(name), std::move(text)});
}

}  // namespace epp::config::test
