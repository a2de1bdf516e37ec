#include "engines.h"

#include <simdjson.h>

#include <algorithm>
#include <set>

namespace epp::core_metrics {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

struct Member {
  std::string_view name;
  std::string EngineConfig::*field;
};
constexpr Member kMembers[] = {
    {"name", &EngineConfig::name},
    {"queuedRequestsSpec", &EngineConfig::queued},
    {"runningRequestsSpec", &EngineConfig::running},
    {"kvUsageSpec", &EngineConfig::kv_usage},
    {"loraSpec", &EngineConfig::lora},
    {"cacheInfoSpec", &EngineConfig::cache_info},
    {"cacheBlockSizeLabelName", &EngineConfig::block_size_label},
    {"cacheNumBlocksLabelName", &EngineConfig::num_blocks_label},
    {"cacheBlockSizeSpec", &EngineConfig::block_size},
    {"cacheNumBlocksSpec", &EngineConfig::num_blocks},
};

Status TextOf(const element& value, const std::string& where, std::string& out) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) return Status::Invalid(where + " is not text");
  out = text;
  return {};
}

Status ParseCustomMetrics(const element& value, const std::string& where,
                          std::vector<CustomMetric>& out) {
  array list;
  if (value.get(list) != simdjson::SUCCESS) return Status::Invalid(where + " is not a list");
  size_t index = 0;
  for (const element entry : list) {
    const std::string entry_where = where + "[" + std::to_string(index++) + "]";
    object members;
    if (entry.get(members) != simdjson::SUCCESS) {
      return Status::Invalid(entry_where + " is not a mapping");
    }
    CustomMetric metric;
    for (const auto& [key, member] : members) {
      const std::string member_where = entry_where + "." + std::string(key);
      Status status;
      if (key == "attributeKey") {
        status = TextOf(member, member_where, metric.key);
      } else if (key == "metricSpec") {
        status = TextOf(member, member_where, metric.spec);
      } else {
        status = Status::Invalid(member_where + " is not known, want attributeKey, metricSpec");
      }
      if (!status.ok()) return status;
    }
    if (metric.key.empty()) return Status::Invalid(entry_where + ".attributeKey is missing");
    if (metric.spec.empty()) return Status::Invalid(entry_where + ".metricSpec is missing");
    out.push_back(std::move(metric));
  }
  return {};
}

Status ParseEngine(const element& entry, const std::string& where, EngineConfig& out) {
  object members;
  if (entry.get(members) != simdjson::SUCCESS) return Status::Invalid(where + " is not a mapping");
  for (const auto& member : members) {
    const std::string_view key = member.key;
    const std::string member_where = where + "." + std::string(key);
    Status status;
    const auto* known = std::find_if(std::begin(kMembers), std::end(kMembers),
                                     [&](const Member& m) { return m.name == key; });
    if (known != std::end(kMembers)) {
      status = TextOf(member.value, member_where, out.*known->field);
    } else if (key == "customMetrics") {
      status = ParseCustomMetrics(member.value, member_where, out.custom);
    } else {
      std::string names;
      for (const Member& m : kMembers) names.append(m.name).append(", ");
      status = Status::Invalid(member_where + " is not known, want " + names + "customMetrics");
    }
    if (!status.ok()) return status;
  }
  if (out.name.empty()) return Status::Invalid(where + ".name is missing");
  if (out.name == "default") {
    return Status::Invalid(where + ".name is \"default\", which is reserved");
  }
  if (out.block_size_label.empty()) out.block_size_label = "block_size";
  if (out.num_blocks_label.empty()) out.num_blocks_label = "num_gpu_blocks";
  return {};
}

}  // namespace

std::vector<EngineConfig> BuiltInEngines() {
  std::vector<EngineConfig> engines(5);
  EngineConfig& vllm = engines[0];
  vllm.name = "vllm";
  vllm.queued = "vllm:num_requests_waiting";
  vllm.running = "vllm:num_requests_running";
  vllm.kv_usage = "vllm:kv_cache_usage_perc";
  vllm.lora = "vllm:lora_requests_info";
  vllm.cache_info = "vllm:cache_config_info";

  EngineConfig& sglang = engines[1];
  sglang.name = "sglang";
  sglang.queued = "sglang:num_queue_reqs";
  sglang.running = "sglang:num_running_reqs";
  sglang.kv_usage = "sglang:token_usage";
  sglang.cache_info = "sglang:cache_config_info";
  sglang.block_size_label = "page_size";
  sglang.num_blocks_label = "num_pages";

  EngineConfig& trtllm = engines[2];
  trtllm.name = "trtllm-serve";
  trtllm.queued = "trtllm_num_requests_waiting";
  trtllm.running = "trtllm_num_requests_running";
  trtllm.kv_usage = "trtllm_kv_cache_utilization";
  trtllm.block_size = "trtllm_kv_cache_tokens_per_block";
  trtllm.num_blocks = "trtllm_kv_cache_max_blocks";

  EngineConfig& triton_llm = engines[3];
  triton_llm.name = "triton-tensorrt-llm";
  triton_llm.queued = "nv_trt_llm_request_metrics{request_type=waiting}";
  triton_llm.running = "nv_trt_llm_request_metrics{request_type=scheduled}";
  triton_llm.kv_usage = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}";
  triton_llm.block_size = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=tokens_per}";
  triton_llm.num_blocks = "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}";

  EngineConfig& triton = engines[4];
  triton.name = "triton";
  triton.queued = "nv_inference_pending_request_count";
  triton.running = "nv_inference_exec_count";
  return engines;
}

Status ParseEngineConfigs(std::string_view json, std::vector<EngineConfig>& out) {
  if (json.empty()) return {};
  simdjson::dom::parser parser;
  element root;
  array list;
  if (parser.parse(json.data(), json.size()).get(root) != simdjson::SUCCESS ||
      root.get(list) != simdjson::SUCCESS) {
    return Status::Invalid("engineConfigs is not a list");
  }
  std::set<std::string> names;
  size_t index = 0;
  for (const element entry : list) {
    const std::string where = "engineConfigs[" + std::to_string(index++) + "]";
    EngineConfig config;
    Status status = ParseEngine(entry, where, config);
    if (!status.ok()) return status;
    if (!names.insert(config.name).second) {
      return Status::Invalid(where + ".name is \"" + config.name + "\" for the second time");
    }
    std::vector<Wanted> wanted;
    status = WantedOf(config, wanted);
    if (!status.ok()) return Status::Invalid(where + ": " + std::string(status.message()));
    out.push_back(std::move(config));
  }
  return {};
}

Status WantedOf(const EngineConfig& config, std::vector<Wanted>& out) {
  struct Rule {
    const std::string& spec;
    Pick pick;
  };
  std::vector<Rule> rules = {{config.queued, Pick::kSum},        {config.running, Pick::kSum},
                             {config.kv_usage, Pick::kAverage},  {config.lora, Pick::kGreatest},
                             {config.cache_info, Pick::kLatest}, {config.block_size, Pick::kLatest},
                             {config.num_blocks, Pick::kLatest}};
  for (const CustomMetric& custom : config.custom) rules.push_back({custom.spec, Pick::kLatest});
  out.clear();
  for (const Rule& rule : rules) {
    Wanted wanted;
    wanted.pick = rule.pick;
    Status status = ParseMetricSpec(rule.spec, wanted.spec);
    if (!status.ok()) return status;
    out.push_back(std::move(wanted));
  }
  return {};
}

}  // namespace epp::core_metrics
