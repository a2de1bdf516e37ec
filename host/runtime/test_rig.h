// Builds generations from types that are linked into the test. See host/config/test_catalog.h.
#pragma once

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "host/config/test_catalog.h"
#include "host/runtime/generation.h"

namespace epp::runtime::test {

class NoLog final : public loader::LogSink {
 public:
  bool Enabled(int32_t) noexcept override { return false; }
  void Log(std::string_view, std::string_view, int32_t, std::string_view) noexcept override {}
};
class NoMetrics final : public loader::MetricSink {
 public:
  absl::StatusOr<uint64_t> Register(const loader::MetricSpec&) noexcept override { return 1; }
  uint64_t Series(uint64_t, std::span<const std::string_view>) noexcept override { return 1; }
  void Add(uint64_t, double) noexcept override {}
};

struct Rig {
  explicit Rig(uint32_t workers = 1, loader::ListenerSource* listeners = nullptr)
      : host({.worker_count = 4,
              .log = &log,
              .metrics = &plugin_metrics,
              .interner = interner.get(),
              .listeners = listeners}),
        workers(workers) {}

  std::unique_ptr<Generation> Build(const std::string& text, const Generation* former = nullptr) {
    out = {};
    config::ResolvedConfig resolved =
        config::Resolve(config::test::Text(text), *catalog, {.allow_experimental = true}, out);
    if (!out.ok()) return nullptr;
    return Generation::Build(++number, std::move(resolved),
                             {.catalog = catalog,
                              .host = &host,
                              .pool = &pool,
                              .metrics = &metrics,
                              .workers = workers,
                              .own_plugins_dir = "/none"},
                             former, out);
  }
  // The one error.
  config::Diagnostic ErrorOf(const std::string& text) {
    EXPECT_EQ(Build(text), nullptr);
    EXPECT_EQ(out.errors(), 1u) << out.Render();
    for (const config::Diagnostic& d : out.all()) {
      if (d.severity == config::Severity::kError) return d;
    }
    return {};
  }

  std::shared_ptr<loader::Catalog> catalog =
      std::make_shared<loader::Catalog>(config::test::RealNames());
  std::shared_ptr<Interner> interner = std::make_shared<Interner>();
  NoLog log;
  NoMetrics plugin_metrics;
  loader::HostServices host;
  FakeClock clock;
  pool::Pool pool{std::make_shared<pool::AttributeRegistry>(), interner, &clock, {}};
  telemetry::Registry registry{4};
  telemetry::EppMetrics metrics{&registry, {}};
  config::Diagnostics out;
  const uint32_t workers;
  uint64_t number = 0;
};

}  // namespace epp::runtime::test
