// `epp status` as text and as the document "epp.status/1".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace epp::admin {

struct PoolCounts {
  int fresh = 0;
  int stale = 0;
  int unreachable = 0;
  int unknown = 0;
  uint64_t oldest_ms = 0;  // age of the oldest sample among those that have one
  int total() const { return fresh + stale + unreachable + unknown; }
};

struct Warning {
  std::string code;  // "metrics-stale"
  std::string text;
  uint64_t since_unix_ns = 0;
};

struct ObjectCounts {
  size_t objectives = 0;
  size_t rewrites = 0;
  size_t rules = 0;    // of rewrites
  size_t ignored = 0;  // of another pool, or of the older API group beside the newer one
  size_t refused = 0;  // objects or files
  bool any() const { return objectives + rewrites + ignored + refused > 0; }
};

// After a rollback: what is on disk is ignored until it changes.
struct PinnedConfig {
  uint64_t restored = 0;    // the generation whose text serves
  std::string file_digest;  // of the text that is ignored; empty: only libraries differ
  std::string reason;
  std::string text;  // all of it, for people
  uint64_t since_unix_ns = 0;
};

struct Status {
  std::string version;
  int pid = 0;
  uint64_t started_unix_ns = 0;
  uint64_t up_seconds = 0;
  bool ready = false;
  std::string not_ready_reason;

  std::string config_path;  // "(built-in)" for none
  std::string config_digest;
  uint64_t generation = 0;
  uint64_t config_since_unix_ns = 0;
  std::string config_cause;  // "start", "file change", "admin", "rollback", "guard"
  std::string config_actor;  // who, empty for the process itself
  std::optional<PinnedConfig> pinned;

  std::string pool_name;
  std::string pool_source;  // "/etc/epp/endpoints.yaml"
  PoolCounts pool;
  ObjectCounts objects;
  std::vector<std::string> pool_problems;  // "default/vllm-3 stale 4.1 s"

  double requests_per_s = 0;
  int64_t running = 0;
  double decision_p50_us = 0;
  double decision_p99_us = 0;
  double own_error_ratio = 0;
  uint64_t decisions = 0;

  size_t instances = 0;
  size_t libraries = 0;
  std::vector<std::string> refused_libraries;
  std::string shadow;                            // what runs beside the live config; empty: nothing
  std::vector<std::string> disabled_plugins;     // instances that were switched off
  std::vector<std::string> quarantined_plugins;  // instances that are left out
  size_t retired_modules = 0;                    // former libraries that stay mapped
  std::vector<Warning> warnings;
};

std::string StatusJson(const Status& status);
std::string StatusText(const Status& status);
// The exit code of `epp status --check`: healthy means ready and without warnings.
bool Healthy(const Status& status);

}  // namespace epp::admin
