#include "host/serve/pool_gauges.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "host/admin/pool_view.h"
#include "host/base/str_cat.h"

namespace epp::serve {
namespace {

constexpr size_t kMaxProblems = 8;

double IntAt(const epp_column* column, size_t i) {
  return column ? static_cast<double>(static_cast<const int64_t*>(column->values)[i]) : 0.0;
}

// Mean, and the deviation of a sample around it.
void Summarise(const std::vector<double>& values, double* average, double* deviation) {
  if (values.empty()) return;
  double sum = 0;
  for (const double v : values) sum += v;
  *average = sum / static_cast<double>(values.size());
  double squares = 0;
  for (const double v : values) squares += (v - *average) * (v - *average);
  *deviation = std::sqrt(squares / static_cast<double>(std::max<size_t>(values.size() - 1, 1)));
}

uint64_t AgeOf(const pool::Frame& frame, size_t i, uint64_t now_ns) {
  const uint64_t at = frame.sampled_ns()[i];
  return at && now_ns > at ? now_ns - at : 0;
}

}  // namespace

PoolGauges::PoolGauges(pool::Pool* pool, telemetry::EppMetrics* metrics, const Clock* clock,
                       std::string pool_name)
    : pool_(pool), metrics_(metrics), clock_(clock), pool_name_(std::move(pool_name)) {
  queues_ = metrics_->PerEndpointQueue([this](const telemetry::Emit& emit) {
    const auto frame = pool_->current();
    const epp_column* queue = CoreColumn(*frame, "WaitingQueueSize", EPP_T_I64);
    if (queue == nullptr) return;
    for (size_t i = 0; i < frame->size(); ++i) {
      const pool::Endpoint::Fields& fields = frame->owners()[i]->fields();
      emit({pool_name_, fields.name_space, fields.name}, IntAt(queue, i));
    }
  });
}

const epp_column* PoolGauges::CoreColumn(const pool::Frame& frame, std::string_view key,
                                         int32_t type) const {
  const auto id = pool_->attributes().Register(key, "core-metrics-extractor", type);
  if (!id.ok()) return nullptr;
  const epp_column& column = frame.column(*id);
  return column.values ? &column : nullptr;
}

void PoolGauges::Flush() {
  const auto frame = pool_->current();
  const uint64_t now = clock_->mono_ns();
  const epp_column* queue_column = CoreColumn(*frame, "WaitingQueueSize", EPP_T_I64);
  const epp_column* running_column = CoreColumn(*frame, "RunningRequestsSize", EPP_T_I64);
  const epp_column* kv_column = CoreColumn(*frame, "KVCacheUsagePercent", EPP_T_F64);

  telemetry::PoolStats stats;
  std::array<int, 4> by_state{};
  uint64_t oldest = 0;
  std::vector<double> queue, running, kv;
  for (size_t i = 0; i < frame->size(); ++i) {
    ++by_state[static_cast<size_t>(frame->states()[i])];
    oldest = std::max(oldest, AgeOf(*frame, i, now));
    if (frame->states()[i] != pool::EndpointState::kFresh) continue;
    ++stats.fresh;
    queue.push_back(IntAt(queue_column, i));
    running.push_back(IntAt(running_column, i));
    kv.push_back(kv_column ? static_cast<const double*>(kv_column->values)[i] : 0.0);
  }
  Summarise(queue, &stats.average_queue, &stats.std_dev_queue);
  Summarise(running, &stats.average_running, &stats.std_dev_running);
  Summarise(kv, &stats.average_kv, &stats.std_dev_kv);
  metrics_->SetPool(pool_name_, stats);
  static constexpr std::array kStates = {"unknown", "fresh", "stale", "unreachable"};
  for (size_t s = 0; s < by_state.size(); ++s) {
    metrics_->pool_endpoints.With({kStates[s]}).Set(by_state[s]);
  }
  metrics_->scrape_max_age_seconds.Set(static_cast<double>(oldest) * 1e-9);
}

void PoolGauges::Describe(admin::Status& status) const {
  const auto frame = pool_->current();
  const uint64_t now = clock_->mono_ns();
  uint64_t oldest = 0;
  for (size_t i = 0; i < frame->size(); ++i) {
    switch (frame->states()[i]) {
      case pool::EndpointState::kFresh:
        ++status.pool.fresh;
        oldest = std::max(oldest, AgeOf(*frame, i, now));
        continue;
      case pool::EndpointState::kStale:
        ++status.pool.stale;
        break;
      case pool::EndpointState::kUnreachable:
        ++status.pool.unreachable;
        break;
      case pool::EndpointState::kUnknown:
        ++status.pool.unknown;
        break;
    }
    if (status.pool_problems.size() < kMaxProblems) {
      const epp_str name = frame->endpoints()[i]->name;
      status.pool_problems.push_back(StrCat(std::string_view(name.data, name.size), " ",
                                            admin::StateName(frame->states()[i])));
    }
  }
  status.pool.oldest_ms = oldest / 1'000'000;
}

}  // namespace epp::serve
