// The HTTP port for machines: metrics, liveness, readiness, plugin states.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "host/http/server.h"
#include "host/telemetry/metrics.h"

namespace epp::serve {

struct MetricsPortSources {
  const telemetry::Registry* registry = nullptr;
  std::function<bool(std::string* reason)> ready;
  std::function<std::string()> plugin_states;
};

// Serves until destroyed. Errors: as http::Server::Start.
absl::StatusOr<std::unique_ptr<http::Server>> StartMetricsPort(const std::string& listen,
                                                               MetricsPortSources sources);

}  // namespace epp::serve
