#include "host/request/saturation.h"

#include <algorithm>

namespace epp::request {
namespace {

constexpr double kFullQueue = 5;
constexpr double kFullCache = 0.8;

const epp_column* CoreColumn(pool::Pool& pool, const pool::Frame& frame, std::string_view key,
                             int32_t type) {
  const auto id = pool.attributes().Register(key, "core-metrics-extractor", type);
  if (!id.ok()) return nullptr;
  const epp_column& column = frame.column(*id);
  return column.values ? &column : nullptr;
}

}  // namespace

double Saturation(pool::Pool& pool, const pool::Frame& frame, std::span<const uint32_t> rows,
                  bool all, uint64_t now_ns, uint64_t stale_ns) {
  const size_t count = all ? frame.size() : rows.size();
  if (count == 0) return 1;
  const epp_column* queue = CoreColumn(pool, frame, "WaitingQueueSize", EPP_T_I64);
  const epp_column* cache = CoreColumn(pool, frame, "KVCacheUsagePercent", EPP_T_F64);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t row = all ? i : rows[i];
    const uint64_t at = frame.sampled_ns()[row];
    if (at == 0 || (now_ns > at && now_ns - at > stale_ns)) {
      sum += 1;
      continue;
    }
    const double waiting =
        queue ? static_cast<double>(static_cast<const int64_t*>(queue->values)[row]) : 0;
    const double used = cache ? static_cast<const double*>(cache->values)[row] : 0;
    sum += std::max(waiting / kFullQueue, used / kFullCache);
  }
  return sum / static_cast<double>(count);
}

}  // namespace epp::request
