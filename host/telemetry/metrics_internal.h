// What metrics.cc keeps and metrics_text.cc prints.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "host/base/mutex.h"
#include "host/telemetry/metrics.h"

namespace epp::telemetry::internal {

enum class Type { kCounter, kUpDown, kGauge, kHistogram, kGaugeCallback, kCounterCallback };

// Hands out and takes back runs of cells; a run never crosses a chunk.
class CellAllocator {
 public:
  explicit CellAllocator(CellStore* store) : store_(store) {}
  // First cell of a zeroed run; UINT32_MAX when the store is full.
  uint32_t Take(uint32_t cells);
  void Give(uint32_t first, uint32_t cells);
  CellStore* store() const { return store_; }

 private:
  CellStore* const store_;
  Mutex mu_;
  uint32_t next_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uint32_t, std::vector<uint32_t>> spare_ ABSL_GUARDED_BY(mu_);
};

struct Series {
  std::vector<std::string> values;
  uint32_t cell;
};

struct Family {
  Family(Type t, FamilySpec s, CellAllocator* a) : type(t), spec(std::move(s)), allocator(a) {}

  uint32_t cells_per_series() const {
    return type == Type::kHistogram ? static_cast<uint32_t>(spec.buckets.size()) + 2 : 1;
  }
  uint32_t Resolve(const LabelValues& values);
  // Removes every series for which match(series) holds.
  template <typename Match>
  size_t RemoveIf(Match match);

  const Type type;
  const FamilySpec spec;
  CellAllocator* const allocator;
  std::atomic<uint64_t> epoch{0};
  mutable Mutex mu;
  // Ordered by the joined values, so that the exposition is stable.
  std::map<std::string, Series, std::less<>> series ABSL_GUARDED_BY(mu);
};

// Sums over all workers.
uint64_t SumCell(const CellStore& cells, uint32_t cell);
double SumDoubleCell(const CellStore& cells, uint32_t cell);

// A sample of a callback family.
struct Sample {
  std::vector<std::string> values;
  double value;
};

// One family as it shall be printed.
struct Snapshot {
  std::string name;
  std::string help;
  Type type;
  std::vector<std::string> labels;
  std::vector<double> bounds;
  struct Row {
    std::vector<std::string> values;
    double value = 0;               // counter and gauge
    std::vector<uint64_t> buckets;  // per bucket, +Inf last; histogram only
    double sum = 0;
  };
  std::vector<Row> rows;
};

std::string ToText(std::vector<Snapshot> families);

}  // namespace epp::telemetry::internal
