// What the plugins for disaggregated serving share: the headers that tell a model server's sidecar
// where the other stages of a request run, and the count of decisions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "epp/plugin.hpp"

namespace epp::common {

// "host:port" of the endpoint that prefills.
inline constexpr std::string_view kPrefillerHeader = "x-prefiller-host-port";
// "host:port" of the endpoints that encode, comma-separated.
inline constexpr std::string_view kEncodersHeader = "x-encoder-hosts-ports";
// "host:port" of the data-parallel rank that decodes, where the proxy is given a common port.
inline constexpr std::string_view kDataParallelHeader = "x-data-parallel-host-port";

// Position among the profiles, and whether there is a result with targets.
struct Stage {
  Stage(const Scheduling& scheduling, std::string_view profile)
      : index(scheduling.Find(profile)), exists(index < scheduling.size()) {}
  int32_t state(const Scheduling& s) const {
    return exists ? s.result(index).state : EPP_PROFILE_SKIPPED;
  }
  bool pending(const Scheduling& s) const { return state(s) == EPP_PROFILE_NOT_RUN; }
  bool ok(const Scheduling& s) const { return state(s) == EPP_PROFILE_OK; }

  size_t index;
  bool exists;
};

// Says where prefill and encode run. What the client sent under these names goes in any case: it
// must not choose who is asked.
inline void WriteStageHeaders(const Scheduling& scheduling, std::string_view prefill,
                              std::string_view encode, const Editor& edit) {
  edit.RemoveHeader(kPrefillerHeader);
  edit.RemoveHeader(kEncodersHeader);
  if (const Stage stage(scheduling, prefill); stage.ok(scheduling)) {
    edit.SetHeader(kPrefillerHeader, View(scheduling.result(stage.index).targets[0]->host_port));
  }
  if (const Stage stage(scheduling, encode); stage.ok(scheduling)) {
    const epp_profile_result& result = scheduling.result(stage.index);
    std::string all;
    for (uint32_t i = 0; i < result.target_count; ++i) {
      if (i > 0) all += ',';
      all += View(result.targets[i]->host_port);
    }
    edit.SetHeader(kEncodersHeader, all);
  }
}

// Says which rank decodes, or that the client's word for it does not count.
inline void WriteDataParallelHeader(const Scheduling& scheduling, bool on, const Editor& edit) {
  edit.RemoveHeader(kDataParallelHeader);
  if (!on || scheduling.primary() >= scheduling.size()) return;
  const epp_profile_result& result = scheduling.result(scheduling.primary());
  if (result.target_count == 0) return;
  edit.SetHeader(kDataParallelHeader, View(result.targets[0]->host_port));
}

// Counts decisions by model and by the stages that ran, under `name` and the name it had before.
// The series of the first models are remembered, for each worker by itself.
class DecisionCounter {
 public:
  enum Type : size_t { kDecodeOnly, kPrefillDecode, kEncodeDecode, kEncodePrefillDecode };

  DecisionCounter(const Context& ctx, std::string_view type, const std::string& name)
      : name_(ctx.name()), type_(type), workers_(ctx.host().workers()) {
    const epp_host* const host = ctx.host().raw();
    constexpr std::array<std::string_view, 4> kLabels{"plugin_name", "plugin_type", "model_name",
                                                      "decision_type"};
    now_ = Metric(host, EPP_METRIC_COUNTER, "llm_d_epp_" + name,
                  "Requests by the stages that they were given.", kLabels);
    before_ = Metric(host, EPP_METRIC_COUNTER, "llm_d_inference_scheduler_" + name,
                     "Deprecated: llm_d_epp_" + name + ".", std::span(kLabels).last(2));
  }

  void Add(const Call& call, bool prefill, bool encode) const {
    const std::string_view model = View(call.request().target_model);
    Count(call.worker(), model.empty() ? "unknown" : model.substr(0, kMaxModelBytes),
          static_cast<Type>((encode ? kEncodeDecode : kDecodeOnly) +
                            (prefill ? kPrefillDecode : kDecodeOnly)));
  }

 private:
  static constexpr size_t kMaxModelBytes = 256;
  static constexpr size_t kRemembered = 64;
  static constexpr std::array<std::string_view, 4> kTypes{"decode-only", "prefill-decode",
                                                          "encode-decode", "encode-prefill-decode"};
  struct Pair {
    Series now, before;
    bool resolved = false;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Models = std::unordered_map<std::string, std::array<Pair, 4>, Hash, std::equal_to<>>;

  Pair Resolve(std::string_view model, Type type) const {
    const std::array<std::string_view, 4> labels{name_, type_, model, kTypes[type]};
    return {now_.With(labels), before_.With(std::span(labels).last(2)), true};
  }
  void Count(uint32_t worker, std::string_view model, Type type) const {
    Models& models = workers_[worker];
    auto it = models.find(model);
    if (it == models.end() && models.size() < kRemembered) {
      it = models.try_emplace(std::string(model)).first;
    }
    Pair unremembered;
    Pair& pair = it == models.end() ? unremembered : it->second[type];
    if (!pair.resolved) pair = Resolve(model, type);
    pair.now.Add(1);
    pair.before.Add(1);
  }

  std::string name_;
  std::string type_;
  Metric now_;
  Metric before_;
  mutable std::vector<Models> workers_;  // each touched by its worker only
};

}  // namespace epp::common
