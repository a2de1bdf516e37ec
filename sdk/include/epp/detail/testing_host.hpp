// The fake host of epp/testing.hpp: clock, randomness, interning, logs and metrics that a test can
// read, and the arena of a fake request. Every function may be called from any thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "epp/plugin.hpp"

#if defined(__cpp_exceptions)
#include <stdexcept>
#endif

namespace epp::test {

// The test itself is wrong (an interface that the type lacks, a row that the pool lacks), or the
// plugin broke the contract in a way that the real host would refuse.
[[noreturn]] inline void Misuse(const std::string& what) {
#if defined(__cpp_exceptions)
  throw std::logic_error("epp/testing.hpp: " + what);
#else
  std::fprintf(stderr, "epp/testing.hpp: %s\n", what.c_str());
  std::abort();
#endif
}

struct LogLine {
  int32_t level;  // EPP_LOG_*
  std::string text;
};

using Labels = std::map<std::string, std::string>;

// Declare it before the instances that use it; an instance made without one has its own.
class Host {
 public:
  explicit Host(uint32_t workers = 4) {
    table_.struct_size = sizeof(epp_host);
    table_.abi_minor = EPP_ABI_MINOR;
    table_.worker_count = workers;
    table_.ctx = this;
    table_.log_enabled = [](void* c, int32_t level) noexcept -> int32_t {
      return level >= Self(c).log_level_;
    };
    table_.log = [](void* c, int32_t level, epp_str text) noexcept {
      const std::lock_guard lock(Self(c).mu_);
      Self(c).logs_.push_back({level, std::string(View(text))});
    };
    table_.mono_ns = [](void* c) noexcept { return Self(c).mono_ns(); };
    table_.unix_ns = [](void* c) noexcept { return Self(c).unix_ns(); };
    table_.random_u64 = [](void* c) noexcept { return Self(c).Random(); };
    table_.intern = [](void* c, epp_str text) noexcept { return Self(c).Symbol(View(text)); };
    table_.find = [](void* c, epp_str text) noexcept { return Self(c).FindSymbol(View(text)); };
    table_.symbol_text = [](void* c, uint32_t symbol) noexcept {
      return Str(Self(c).Text(symbol));
    };
    table_.metric_register = &Register;
    table_.metric_series = &MakeSeries;
    table_.metric_add = &AddTo;
    table_.get_extension = [](void* c, const char* id) noexcept -> const void* {
      const std::lock_guard lock(Self(c).mu_);
      const auto it = Self(c).extensions_.find(id);
      return it == Self(c).extensions_.end() ? nullptr : it->second;
    };
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // ---- what a test sets ----
  void Advance(uint64_t ns) {
    const std::lock_guard lock(mu_);
    mono_ns_ += ns;
  }
  void Seed(uint64_t seed) {
    const std::lock_guard lock(mu_);
    random_ = seed;
  }
  // Lines below the level are neither asked for nor kept. Everything is by default.
  void SetLogLevel(int32_t level) { log_level_ = level; }
  // The table must outlive the host.
  void SetExtension(const std::string& id, const void* table) {
    const std::lock_guard lock(mu_);
    extensions_[id] = table;
  }

  // ---- what a test reads ----
  uint64_t mono_ns() const {
    const std::lock_guard lock(mu_);
    return mono_ns_;
  }
  uint64_t unix_ns() const { return kUnixMinusMono + mono_ns(); }
  uint32_t Symbol(std::string_view text) {
    const std::lock_guard lock(mu_);
    const auto it = symbols_.find(text);
    if (it != symbols_.end()) return it->second;
    texts_.push_back(std::make_unique<std::string>(text));
    const auto symbol = static_cast<uint32_t>(texts_.size());
    symbols_.emplace(*texts_.back(), symbol);
    return symbol;
  }
  uint32_t FindSymbol(std::string_view text) const {
    const std::lock_guard lock(mu_);
    const auto it = symbols_.find(text);
    return it == symbols_.end() ? 0 : it->second;
  }
  std::string_view Text(uint32_t symbol) const {
    const std::lock_guard lock(mu_);
    return symbol == 0 || symbol > texts_.size() ? std::string_view() : *texts_[symbol - 1];
  }
  std::vector<LogLine> logs() const {
    const std::lock_guard lock(mu_);
    return logs_;
  }
  // The value of a series: a counter's sum, a gauge's last value, the sum of a histogram's
  // observations; 0 when nothing was recorded. The name is the one that the plugin registered.
  double Metric(const std::string& name, const Labels& labels = {}) const {
    double total = 0;
    const std::lock_guard lock(mu_);
    for (const SeriesData& s : series_) {
      const MetricData& m = metrics_[s.metric];
      if (m.name != name || s.labels != labels) continue;
      for (const double v : s.values) total = m.kind == EPP_METRIC_GAUGE ? v : total + v;
    }
    return total;
  }
  // Every value that was passed to metric_add, in order.
  std::vector<double> Observations(const std::string& name, const Labels& labels = {}) const {
    const std::lock_guard lock(mu_);
    for (const SeriesData& s : series_) {
      if (metrics_[s.metric].name == name && s.labels == labels) return s.values;
    }
    return {};
  }
  bool HasMetric(const std::string& name) const {
    const std::lock_guard lock(mu_);
    return std::any_of(metrics_.begin(), metrics_.end(),
                       [&](const MetricData& m) { return m.name == name; });
  }
  const epp_host* raw() const { return &table_; }

  // Metrics can be registered only while this is set; the instance sets it around create.
  void SetCreating(bool creating) {
    const std::lock_guard lock(mu_);
    creating_ = creating;
  }

 private:
  static constexpr uint64_t kUnixMinusMono = 1'700'000'000'000'000'000;
  struct MetricData {
    int32_t kind;
    std::string name;
    std::vector<std::string> labels;
  };
  struct SeriesData {
    size_t metric;
    Labels labels;
    std::vector<double> values;
  };

  static Host& Self(void* ctx) { return *static_cast<Host*>(ctx); }

  uint64_t Random() {  // splitmix64
    const std::lock_guard lock(mu_);
    uint64_t z = (random_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  static uint64_t Register(void* ctx, int32_t kind, epp_str name, epp_str, const epp_str* labels,
                           uint32_t label_count, const double* bounds, uint32_t bound_count,
                           epp_error* err) noexcept {
    Host& self = Self(ctx);
    const auto refuse = [&](epp_status code, std::string_view why) -> uint64_t {
      epp::detail::Fill(err, code, why);
      return 0;
    };
    const std::lock_guard lock(self.mu_);
    if (!self.creating_) {
      return refuse(EPP_FAILED_PRECONDITION, "a metric can be registered within create only");
    }
    if (kind < EPP_METRIC_COUNTER || kind > EPP_METRIC_HISTOGRAM || name.size == 0) {
      return refuse(EPP_INVALID_ARGUMENT, "a metric needs a kind and a name");
    }
    if (!std::is_sorted(bounds, bounds + bound_count)) {
      return refuse(EPP_INVALID_ARGUMENT, "the bounds of a histogram must ascend");
    }
    MetricData m{kind, std::string(View(name)), {}};
    for (uint32_t i = 0; i < label_count; ++i) m.labels.emplace_back(View(labels[i]));
    for (size_t i = 0; i < self.metrics_.size(); ++i) {
      const MetricData& old = self.metrics_[i];
      if (old.name != m.name) continue;
      if (old.kind == m.kind && old.labels == m.labels) return i + 1;
      return refuse(EPP_INVALID_ARGUMENT, "metric registered twice with another kind or labels");
    }
    self.metrics_.push_back(std::move(m));
    return self.metrics_.size();
  }
  static uint64_t MakeSeries(void* ctx, uint64_t metric, const epp_str* values,
                             uint32_t count) noexcept {
    Host& self = Self(ctx);
    const std::lock_guard lock(self.mu_);
    if (metric == 0 || metric > self.metrics_.size()) return 0;
    const MetricData& m = self.metrics_[metric - 1];
    if (m.labels.size() != count) return 0;
    SeriesData s{metric - 1, {}, {}};
    for (uint32_t i = 0; i < count; ++i) s.labels[m.labels[i]] = View(values[i]);
    for (size_t i = 0; i < self.series_.size(); ++i) {
      if (self.series_[i].metric == s.metric && self.series_[i].labels == s.labels) return i + 1;
    }
    self.series_.push_back(std::move(s));
    return self.series_.size();
  }
  static void AddTo(void* ctx, uint64_t series, double value) noexcept {
    Host& self = Self(ctx);
    const std::lock_guard lock(self.mu_);
    if (series != 0 && series <= self.series_.size()) {
      self.series_[series - 1].values.push_back(value);
    }
  }

  epp_host table_{};
  int32_t log_level_ = EPP_LOG_TRACE;
  mutable std::mutex mu_;
  bool creating_ = false;
  uint64_t mono_ns_ = 1'000'000'000'000;
  uint64_t random_ = 1;
  std::map<std::string, uint32_t, std::less<>> symbols_;
  std::vector<std::unique_ptr<std::string>> texts_;
  std::vector<LogLine> logs_;
  std::vector<MetricData> metrics_;
  std::vector<SeriesData> series_;
  std::map<std::string, const void*, std::less<>> extensions_;
};

// Memory that lives as long as a fake request. Filled with a pattern, so that reading what was not
// written shows; every block has its own allocation, so that sanitizers see its ends.
class Arena {
 public:
  static constexpr uint64_t kMaxBlock = 16u << 20;

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    for (const auto& [p, align] : blocks_) ::operator delete(p, std::align_val_t(align));
  }
  static void* Alloc(void* arena, uint64_t size, uint64_t align) noexcept {
    if (size > kMaxBlock || !std::has_single_bit(align)) return nullptr;
    void* p = ::operator new(size, std::align_val_t(align));
    std::memset(p, 0xa5, size);
    static_cast<Arena*>(arena)->blocks_.emplace_back(p, align);
    return p;
  }

 private:
  std::vector<std::pair<void*, uint64_t>> blocks_;
};

}  // namespace epp::test
