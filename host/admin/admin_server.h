// The admin API: what runs, why it decided, what is wrong; and reload. On a Unix socket.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "host/admin/names.h"
#include "host/admin/status_view.h"
#include "host/base/clock.h"
#include "host/http/server.h"
#include "host/pool/pool.h"
#include "host/telemetry/decisions.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::admin {

// The cause of a reload that also switches on what misbehaved.
inline constexpr const char* kForcedReload = "admin, forced";

// What a reload led to, for the client that asked for it.
struct ReloadAnswer {
  bool refused = false;
  std::string json;
  std::string text;
};

// Where answers come from. Called on the server's thread; must not block.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual Status CurrentStatus() = 0;
  virtual std::string VersionJson() = 0;
  virtual std::string ConfigJson() = 0;  // effective config with origins
  virtual std::string GenerationsJson() = 0;
  virtual std::string PluginsJson() = 0;
  // Reads config and plugins again; `done` is called from another thread, once.
  virtual void Reload(std::string cause, std::function<void(ReloadAnswer)> done) = 0;
  // State of one instance as JSON, or "" when there is none of that name.
  virtual std::string PluginStateJson(std::string_view instance) = 0;
};

struct AdminOptions {
  std::string socket;
  std::string group;
};

struct AdminSources {
  Backend* backend = nullptr;
  const Names* names = nullptr;
  const telemetry::DecisionRings* decisions = nullptr;
  const pool::Pool* pool = nullptr;
  const Clock* clock = nullptr;
  telemetry::EppMetrics* metrics = nullptr;
};

// Every document has a "schema". `Accept: text/plain` gives, where a command prints the same, what
// the command prints. Errors are problem documents with a code.
absl::StatusOr<std::unique_ptr<http::Server>> StartAdminServer(const AdminOptions& options,
                                                               const AdminSources& sources);

}  // namespace epp::admin
