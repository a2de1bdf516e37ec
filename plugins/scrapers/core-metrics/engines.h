// Which metrics each model server uses for what we want to know.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "epp/plugin.hpp"
#include "plugins/common/metrics_page/metric_spec.h"
#include "plugins/common/metrics_page/scanner.h"

namespace epp::core_metrics {

using metrics_page::ForEachLabel;
using metrics_page::Found;
using metrics_page::LabelEquals;
using metrics_page::MetricSpec;
using metrics_page::ParseMetricSpec;
using metrics_page::Pick;
using metrics_page::Scanner;
using metrics_page::Wanted;

// A scalar that a config adds.
struct CustomMetric {
  std::string key;  // of the attribute
  std::string spec;
};

struct EngineConfig {
  std::string name;
  std::string queued;  // specs; empty: not extracted
  std::string running;
  std::string kv_usage;
  std::string lora;
  std::string cache_info;
  std::string block_size_label = "block_size";
  std::string num_blocks_label = "num_gpu_blocks";
  std::string block_size;
  std::string num_blocks;
  std::vector<CustomMetric> custom;
};

std::vector<EngineConfig> BuiltInEngines();

// `json`: an array of objects as in the parameter engineConfigs; empty text is no array entries.
// Errors name the entry and the member.
Status ParseEngineConfigs(std::string_view json, std::vector<EngineConfig>& out);

// Positions of the values in an engine's scan; custom metrics follow.
enum Slot : size_t {
  kQueued,
  kRunning,
  kKvUsage,
  kLora,
  kCacheInfo,
  kBlockSize,
  kNumBlocks,
  kFirstCustom,
};

// An engine ready to scan. Immutable.
struct Engine {
  explicit Engine(std::vector<Wanted> wanted) : scanner(std::move(wanted)) {}
  Scanner scanner;
  std::string block_size_label;
  std::string num_blocks_label;
  std::vector<uint32_t> custom_attributes;  // indices into the produced attributes, by custom slot
};

// The list of what to scan for; errors are those of the specs.
Status WantedOf(const EngineConfig& config, std::vector<Wanted>& out);

}  // namespace epp::core_metrics
