// The part of the admin API that begins, shows and ends a shadow.
#pragma once

#include <functional>
#include <string>

#include "host/http/router.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::admin {

struct ShadowAsk {
  std::string text;  // of the candidate's config
  std::string file;  // its name, for reports and diagnostics
  double sample = 0.1;
  double minutes = 60;
};

// What became of a request to begin or to end one.
struct ShadowAnswer {
  bool refused = false;
  std::string json;
  std::string text;
};

// Called on the server's thread; must not block.
class ShadowBackend {
 public:
  using Done = std::function<void(ShadowAnswer)>;
  virtual ~ShadowBackend() = default;
  // `done` is called from another thread, once.
  virtual void StartShadow(ShadowAsk ask, Done done) = 0;
  virtual void StopShadow(Done done) = 0;
  virtual std::string ShadowJson() = 0;  // "epp.shadow/1"
  virtual std::string ShadowText() = 0;
};

// Largest body of a POST: a config of 1 MiB as a JSON string.
inline constexpr size_t kMaxShadowBody = (size_t{5} << 20) / 2;

// GET and POST /admin/shadow, POST /admin/shadow/stop. With `read_only` the POSTs are refused.
void AddShadowRoutes(http::Router& router, ShadowBackend* backend, telemetry::EppMetrics* metrics,
                     bool read_only);

}  // namespace epp::admin
