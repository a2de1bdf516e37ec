// What one request costs in metrics: resolving its label set and fifteen updates.
#include <benchmark/benchmark.h>

#include "host/telemetry/epp_metrics.h"

namespace epp::telemetry {
namespace {

constexpr int kWorkers = 4;

struct Fixture {
  Registry registry{kWorkers};
  EppMetrics metrics{&registry, {.workers = kWorkers}};
  Aliased<Histogram> plugin = metrics.PluginDuration("Scorer", "queue-scorer", "queue");
};

Fixture& Shared() {
  static auto* const fixture = new Fixture;
  return *fixture;
}

void UpdateAll(Fixture& f, const RequestSeries& s) {
  s.total.Add();
  s.request_bytes.Observe(20'275);
  s.running.Add();
  f.plugin.Observe(3e-6);
  f.metrics.scheduler_seconds.Observe(7e-6);
  f.metrics.request_processing_seconds.Observe(9e-4);
  f.metrics.decision_seconds[EppMetrics::kParse].Observe(3e-6);
  f.metrics.decision_seconds[EppMetrics::kScore].Observe(2e-6);
  f.metrics.decision_seconds[EppMetrics::kTotal].Observe(9e-6);
  f.metrics.decision_records.Add();
  s.ttft[1].Observe(0.083);
  s.tpot.Observe(0.011);
  s.output_tokens.Observe(211);
  s.duration.Observe(2.41);
  s.running.Add(-1);
}

void BM_Updates(benchmark::State& state) {
  Fixture& f = Shared();
  const WorkerBinding binding(state.thread_index());
  const RequestSeries& series = f.metrics.Request("chat", "Qwen/Qwen3-32B", "tenant-7", 10);
  for (auto _ : state) UpdateAll(f, series);
}
BENCHMARK(BM_Updates)->Threads(1)->Threads(2);

void BM_UpdatesUnbound(benchmark::State& state) {
  Fixture& f = Shared();
  const RequestSeries& series = f.metrics.Request("chat", "Qwen/Qwen3-32B", "tenant-7", 10);
  for (auto _ : state) UpdateAll(f, series);
}
BENCHMARK(BM_UpdatesUnbound);

void BM_ResolveAndUpdate(benchmark::State& state) {
  Fixture& f = Shared();
  const WorkerBinding binding(state.thread_index());
  for (auto _ : state) {
    UpdateAll(f, f.metrics.Request("chat", "Qwen/Qwen3-32B", "tenant-7", 10));
    f.metrics.SchedulerAttempt(true, "Qwen/Qwen3-32B", "vllm-2", "default", "8000");
  }
}
BENCHMARK(BM_ResolveAndUpdate)->Threads(1)->Threads(2);

void BM_Text(benchmark::State& state) {
  Fixture& f = Shared();
  for (int i = 0; i < 100; ++i) {
    UpdateAll(f, f.metrics.Request("model-" + std::to_string(i), "t", "", 0));
  }
  for (auto _ : state) benchmark::DoNotOptimize(f.registry.Text());
}
BENCHMARK(BM_Text)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace epp::telemetry

BENCHMARK_MAIN();
