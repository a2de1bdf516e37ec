#include "host/loader/host_services.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "host/base/str_cat.h"
#include "host/base/utf8.h"
#include "host/loader/refusal.h"

namespace epp::loader {
namespace {

constexpr size_t kKeepRetired = 1024;
constexpr uint32_t kMaxLabels = 16;
constexpr uint32_t kMaxBounds = 64;

enum class Phase : uint8_t { kCreating, kLive, kRetired };

class Xoshiro final : public RandomSource {
 public:
  uint64_t Next() noexcept override {
    State& s = OfThread();
    const uint64_t result = std::rotl(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = std::rotl(s[3], 45);
    return result;
  }

  static State& OfThread() noexcept {
    thread_local State s{};
    if ((s[0] | s[1] | s[2] | s[3]) == 0) Seed(s);
    return s;
  }

 private:
  static void Seed(std::array<uint64_t, 4>& s) noexcept {
    if (getrandom(s.data(), sizeof(s), 0) == sizeof(s) && (s[0] | s[1] | s[2] | s[3]) != 0) return;
    // Threads must differ even without the system's help.
    uint64_t x = Clock::Real().mono_ns() ^ reinterpret_cast<uintptr_t>(s.data());
    for (uint64_t& word : s) {
      x += 0x9e3779b97f4a7c15;
      uint64_t z = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word = (z ^ (z >> 31)) | 1;
    }
  }
};

std::string_view View(epp_str s) {
  return s.data == nullptr || s.size == 0 ? std::string_view() : std::string_view(s.data, s.size);
}

bool IsMetricName(std::string_view name) {
  return !name.empty() && name.size() <= 200 && !(name[0] >= '0' && name[0] <= '9') &&
         std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_';
         });
}

void Fill(epp_error* error, epp_status code, std::string_view message) {
  if (error == nullptr || error->struct_size < sizeof(epp_error)) return;
  error->code = code;
  message = utf8::Truncate(message, sizeof(error->message) - 1);
  std::memcpy(error->message, message.data(), message.size());
  error->message[message.size()] = '\0';
}

}  // namespace

RandomSource& RandomSource::PerThread() noexcept {
  static Xoshiro& source = *new Xoshiro;
  return source;
}

RandomSource::State RandomSource::SavePerThread() noexcept { return Xoshiro::OfThread(); }

void RandomSource::RestorePerThread(const State& state) noexcept { Xoshiro::OfThread() = state; }

struct InstanceHost::Context {
  epp_host table{};
  const HostServicesOptions* options = nullptr;
  std::atomic<uint64_t>* late_calls = nullptr;
  std::string type;
  std::string name;
  bool own_metric_names = false;
  std::unique_ptr<Extensions> extensions;  // kept with the table, which may be called too late
  std::atomic<Phase> phase{Phase::kCreating};
  std::atomic<bool> reported{false};

  // The context of a call, or null when the instance is gone.
  static Context* Live(void* ctx, const char* function) noexcept {
    auto* self = static_cast<Context*>(ctx);
    if (self->phase.load(std::memory_order_acquire) != Phase::kRetired) [[likely]]
      return self;
    self->late_calls->fetch_add(1, std::memory_order_relaxed);
    if (!self->reported.exchange(true, std::memory_order_relaxed)) {
      std::array<char, 160> text;
      const int n = std::snprintf(text.data(), text.size(),
                                  "misbehaves: called %s after its instance was destroyed; further "
                                  "calls are not logged",
                                  function);
      self->options->log->Log(self->type, self->name, EPP_LOG_ERROR,
                              {text.data(), static_cast<size_t>(std::max(n, 0))});
    }
    return nullptr;
  }

  static int32_t LogEnabled(void* ctx, int32_t level) noexcept {
    Context* self = Live(ctx, "log_enabled");
    return self != nullptr && self->options->log->Enabled(level) ? 1 : 0;
  }

  static void Log(void* ctx, int32_t level, epp_str message) noexcept {
    Context* self = Live(ctx, "log");
    if (self == nullptr) return;
    level = std::clamp(level, EPP_LOG_TRACE, EPP_LOG_ERROR);
    if (!self->options->log->Enabled(level)) return;
    const std::string_view text = View(message).substr(0, LogSink::kMaxMessageBytes);
    if (utf8::Valid(text)) {
      self->options->log->Log(self->type, self->name, level, text);
    } else {
      const std::string clean = utf8::Sanitise(text);
      self->options->log->Log(self->type, self->name, level,
                              utf8::Truncate(clean, LogSink::kMaxMessageBytes));
    }
  }

  static uint64_t MonoNs(void* ctx) noexcept {
    Context* self = Live(ctx, "mono_ns");
    return self != nullptr ? self->options->clock->mono_ns() : Clock::Real().mono_ns();
  }
  static uint64_t UnixNs(void* ctx) noexcept {
    Context* self = Live(ctx, "unix_ns");
    return self != nullptr ? self->options->clock->unix_ns() : Clock::Real().unix_ns();
  }
  static uint64_t RandomU64(void* ctx) noexcept {
    Context* self = Live(ctx, "random_u64");
    return self != nullptr ? self->options->random->Next() : RandomSource::PerThread().Next();
  }

  static uint32_t Intern(void* ctx, epp_str text) noexcept {
    Context* self = Live(ctx, "intern");
    return self != nullptr ? self->options->interner->Intern(View(text)) : 0;
  }
  static uint32_t Find(void* ctx, epp_str text) noexcept {
    Context* self = Live(ctx, "find");
    return self != nullptr ? self->options->interner->Find(View(text)) : 0;
  }
  static epp_str SymbolText(void* ctx, uint32_t symbol) noexcept {
    Context* self = Live(ctx, "symbol_text");
    if (self == nullptr) return {"", 0};
    const std::string_view text = self->options->interner->Text(symbol);
    return {text.data(), text.size()};
  }

  static uint64_t MetricRegister(void* ctx, int32_t kind, epp_str name, epp_str help,
                                 const epp_str* label_names, uint32_t label_count,
                                 const double* bounds, uint32_t bound_count,
                                 epp_error* error) noexcept {
    Context* self = Live(ctx, "metric_register");
    if (self == nullptr || self->phase.load(std::memory_order_acquire) != Phase::kCreating) {
      Fill(error, EPP_FAILED_PRECONDITION, "metrics can be registered within create only");
      return 0;
    }
    const absl::StatusOr<MetricSpec> spec =
        self->Spec(kind, View(name), View(help), {label_names, label_names ? label_count : 0},
                   {bounds, bounds ? bound_count : 0});
    absl::StatusOr<uint64_t> handle = spec.ok() ? self->options->metrics->Register(*spec)
                                                : absl::StatusOr<uint64_t>(spec.status());
    if (handle.ok()) return *handle;
    Fill(error, static_cast<epp_status>(handle.status().code()), MessageOf(handle.status()));
    return 0;
  }

  absl::StatusOr<MetricSpec> Spec(int32_t kind, std::string_view metric, std::string_view help,
                                  std::span<const epp_str> labels,
                                  std::span<const double> bounds) const {
    MetricSpec spec;
    if (kind < EPP_METRIC_COUNTER || kind > EPP_METRIC_HISTOGRAM) {
      return absl::InvalidArgumentError(StrCat("metric kind is ", kind, ", want 1, 2 or 3"));
    }
    spec.kind = kind;
    if (!IsMetricName(metric)) {
      return absl::InvalidArgumentError("metric name, want [a-zA-Z_][a-zA-Z0-9_]*");
    }
    spec.name = StrCat(own_metric_names ? "" : "epp_plugin_", metric);
    spec.help = utf8::Sanitise(help.substr(0, 1024));
    if (labels.size() > kMaxLabels || bounds.size() > kMaxBounds) {
      return absl::InvalidArgumentError(StrCat("metric ", spec.name, ": want at most ", kMaxLabels,
                                               " labels and ", kMaxBounds, " bounds"));
    }
    for (const epp_str& label : labels) {
      if (!IsMetricName(View(label))) {
        return absl::InvalidArgumentError(StrCat("metric ", spec.name, ": bad label name"));
      }
      spec.label_names.emplace_back(View(label));
    }
    spec.bounds.assign(bounds.begin(), bounds.end());
    const bool rising = std::ranges::none_of(spec.bounds, [](double b) { return std::isnan(b); }) &&
                        std::ranges::is_sorted(spec.bounds, std::less_equal<>()) &&
                        std::ranges::adjacent_find(spec.bounds) == spec.bounds.end();
    if (!rising || (kind != EPP_METRIC_HISTOGRAM && !spec.bounds.empty())) {
      return absl::InvalidArgumentError(
          StrCat("metric ", spec.name, ": want rising bounds for a histogram and none otherwise"));
    }
    return spec;
  }

  static uint64_t MetricSeries(void* ctx, uint64_t metric, const epp_str* label_values,
                               uint32_t label_count) noexcept {
    Context* self = Live(ctx, "metric_series");
    if (self == nullptr || metric == 0 || label_count > kMaxLabels ||
        (label_values == nullptr && label_count != 0)) {
      return 0;
    }
    std::array<std::string_view, kMaxLabels> values;
    std::array<std::string, kMaxLabels> clean;
    for (uint32_t i = 0; i < label_count; ++i) {
      values[i] = View(label_values[i]);
      if (!utf8::Valid(values[i])) values[i] = clean[i] = utf8::Sanitise(values[i]);
    }
    return self->options->metrics->Series(metric, std::span(values.data(), label_count));
  }
  static void MetricAdd(void* ctx, uint64_t series, double value) noexcept {
    Context* self = Live(ctx, "metric_add");
    if (self != nullptr && series != 0) self->options->metrics->Add(series, value);
  }

  static epp_status BorrowListener(void* ctx, epp_str address, int32_t* fd,
                                   epp_error* error) noexcept {
    Context* self = Live(ctx, "borrow");
    if (self == nullptr) return EPP_FAILED_PRECONDITION;
    const absl::StatusOr<int> lent = self->options->listeners->Borrow(View(address));
    if (lent.ok()) {
      *fd = *lent;
      return EPP_OK;
    }
    const auto code = static_cast<epp_status>(lent.status().code());
    Fill(error, code, MessageOf(lent.status()));
    return code;
  }
  // Also of an instance that is gone: the descriptor is the host's to close.
  static void GiveListenerBack(void* ctx, int32_t fd) noexcept {
    static_cast<Context*>(ctx)->options->listeners->GiveBack(fd);
  }

  static const void* GetExtension(void* ctx, const char* id) noexcept {
    static constexpr epp_host_listener kListener{sizeof(epp_host_listener), 0, &BorrowListener,
                                                 &GiveListenerBack};
    Context* self = Live(ctx, "get_extension");
    if (self == nullptr || id == nullptr) return nullptr;
    if (std::string_view(id) == EPP_HOST_LISTENER_ID && self->options->listeners != nullptr) {
      return &kListener;
    }
    return self->extensions == nullptr ? nullptr : self->extensions->Get(id);
  }
};

InstanceHost::~InstanceHost() {
  Stop();
  services_->Retire(context_);
}

const epp_host* InstanceHost::table() const { return &context_->table; }

void InstanceHost::EndCreate() { context_->phase.store(Phase::kLive, std::memory_order_release); }

void InstanceHost::Stop() {
  if (context_->extensions != nullptr) context_->extensions->Stop();
}

HostServices::HostServices(const HostServicesOptions& options) : options_(options) {}
HostServices::~HostServices() = default;

std::unique_ptr<InstanceHost> HostServices::ForInstance(std::string type, std::string name,
                                                        bool own_metric_names) {
  using Context = InstanceHost::Context;
  std::lock_guard lock(mutex_);
  Context* context = nullptr;
  if (retired_.size() > kKeepRetired) {
    context = retired_.front();
    retired_.pop_front();
  } else {
    context = contexts_.emplace_back(std::make_unique<Context>()).get();
  }
  context->options = &options_;
  context->late_calls = &late_calls_;
  context->type = std::move(type);
  context->name = std::move(name);
  context->own_metric_names = own_metric_names;
  context->extensions = options_.extensions ? options_.extensions->ForInstance() : nullptr;
  context->reported.store(false, std::memory_order_relaxed);
  context->table = {sizeof(epp_host),
                    EPP_ABI_MINOR,
                    options_.worker_count,
                    0,
                    context,
                    &Context::LogEnabled,
                    &Context::Log,
                    &Context::MonoNs,
                    &Context::UnixNs,
                    &Context::RandomU64,
                    &Context::Intern,
                    &Context::Find,
                    &Context::SymbolText,
                    &Context::MetricRegister,
                    &Context::MetricSeries,
                    &Context::MetricAdd,
                    &Context::GetExtension};
  context->phase.store(Phase::kCreating, std::memory_order_release);
  return std::unique_ptr<InstanceHost>(new InstanceHost(this, context));
}

void HostServices::Retire(InstanceHost::Context* context) {
  context->phase.store(Phase::kRetired, std::memory_order_release);
  std::lock_guard lock(mutex_);
  retired_.push_back(context);
}

}  // namespace epp::loader
