// Objectives and model rewrites of a serving process: read from files, followed, told about.
#pragma once

#include <string>

#include "host/admin/status_view.h"
#include "host/config/diagnostics.h"
#include "host/objects/object_files.h"
#include "host/objects/object_set.h"
#include "host/serve/conditions.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::serve {

// Threads: any, but for Start, which is called at most once and before the others.
class FollowedObjects {
 public:
  // Borrowed.
  FollowedObjects(Conditions* conditions, telemetry::EppMetrics* metrics)
      : conditions_(conditions), metrics_(metrics) {}

  // Reads what is in the endpoints file and beside it, and follows it if `watch`. Problems are in
  // `out`; none of them keeps the process from serving.
  void Start(const std::string& endpoints_file, bool watch, objects::PoolIdentity pool,
             config::Diagnostics& out);
  void Reload() { files_.Reload(); }
  const objects::ObjectSlot* slot() const { return &slot_; }

  void Describe(admin::Status& status) const;
  // The document "epp.objects/1": all of them, and what was refused.
  std::string Json() const;

 private:
  void Take(const objects::ObjectsReport& report);

  Conditions* const conditions_;
  telemetry::EppMetrics* const metrics_;
  objects::ObjectSlot slot_;
  objects::ObjectFiles files_;  // last: its thread uses all of the above
};

}  // namespace epp::serve
