#include "host/validate/check_host.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "absl/strings/escaping.h"
#include "host/base/str_cat.h"
#include "host/base/utf8.h"
#include "host/validate/case_numbers.h"
#include "host/validate/heap_probe.h"

namespace epp::validate {
namespace {

struct Stream {
  uint64_t random = 1;
  uint64_t now_ns = 0;
};
thread_local Stream stream;

constexpr uint64_t kStartNs = 1'000'000'000'000;
constexpr uint64_t kUnixMinusMono = 1'700'000'000'000'000'000;

uint64_t NextRandom() {  // splitmix64
  uint64_t z = (stream.random += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

bool IsMetricName(std::string_view name) {
  return !name.empty() && !(name[0] >= '0' && name[0] <= '9') &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_';
         });
}

}  // namespace

// The functions of epp_host.
struct CheckHost::Table {
  static CheckHost& Self(void* ctx, const char* function) {
    return static_cast<CheckHost*>(ctx)->Used(function);
  }
  static int32_t LogEnabled(void* ctx, int32_t level) noexcept {
    return level >= Self(ctx, "log_enabled").options_.log_level;
  }
  static void Log(void* ctx, int32_t level, epp_str text) noexcept {
    const NotCounted host_work;
    CheckHost& self = Self(ctx, "log");
    if (level < EPP_LOG_TRACE || level > EPP_LOG_ERROR) {
      self.findings_.Breach(kLogHygiene, StrCat("log: level ", level, " is none, want 0 to 4"));
    }
    if (!utf8::Valid(View(text))) {
      self.findings_.Breach(kLogHygiene, StrCat("log: not UTF-8: ", Shown(View(text))));
    }
  }
  static uint64_t MonoNs(void* ctx) noexcept {
    Self(ctx, "mono_ns");
    return NowNs();
  }
  static uint64_t UnixNs(void* ctx) noexcept {
    Self(ctx, "unix_ns");
    return kUnixMinusMono + NowNs();
  }
  static uint64_t RandomU64(void* ctx) noexcept {
    Self(ctx, "random_u64");
    return NextRandom();
  }
  static uint32_t Intern(void* ctx, epp_str text) noexcept {
    const NotCounted host_work;
    Self(ctx, "intern");
    return Symbols().Intern(View(text));
  }
  static uint32_t Find(void* ctx, epp_str text) noexcept {
    Self(ctx, "find");
    return Symbols().Find(View(text));
  }
  static epp_str SymbolText(void* ctx, uint32_t symbol) noexcept {
    Self(ctx, "symbol_text");
    return Str(Symbols().Text(symbol));
  }
  static uint64_t MetricRegister(void* ctx, int32_t kind, epp_str name, epp_str,
                                 const epp_str* labels, uint32_t label_count, const double* bounds,
                                 uint32_t bound_count, epp_error* err) noexcept {
    const NotCounted host_work;
    CheckHost& self = Self(ctx, "metric_register");
    for (const epp_str& label : std::span(labels, label_count)) {
      if (!IsMetricName(View(label))) {
        self.findings_.Breach(kThreadTags, StrCat("metric_register: \"", Shown(View(label)),
                                                  "\" is no name of a label"));
      }
    }
    return self.Register(kind, std::string(View(name)), label_count, bounds, bound_count, err);
  }
  static uint64_t MetricSeries(void* ctx, uint64_t metric, const epp_str* values,
                               uint32_t count) noexcept {
    const NotCounted host_work;
    CheckHost& self = Self(ctx, "metric_series");
    std::string labels;
    for (const epp_str& value : std::span(values, count)) {
      StrAppend(&labels, View(value), std::string_view("\0", 1));
    }
    return self.Series(metric, std::move(labels), count);
  }
  static void MetricAdd(void* ctx, uint64_t series, double) noexcept {
    CheckHost& self = Self(ctx, "metric_add");
    if (series > self.series_count_.load(std::memory_order_relaxed)) {
      self.findings_.Breach(kThreadTags,
                            StrCat("metric_add: series ", series, " was never given out"));
    }
  }
  static const void* GetExtension(void* ctx, const char*) noexcept {
    Self(ctx, "get_extension");
    return nullptr;
  }
};

CheckHost::CheckHost(Findings& findings, const HostOptions& options)
    : findings_(findings),
      options_(options),
      memory_(options.layout),
      table_(memory_.Struct<epp_host>("epp_host")) {
  table_->abi_minor = EPP_ABI_MINOR;
  table_->worker_count = kWorkers;
  table_->ctx = this;
  table_->log_enabled = &Table::LogEnabled;
  table_->log = &Table::Log;
  table_->mono_ns = &Table::MonoNs;
  table_->unix_ns = &Table::UnixNs;
  table_->random_u64 = &Table::RandomU64;
  table_->intern = &Table::Intern;
  table_->find = &Table::Find;
  table_->symbol_text = &Table::SymbolText;
  table_->metric_register = &Table::MetricRegister;
  table_->metric_series = &Table::MetricSeries;
  table_->metric_add = &Table::MetricAdd;
  table_->get_extension = &Table::GetExtension;
}

CheckHost& CheckHost::Immortal(Findings& findings, const HostOptions& options) {
  static auto& all = *new std::vector<std::unique_ptr<CheckHost>>;
  return *all.emplace_back(std::make_unique<CheckHost>(findings, options));
}

CheckHost& CheckHost::Used(const char* function) {
  if (retired_.load(std::memory_order_acquire)) {
    findings_.Breach(kQuietAfterDestroy,
                     StrCat("the instance called ", function, " after destroy had returned"));
  }
  return *this;
}

uint64_t CheckHost::Register(int32_t kind, std::string name, uint32_t label_count,
                             const double* bounds, uint32_t bound_count, epp_error* err) {
  const auto refuse = [&](epp_status code, std::string_view why) -> uint64_t {
    if (err != nullptr) {
      err->code = code;
      const size_t n = std::min(why.size(), sizeof(err->message) - 1);
      std::memcpy(err->message, why.data(), n);
      err->message[n] = '\0';
    }
    return 0;
  };
  if (!creating_.load()) {
    findings_.Breach(kThreadTags, StrCat("metric_register was called outside create, for \"",
                                         Shown(name), "\""));
    return refuse(EPP_FAILED_PRECONDITION, "a metric can be registered within create only");
  }
  if (options_.failing) return refuse(EPP_RESOURCE_EXHAUSTED, "no metric can be registered");
  if (kind < EPP_METRIC_COUNTER || kind > EPP_METRIC_HISTOGRAM || !IsMetricName(name) ||
      !std::is_sorted(bounds, bounds + bound_count)) {
    findings_.Breach(kThreadTags, StrCat("metric_register: \"", Shown(name), "\", kind ", kind,
                                         ": bad name, kind or bounds"));
    return refuse(EPP_INVALID_ARGUMENT, "bad name, kind or bounds");
  }
  const std::lock_guard lock(mutex_);
  const auto [it, is_new] = metrics_.emplace(std::move(name), metrics_.size() + 1);
  if (is_new) {
    shapes_.emplace_back(kind, label_count);
  } else if (shapes_[it->second - 1] != std::pair(kind, label_count)) {
    return refuse(EPP_INVALID_ARGUMENT, "registered before with another kind or labels");
  }
  return it->second;
}

uint64_t CheckHost::Series(uint64_t metric, std::string labels, uint32_t label_count) {
  const std::lock_guard lock(mutex_);
  if (metric == 0 || metric > shapes_.size() || shapes_[metric - 1].second != label_count) return 0;
  const auto it = series_.emplace(StrCat(metric, "/", labels), series_.size() + 1).first;
  series_count_.store(series_.size(), std::memory_order_relaxed);
  return it->second;
}

void CheckHost::StartThread(uint64_t seed) { stream = {seed, kStartNs}; }
uint64_t CheckHost::NowNs() { return stream.now_ns; }
void CheckHost::Advance(uint64_t ns) { stream.now_ns += ns; }

Interner& CheckHost::Symbols() {
  static auto& symbols = *new Interner;
  return symbols;
}

std::string Shown(std::string_view text) {
  return absl::CHexEscape(std::string(text.substr(0, 80)));
}
std::string_view View(epp_str text) {
  return text.size == 0 ? std::string_view() : std::string_view(text.data, text.size);
}
epp_str Str(std::string_view text) { return {text.empty() ? nullptr : text.data(), text.size()}; }

epp_error NewError() {
  epp_error error{};
  error.struct_size = sizeof(error);
  return error;
}

std::string_view MessageOf(const epp_error& error) {
  return {error.message, strnlen(error.message, sizeof(error.message))};
}

void CheckError(Findings& findings, std::string_view function, std::string_view of,
                epp_status status, const epp_error& error) {
  const std::string where = StrCat(function, " of ", of, ": ");
  if (status < EPP_OK || status > EPP_UNAUTHENTICATED) {
    findings.Breach(kLogHygiene, StrCat(where, "status ", status, " is none, want 0 to 16"));
  }
  if (status == EPP_OK) return;
  const std::string_view message = MessageOf(error);
  if (message.size() == sizeof(error.message)) {
    findings.Breach(kLogHygiene, StrCat(where, "the error's message does not end"));
  } else if (!utf8::Valid(message)) {
    findings.Breach(kLogHygiene,
                    StrCat(where, "the error's message is not UTF-8: ", Shown(message)));
  }
}

}  // namespace epp::validate
