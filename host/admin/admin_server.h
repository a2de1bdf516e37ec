// The admin API: what runs, why it decided, what is wrong; and reload. On a Unix socket.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "host/admin/change.h"
#include "host/admin/names.h"
#include "host/admin/shadow_routes.h"
#include "host/admin/status_view.h"
#include "host/base/clock.h"
#include "host/http/server.h"
#include "host/pool/pool.h"
#include "host/telemetry/decisions.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::admin {

// Where answers come from. Called on the server's thread; must not block.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual Status CurrentStatus() = 0;
  virtual std::string VersionJson() = 0;
  virtual std::string ConfigJson() = 0;  // effective config with origins
  virtual std::string GenerationsJson() = 0;
  virtual std::string PluginsJson() = 0;
  virtual std::string ObjectsJson() = 0;  // objectives and model rewrites
  // One of them with its texts, or "" when it is not kept.
  virtual std::string GenerationJson(uint64_t number) = 0;
  // "33 to 44".
  virtual std::string KeptGenerations() = 0;
  // SHA-256 of the config on disk; empty when it cannot be read.
  virtual std::string DiskDigest() = 0;
  // Reads config and plugins again, or goes back; `done` (may be null) is called from another
  // thread, once.
  virtual void Reload(Change change, std::function<void(ReloadAnswer)> done) = 0;
  // State of one instance as JSON, or "" when there is none of that name.
  virtual std::string PluginStateJson(std::string_view instance) = 0;
};

struct AdminOptions {
  std::string socket;
  std::string group;
  bool read_only = false;  // root may change something all the same
};

struct AdminSources {
  Backend* backend = nullptr;
  const Names* names = nullptr;
  const telemetry::DecisionRings* decisions = nullptr;
  const pool::Pool* pool = nullptr;
  const Clock* clock = nullptr;
  telemetry::EppMetrics* metrics = nullptr;
  ShadowBackend* shadow = nullptr;  // null: no such routes
};

// Every document has a "schema". `Accept: text/plain` gives, where a command prints the same, what
// the command prints. Errors are problem documents with a code.
absl::StatusOr<std::unique_ptr<http::Server>> StartAdminServer(const AdminOptions& options,
                                                               const AdminSources& sources);

}  // namespace epp::admin
