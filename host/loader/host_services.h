// What a plugin instance may ask of the host: the epp_host tables and what is behind them.
//
// Each instance gets a table of its own, so that logs and metrics say who spoke. Where they go is
// behind two small interfaces, so that this folder knows neither the log nor the metrics library.
//
// Lifetime: HostServices must outlive every InstanceHost; sinks, clock and interner outlive both.
// A table stays callable after its InstanceHost is gone: a library that kept the pointer too long
// gets harmless answers and is reported once.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "epp/abi.h"
#include "host/base/clock.h"
#include "host/base/interner.h"

namespace epp::loader {

// Threads: any, for both sinks. Nothing may throw.
class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual bool Enabled(int32_t level) noexcept = 0;  // EPP_LOG_*
  // `message` is valid UTF-8 of at most kMaxMessageBytes.
  virtual void Log(std::string_view type, std::string_view name, int32_t level,
                   std::string_view message) noexcept = 0;

  static constexpr size_t kMaxMessageBytes = 4096;
};

struct MetricSpec {
  int32_t kind = 0;  // EPP_METRIC_*
  std::string name;  // complete, prefix included; [a-zA-Z_][a-zA-Z0-9_]*
  std::string help;
  std::vector<std::string> label_names;
  std::vector<double> bounds;  // rising upper bounds, histograms only
};

class MetricSink {
 public:
  virtual ~MetricSink() = default;
  // The same spec again gives the same handle. Handles are never 0.
  virtual absl::StatusOr<uint64_t> Register(const MetricSpec& spec) noexcept = 0;
  // One value a label. 0 when the handle is unknown or the limit of series is reached.
  virtual uint64_t Series(uint64_t metric,
                          std::span<const std::string_view> label_values) noexcept = 0;
  // Counter: adds; gauge: sets; histogram: observes. Must be cheap.
  virtual void Add(uint64_t series, double value) noexcept = 0;
};

class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual uint64_t Next() noexcept = 0;
  // One xoshiro256** a thread, seeded by the system. No lock. Never destroyed.
  static RandomSource& PerThread() noexcept;
  // What the calling thread's generator would give from here on, and back to it: whoever draws in
  // between changes nothing for those after.
  using State = std::array<uint64_t, 4>;
  static State SavePerThread() noexcept;
  static void RestorePerThread(const State& state) noexcept;
};

// Lends listening sockets; see epp_host_listener. Threads: any. Nothing may throw.
class ListenerSource {
 public:
  virtual ~ListenerSource() = default;
  virtual absl::StatusOr<int> Borrow(std::string_view address) noexcept = 0;
  virtual void GiveBack(int fd) noexcept = 0;
};

// What get_extension answers to one instance. The tables stay where they are until the destructor.
class Extensions {
 public:
  virtual ~Extensions() = default;
  virtual const void* Get(std::string_view id) noexcept = 0;  // null: unknown
  // Ends what the instance has going on. Nothing calls back afterwards, nothing new begins.
  virtual void Stop() noexcept = 0;
};

class ExtensionSource {
 public:
  virtual ~ExtensionSource() = default;
  virtual std::unique_ptr<Extensions> ForInstance() = 0;
};

struct HostServicesOptions {
  uint32_t worker_count = 1;
  LogSink* log = nullptr;         // required
  MetricSink* metrics = nullptr;  // required
  Interner* interner = nullptr;   // required
  const Clock* clock = &Clock::Real();
  RandomSource* random = &RandomSource::PerThread();
  ListenerSource* listeners = nullptr;    // null: plugins get no "epp.host.listener/1"
  ExtensionSource* extensions = nullptr;  // null: there are none
};

class HostServices;

// The host as one instance sees it. Create it before the instance, destroy it after.
class InstanceHost {
 public:
  ~InstanceHost();
  InstanceHost(const InstanceHost&) = delete;
  InstanceHost& operator=(const InstanceHost&) = delete;

  const epp_host* table() const;
  // Call when create has returned: metrics can be registered only before.
  void EndCreate();
  // Call before the instance is destroyed: ends its timers and the like.
  void Stop();

 private:
  friend class HostServices;
  struct Context;
  InstanceHost(HostServices* services, Context* context) : services_(services), context_(context) {}
  HostServices* services_;
  Context* context_;
};

class HostServices {
 public:
  explicit HostServices(const HostServicesOptions& options);
  ~HostServices();
  HostServices(const HostServices&) = delete;
  HostServices& operator=(const HostServices&) = delete;

  // `own_metric_names`: the plugin comes with the host, so its metrics get no "epp_plugin_" prefix.
  std::unique_ptr<InstanceHost> ForInstance(std::string type, std::string name,
                                            bool own_metric_names);

  // Calls that came through the table of a destroyed instance.
  uint64_t late_calls() const { return late_calls_.load(std::memory_order_relaxed); }

 private:
  friend class InstanceHost;
  void Retire(InstanceHost::Context* context);

  const HostServicesOptions options_;
  std::atomic<uint64_t> late_calls_{0};
  std::mutex mutex_;
  std::vector<std::unique_ptr<InstanceHost::Context>> contexts_;  // all ever made
  // Retired ones, oldest first. Reused only when many have retired since, so that a late call finds
  // a table that is known to be dead.
  std::deque<InstanceHost::Context*> retired_;
};

}  // namespace epp::loader
