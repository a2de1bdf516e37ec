// What became of plugins that misbehave, for people: conditions, metrics, status. And the last
// resort, when a call does not return.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "host/admin/status_view.h"
#include "host/loader/catalog.h"
#include "host/preflight/watchdog.h"
#include "host/runtime/generation.h"
#include "host/serve/conditions.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::serve {

// Threads: the config thread; Describe: any.
class PluginHealth {
 public:
  // `stuck_abort_ns`: after so long in one call the process ends itself; 0: never.
  PluginHealth(Conditions* conditions, telemetry::EppMetrics* metrics, uint64_t stuck_abort_ns);

  // Once a second.
  void Watch(const runtime::Generation& generation, const loader::Catalog& catalog,
             uint64_t now_ns);

  // Instances that were switched off serve again.
  static void Forgive(const runtime::Generation& generation);
  static void Describe(const runtime::Generation& generation, const loader::Catalog& catalog,
                       admin::Status& status);

 private:
  void ShowState(const std::string& plugin, std::string_view state);

  Conditions* const conditions_;
  telemetry::EppMetrics* const metrics_;
  const uint64_t stuck_abort_ns_;
  preflight::Watchdog watchdog_;
  telemetry::GaugeFamily state_;
  telemetry::GaugeFamily retired_;
  telemetry::CounterFamily stuck_;
  std::set<std::string> shown_;  // instances with a state that is not 0
};

// Makes the directory of the state, when it is missing and can be made. False when nothing can be
// written there.
bool PrepareStateDir(const std::string& dir);

}  // namespace epp::serve
