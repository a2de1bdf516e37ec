#include "host/telemetry/metrics.h"

#include <cstdlib>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"
#include "host/base/utf8.h"
#include "host/telemetry/label_cap.h"
#include "host/telemetry/metrics_internal.h"

namespace epp::telemetry {
namespace internal {
namespace {

constexpr std::align_val_t kLine{64};
constexpr char kSeparator = '\xFF';  // never part of valid UTF-8, so joined values are unambiguous

}  // namespace

CellStore::CellStore(int workers) : slots_(std::max(workers, 0) + 1) {
  for (int i = 0; i < slots_; ++i) {
    // calloc: the table is mostly untouched pages.
    auto* table =
        static_cast<std::atomic<Cell*>*>(std::calloc(kMaxChunks, sizeof(std::atomic<Cell*>)));
    if (table == nullptr) std::abort();
    tables_.push_back(table);
  }
}

CellStore::~CellStore() {
  for (auto* table : tables_) {
    for (uint32_t i = 0; i < kMaxChunks; ++i) {
      if (Cell* chunk = table[i].load(std::memory_order_relaxed)) {
        ::operator delete(static_cast<void*>(chunk), kLine);
      }
    }
    std::free(table);
  }
}

CellStore::Cell* CellStore::MakeChunk(int slot, uint32_t chunk) {
  auto* fresh = static_cast<Cell*>(::operator new(kChunkCells * sizeof(Cell), kLine));
  for (uint32_t i = 0; i < kChunkCells; ++i) new (fresh + i) Cell(0);
  Cell* seen = nullptr;
  if (tables_[slot][chunk].compare_exchange_strong(seen, fresh, std::memory_order_acq_rel)) {
    return fresh;
  }
  ::operator delete(static_cast<void*>(fresh), kLine);
  return seen;
}

uint32_t CellAllocator::Take(uint32_t cells) {
  MutexLock lock(&mu_);
  if (auto& spare = spare_[cells]; !spare.empty()) {
    const uint32_t first = spare.back();
    spare.pop_back();
    return first;
  }
  uint32_t first = next_;
  if (first % CellStore::kChunkCells + cells > CellStore::kChunkCells) {
    first += CellStore::kChunkCells - first % CellStore::kChunkCells;
  }
  if (first / CellStore::kChunkCells >= CellStore::kMaxChunks) return UINT32_MAX;
  next_ = first + cells;
  return first;
}

void CellAllocator::Give(uint32_t first, uint32_t cells) {
  for (int slot = 0; slot < store_->slots(); ++slot) {
    if (store_->Peek(slot, first) == nullptr) continue;
    CellStore::Cell* cell = store_->At(slot, first);
    for (uint32_t i = 0; i < cells; ++i) cell[i].store(0, std::memory_order_relaxed);
  }
  MutexLock lock(&mu_);
  spare_[cells].push_back(first);
}

uint64_t SumCell(const CellStore& cells, uint32_t cell) {
  uint64_t sum = 0;
  for (int slot = 0; slot < cells.slots(); ++slot) {
    if (const auto* c = cells.Peek(slot, cell)) sum += c->load(std::memory_order_relaxed);
  }
  return sum;
}

double SumDoubleCell(const CellStore& cells, uint32_t cell) {
  double sum = 0;
  for (int slot = 0; slot < cells.slots(); ++slot) {
    if (const auto* c = cells.Peek(slot, cell)) {
      sum += std::bit_cast<double>(c->load(std::memory_order_relaxed));
    }
  }
  return sum;
}

uint32_t Family::Resolve(const LabelValues& given) {
  std::string key;
  std::vector<std::string> values(spec.labels.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (given.size() == values.size()) values[i] = utf8::Sanitise(given[i]);
    key.append(values[i]).push_back(kSeparator);
  }
  MutexLock lock(&mu);
  if (const auto it = series.find(key); it != series.end()) return it->second.cell;
  if (series.size() >= spec.max_series && !values.empty()) {
    key.clear();
    for (std::string& value : values) {
      value = LabelCap::kOther;
      key.append(value).push_back(kSeparator);
    }
    if (const auto it = series.find(key); it != series.end()) return it->second.cell;
  }
  const uint32_t cell = allocator->Take(cells_per_series());
  if (cell != UINT32_MAX) series.emplace(std::move(key), Series{std::move(values), cell});
  return cell;
}

template <typename Match>
size_t Family::RemoveIf(Match match) {
  MutexLock lock(&mu);
  size_t removed = 0;
  for (auto it = series.begin(); it != series.end();) {
    if (!match(it->second)) {
      ++it;
      continue;
    }
    epoch.fetch_add(1, std::memory_order_release);
    allocator->Give(it->second.cell, cells_per_series());
    it = series.erase(it);
    ++removed;
  }
  return removed;
}

}  // namespace internal

using internal::Family;
using internal::Snapshot;
using internal::Type;

struct Registry::Impl {
  explicit Impl(int workers) : cells(workers), allocator(&cells) {}

  internal::CellStore cells;
  internal::CellAllocator allocator;
  Mutex mu;
  std::map<std::string, std::unique_ptr<Family>, std::less<>> families ABSL_GUARDED_BY(mu);

  // Held while callbacks run, so that dropping one waits; never taken by updates or With.
  Mutex callback_mu;
  uint64_t next_callback ABSL_GUARDED_BY(callback_mu) = 1;
  struct CallbackState {
    Family* family;
    std::function<void(const Emit&)> fn;
  };
  std::map<uint64_t, CallbackState> callbacks ABSL_GUARDED_BY(callback_mu);

  absl::StatusOr<Family*> Find(Type type, const FamilySpec& spec);
  absl::StatusOr<std::unique_ptr<Callback>> AddCallback(Registry* registry, Type type,
                                                        const FamilySpec& spec,
                                                        std::function<void(const Emit&)> fn);
  Snapshot Take(const Family& family);
};

namespace {

bool NameOk(std::string_view name, bool colons) {
  if (name.empty() || name.size() > 200 || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [colons](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (colons && c == ':');
  });
}

absl::Status CheckSpec(Type type, const FamilySpec& spec) {
  if (!NameOk(spec.name, true)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("metric name \"%s\" is not usable, want letters, digits, _ and :",
                        utf8::Sanitise(utf8::Truncate(spec.name, 200))));
  }
  for (size_t i = 0; i < spec.labels.size(); ++i) {
    const std::string& label = spec.labels[i];
    const bool twice = std::count(spec.labels.begin(), spec.labels.end(), label) > 1;
    if (!NameOk(label, false) || label.starts_with("__") || twice ||
        (type == Type::kHistogram && label == "le")) {
      return absl::InvalidArgumentError(
          absl::StrFormat("metric %s: label name %d is not usable, want distinct letters, digits "
                          "and _, not le in a histogram",
                          spec.name, i));
    }
  }
  if (type != Type::kHistogram) return absl::OkStatus();
  const bool rising =
      std::adjacent_find(spec.buckets.begin(), spec.buckets.end(),
                         [](double a, double b) { return !(a < b); }) == spec.buckets.end();
  const bool finite = std::all_of(spec.buckets.begin(), spec.buckets.end(),
                                  [](double b) { return std::isfinite(b); });
  if (spec.buckets.empty() || spec.buckets.size() > 256 || !rising || !finite) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "metric %s: buckets are not usable, want 1 to 256 rising numbers", spec.name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Family*> Registry::Impl::Find(Type type, const FamilySpec& spec) {
  if (absl::Status status = CheckSpec(type, spec); !status.ok()) return status;
  MutexLock lock(&mu);
  std::unique_ptr<Family>& family = families[spec.name];
  if (family == nullptr) family = std::make_unique<Family>(type, spec, &allocator);
  if (family->type != type || family->spec.labels != spec.labels ||
      (type == Type::kHistogram && family->spec.buckets != spec.buckets)) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "metric %s exists already with another type, label list or buckets", spec.name));
  }
  return family.get();
}

absl::StatusOr<std::unique_ptr<Registry::Callback>> Registry::Impl::AddCallback(
    Registry* registry, Type type, const FamilySpec& spec, std::function<void(const Emit&)> fn) {
  auto family = Find(type, spec);
  if (!family.ok()) return family.status();
  MutexLock lock(&callback_mu);
  std::erase_if(callbacks, [&](const auto& entry) { return entry.second.family == *family; });
  const uint64_t id = next_callback++;
  callbacks.emplace(id, CallbackState{*family, std::move(fn)});
  return std::unique_ptr<Callback>(new Callback(registry, id));
}

Snapshot Registry::Impl::Take(const Family& family) {
  Snapshot out{family.spec.name,   family.spec.help,    family.type,
               family.spec.labels, family.spec.buckets, {}};
  MutexLock lock(&family.mu);
  out.rows.reserve(family.series.size());
  for (const auto& [key, series] : family.series) {
    Snapshot::Row row;
    bool touched = false;
    if (family.type == Type::kHistogram) {
      row.sum = internal::SumDoubleCell(cells, series.cell);
      for (uint32_t i = 0; i <= family.spec.buckets.size(); ++i) {
        row.buckets.push_back(internal::SumCell(cells, series.cell + 1 + i));
        touched |= row.buckets.back() != 0;
      }
    } else if (family.type == Type::kGauge) {
      row.value = internal::SumDoubleCell(cells, series.cell);
      touched = true;
    } else {
      const uint64_t sum = internal::SumCell(cells, series.cell);
      row.value = family.type == Type::kUpDown ? static_cast<double>(static_cast<int64_t>(sum))
                                               : static_cast<double>(sum);
      touched = family.type == Type::kUpDown || sum != 0;
    }
    if (!touched && family.spec.hide_untouched) continue;
    row.values = series.values;
    out.rows.push_back(std::move(row));
  }
  return out;
}

Registry::Registry(int workers) : impl_(std::make_unique<Impl>(workers)) {}
Registry::~Registry() = default;

absl::StatusOr<CounterFamily> Registry::Counters(const FamilySpec& spec) {
  auto family = impl_->Find(Type::kCounter, spec);
  if (!family.ok()) return family.status();
  CounterFamily out;
  out.family_ = *family;
  return out;
}

absl::StatusOr<UpDownFamily> Registry::UpDowns(const FamilySpec& spec) {
  auto family = impl_->Find(Type::kUpDown, spec);
  if (!family.ok()) return family.status();
  UpDownFamily out;
  out.family_ = *family;
  return out;
}

absl::StatusOr<GaugeFamily> Registry::Gauges(const FamilySpec& spec) {
  auto family = impl_->Find(Type::kGauge, spec);
  if (!family.ok()) return family.status();
  GaugeFamily out;
  out.family_ = *family;
  return out;
}

absl::StatusOr<HistogramFamily> Registry::Histograms(const FamilySpec& spec) {
  auto family = impl_->Find(Type::kHistogram, spec);
  if (!family.ok()) return family.status();
  HistogramFamily out;
  out.family_ = *family;
  return out;
}

absl::StatusOr<std::unique_ptr<Registry::Callback>> Registry::GaugeCallback(
    const FamilySpec& spec, std::function<void(const Emit&)> fn) {
  return impl_->AddCallback(this, Type::kGaugeCallback, spec, std::move(fn));
}

absl::StatusOr<std::unique_ptr<Registry::Callback>> Registry::CounterCallback(
    const FamilySpec& spec, std::function<void(const Emit&)> fn) {
  return impl_->AddCallback(this, Type::kCounterCallback, spec, std::move(fn));
}

Registry::Callback::~Callback() {
  MutexLock lock(&registry_->impl_->callback_mu);
  registry_->impl_->callbacks.erase(id_);
}

std::string Registry::Text() const {
  std::map<std::string, Snapshot> out;
  {
    MutexLock lock(&impl_->callback_mu);
    for (const auto& [id, callback] : impl_->callbacks) {
      const Family& family = *callback.family;
      std::map<std::vector<std::string>, double> samples;
      callback.fn([&](const LabelValues& values, double value) {
        std::vector<std::string> clean(family.spec.labels.size());
        for (size_t i = 0; i < clean.size() && i < values.size(); ++i) {
          clean[i] = utf8::Sanitise(values[i]);
        }
        if (samples.size() < family.spec.max_series || samples.contains(clean)) {
          samples[std::move(clean)] = value;
        }
      });
      Snapshot snapshot{
          family.spec.name, family.spec.help, family.type, family.spec.labels, {}, {}};
      for (auto& [values, value] : samples) snapshot.rows.push_back({values, value, {}, 0});
      out.emplace(family.spec.name, std::move(snapshot));
    }
  }
  std::vector<const Family*> plain;
  {
    MutexLock lock(&impl_->mu);
    for (const auto& [name, family] : impl_->families) plain.push_back(family.get());
  }
  for (const Family* family : plain) {
    if (family->type != Type::kGaugeCallback && family->type != Type::kCounterCallback) {
      out.emplace(family->spec.name, impl_->Take(*family));
    }
  }
  std::vector<Snapshot> sorted;
  sorted.reserve(out.size());
  for (auto& [name, snapshot] : out) sorted.push_back(std::move(snapshot));
  return internal::ToText(std::move(sorted));
}

bool FamilyBase::Remove(const LabelValues& values) const {
  return family_ != nullptr && family_->RemoveIf([&](const internal::Series& series) {
    return std::equal(series.values.begin(), series.values.end(), values.begin(), values.end());
  }) != 0;
}

size_t FamilyBase::RemoveWhere(
    std::span<const std::pair<std::string_view, std::string_view>> labels) const {
  if (family_ == nullptr) return 0;
  const std::vector<std::string>& names = family_->spec.labels;
  return family_->RemoveIf([&](const internal::Series& series) {
    return std::all_of(labels.begin(), labels.end(), [&](const auto& want) {
      const auto at = std::find(names.begin(), names.end(), want.first);
      return at != names.end() && series.values[at - names.begin()] == want.second;
    });
  });
}

uint64_t FamilyBase::epoch() const {
  return family_ == nullptr ? 0 : family_->epoch.load(std::memory_order_acquire);
}

size_t FamilyBase::series() const {
  if (family_ == nullptr) return 0;
  MutexLock lock(&family_->mu);
  return family_->series.size();
}

uint32_t FamilyBase::Resolve(const LabelValues& values) const {
  return family_ == nullptr ? UINT32_MAX : family_->Resolve(values);
}

internal::CellStore* FamilyBase::cells() const { return family_->allocator->store(); }

Counter CounterFamily::With(const LabelValues& values) const {
  const uint32_t cell = Resolve(values);
  return cell == UINT32_MAX ? Counter() : Counter(cells(), cell);
}

UpDown UpDownFamily::With(const LabelValues& values) const {
  const uint32_t cell = Resolve(values);
  return cell == UINT32_MAX ? UpDown() : UpDown(cells(), cell);
}

Gauge GaugeFamily::With(const LabelValues& values) const {
  const uint32_t cell = Resolve(values);
  return cell == UINT32_MAX ? Gauge() : Gauge(cells()->At(0, cell));
}

Histogram HistogramFamily::With(const LabelValues& values) const {
  const uint32_t cell = Resolve(values);
  return cell == UINT32_MAX ? Histogram() : Histogram(cells(), cell, family_->spec.buckets);
}

uint64_t Counter::Value() const { return cells_ ? internal::SumCell(*cells_, cell_) : 0; }

int64_t UpDown::Value() const {
  return cells_ ? static_cast<int64_t>(internal::SumCell(*cells_, cell_)) : 0;
}

uint64_t Histogram::Count() const {
  uint64_t count = 0;
  for (uint32_t i = 0; cells_ != nullptr && i <= bucket_count_; ++i) {
    count += internal::SumCell(*cells_, cell_ + 1 + i);
  }
  return count;
}

double Histogram::Sum() const { return cells_ ? internal::SumDoubleCell(*cells_, cell_) : 0; }

}  // namespace epp::telemetry
