// Metrics whose hot path touches no shared cache line.
//
// Every worker owns private cells; a handle names a cell, so an update is one load and one store
// in memory that only this worker writes. Collection sums over the workers. Label sets are resolved
// to handles once, off the hot path.
//
//   CounterFamily picks = *registry.Counters({"epp_picks_total", "Picks.", {"profile"}});
//   Counter decode = picks.With({"decode"});   // once
//   decode.Add();                              // per request
//
// Names: registering a known name again returns the family that exists, so values survive a
// reload. Threads: everything here is safe from any thread; updates never block.
// Lifetime: families and handles are values that borrow the registry. A default-made handle is a
// no-op. After a series is removed its handles stay harmless, but what they add may be counted for
// a later series; stop using them first.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "host/telemetry/worker.h"

namespace epp::telemetry {

class Registry;

namespace internal {

struct Family;

// The cells of all workers. A series occupies consecutive cells of one chunk; a worker's chunk
// exists from its first update on.
class CellStore {
 public:
  using Cell = std::atomic<uint64_t>;
  static constexpr uint32_t kChunkCells = 512;
  static constexpr uint32_t kMaxChunks = 1u << 16;

  explicit CellStore(int workers);
  ~CellStore();
  CellStore(const CellStore&) = delete;
  CellStore& operator=(const CellStore&) = delete;

  // Slot 0 is shared by all unbound threads, slots 1..workers have one writer each.
  int slots() const { return slots_; }

  // The calling thread's cell, and whether the thread is its only writer.
  Cell* Mine(uint32_t cell, bool* exclusive) {
    int slot = WorkerSlot();
    if (slot >= slots_) slot = 0;
    *exclusive = slot != 0;
    return At(slot, cell);
  }
  Cell* At(int slot, uint32_t cell) {
    Cell* chunk = tables_[slot][cell / kChunkCells].load(std::memory_order_acquire);
    if (chunk == nullptr) [[unlikely]] {
      chunk = MakeChunk(slot, cell / kChunkCells);
    }
    return chunk + cell % kChunkCells;
  }
  // As At, but null where the worker has not written yet.
  const Cell* Peek(int slot, uint32_t cell) const {
    const Cell* chunk = tables_[slot][cell / kChunkCells].load(std::memory_order_acquire);
    return chunk == nullptr ? nullptr : chunk + cell % kChunkCells;
  }

 private:
  Cell* MakeChunk(int slot, uint32_t chunk);

  const int slots_;
  std::vector<std::atomic<Cell*>*> tables_;
};

// Relaxed is enough: a cell is a sum of its own, read only to be reported.
inline void AddTo(CellStore& cells, uint32_t cell, uint64_t n) {
  bool exclusive;
  CellStore::Cell* c = cells.Mine(cell, &exclusive);
  if (exclusive) {
    c->store(c->load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  } else {
    c->fetch_add(n, std::memory_order_relaxed);
  }
}

inline void AddDouble(CellStore::Cell* c, bool exclusive, double v) {
  uint64_t old = c->load(std::memory_order_relaxed);
  if (exclusive) {
    c->store(std::bit_cast<uint64_t>(std::bit_cast<double>(old) + v), std::memory_order_relaxed);
    return;
  }
  while (!c->compare_exchange_weak(old, std::bit_cast<uint64_t>(std::bit_cast<double>(old) + v),
                                   std::memory_order_relaxed)) {
  }
}

}  // namespace internal

// Label values in the order of the family's label names.
using LabelValues = std::vector<std::string_view>;

class Counter {
 public:
  Counter() = default;
  void Add(uint64_t n = 1) const {
    if (cells_ != nullptr) internal::AddTo(*cells_, cell_, n);
  }
  uint64_t Value() const;  // sum over workers; for tests and status

 private:
  friend class CounterFamily;
  Counter(internal::CellStore* cells, uint32_t cell) : cells_(cells), cell_(cell) {}
  internal::CellStore* cells_ = nullptr;
  uint32_t cell_ = 0;
};

// A level that many workers raise and lower, such as requests in flight. Shown as a gauge.
class UpDown {
 public:
  UpDown() = default;
  void Add(int64_t n = 1) const {
    if (cells_ != nullptr) internal::AddTo(*cells_, cell_, static_cast<uint64_t>(n));
  }
  void Sub(int64_t n = 1) const { Add(-n); }
  int64_t Value() const;

 private:
  friend class UpDownFamily;
  UpDown(internal::CellStore* cells, uint32_t cell) : cells_(cells), cell_(cell) {}
  internal::CellStore* cells_ = nullptr;
  uint32_t cell_ = 0;
};

// A measured value: the last Set wins. One cell for all threads; not for the request path.
class Gauge {
 public:
  Gauge() = default;
  void Set(double value) const {
    if (cell_ != nullptr) {
      cell_->store(std::bit_cast<uint64_t>(value), std::memory_order_relaxed);
    }
  }
  void Add(double value) const {
    if (cell_ != nullptr) internal::AddDouble(cell_, false, value);
  }
  double Value() const {
    return cell_ == nullptr ? 0 : std::bit_cast<double>(cell_->load(std::memory_order_relaxed));
  }

 private:
  friend class GaugeFamily;
  explicit Gauge(internal::CellStore::Cell* cell) : cell_(cell) {}
  internal::CellStore::Cell* cell_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  // NaN is ignored.
  void Observe(double value) const {
    if (cells_ == nullptr || std::isnan(value)) return;
    const double* bucket = std::lower_bound(bounds_, bounds_ + bucket_count_, value);
    bool exclusive;
    internal::CellStore::Cell* first = cells_->Mine(cell_, &exclusive);
    internal::CellStore::Cell* count = first + 1 + (bucket - bounds_);
    if (exclusive) {
      count->store(count->load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    } else {
      count->fetch_add(1, std::memory_order_relaxed);
    }
    internal::AddDouble(first, exclusive, value);
  }
  uint64_t Count() const;
  double Sum() const;

 private:
  friend class HistogramFamily;
  Histogram(internal::CellStore* cells, uint32_t cell, std::span<const double> bounds)
      : cells_(cells),
        bounds_(bounds.data()),
        cell_(cell),
        bucket_count_(static_cast<uint32_t>(bounds.size())) {}
  internal::CellStore* cells_ = nullptr;
  const double* bounds_ = nullptr;  // owned by the family
  uint32_t cell_ = 0;               // the sum; the buckets and +Inf follow
  uint32_t bucket_count_ = 0;
};

// What all families can do.
class FamilyBase {
 public:
  // Forgets the series with exactly these values; false when there is none.
  bool Remove(const LabelValues& values) const;
  // Forgets every series that has all the given label values; returns how many.
  size_t RemoveWhere(std::span<const std::pair<std::string_view, std::string_view>> labels) const;
  // Grows with every removal: a cache of handles is stale when it changed.
  uint64_t epoch() const;
  size_t series() const;

 protected:
  friend class Registry;
  internal::Family* family_ = nullptr;
  uint32_t Resolve(const LabelValues& values) const;
  internal::CellStore* cells() const;
};

// With: the handle of a label set, made on first use. Values are made valid UTF-8; a wrong number
// of values is our bug and yields the series of empty values. Beyond the family's series limit all
// further label sets share one series whose every label is "other". Cost: a hash under a lock.
class CounterFamily : public FamilyBase {
 public:
  Counter With(const LabelValues& values) const;
};
class UpDownFamily : public FamilyBase {
 public:
  UpDown With(const LabelValues& values) const;
};
class GaugeFamily : public FamilyBase {
 public:
  Gauge With(const LabelValues& values) const;
};
class HistogramFamily : public FamilyBase {
 public:
  Histogram With(const LabelValues& values) const;
};

struct FamilySpec {
  std::string name;
  std::string help;
  std::vector<std::string> labels = {};
  std::vector<double> buckets = {};  // histograms only: rising upper bounds, at most 256
  bool hide_untouched = false;       // leave out counters and histograms at zero
  size_t max_series = 20'000;
};

// Gives samples to a collection. Of samples with equal labels, the last counts.
using Emit = std::function<void(const LabelValues& values, double value)>;

class Registry {
 public:
  // `workers` bounds the indexes of WorkerBinding; others fall back to the shared cells.
  explicit Registry(int workers);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // Errors: InvalidArgument for an unusable name, label or bucket list; FailedPrecondition when the
  // name exists with another type, label list or buckets.
  absl::StatusOr<CounterFamily> Counters(const FamilySpec& spec);
  absl::StatusOr<UpDownFamily> UpDowns(const FamilySpec& spec);
  absl::StatusOr<GaugeFamily> Gauges(const FamilySpec& spec);
  absl::StatusOr<HistogramFamily> Histograms(const FamilySpec& spec);

  // Families whose samples are made at collection. While the returned object lives, `fn` is called
  // by collecting threads, one at a time; destroying it waits for a running call. `fn` must not add
  // or drop callbacks. A name has one callback at a time: the newest.
  class Callback;
  absl::StatusOr<std::unique_ptr<Callback>> GaugeCallback(const FamilySpec& spec,
                                                          std::function<void(const Emit&)> fn);
  absl::StatusOr<std::unique_ptr<Callback>> CounterCallback(const FamilySpec& spec,
                                                            std::function<void(const Emit&)> fn);

  // The Prometheus text exposition (version 0.0.4) of everything, sorted by name and labels.
  std::string Text() const;
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  friend class FamilyBase;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Registry::Callback {
 public:
  ~Callback();

 private:
  friend class Registry;
  Callback(Registry* registry, uint64_t id) : registry_(registry), id_(id) {}
  Registry* registry_;
  uint64_t id_;
};

}  // namespace epp::telemetry
