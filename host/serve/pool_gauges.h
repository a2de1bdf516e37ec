// The pool as gauges and as counts.
#pragma once

#include <memory>
#include <string>

#include "host/admin/status_view.h"
#include "host/base/clock.h"
#include "host/pool/pool.h"
#include "host/telemetry/epp_metrics.h"

namespace epp::serve {

class PoolGauges {
 public:
  // All borrowed. Queue lengths per endpoint are read whenever metrics are collected.
  PoolGauges(pool::Pool* pool, telemetry::EppMetrics* metrics, const Clock* clock,
             std::string pool_name);

  // Recomputes averages over endpoints with fresh metrics, and counts by state.
  void Flush();
  // Fills the pool's part of a status, with the endpoints that are not fresh.
  void Describe(admin::Status& status) const;

 private:
  // A column that the core metrics extractor publishes; null when nobody does.
  const epp_column* CoreColumn(const pool::Frame& frame, std::string_view key, int32_t type) const;

  pool::Pool* pool_;
  telemetry::EppMetrics* metrics_;
  const Clock* clock_;
  const std::string pool_name_;
  std::unique_ptr<telemetry::Registry::Callback> queues_;
};

}  // namespace epp::serve
