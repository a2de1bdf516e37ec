// A page as vLLM writes it, about 50 KB: the wanted families among histograms.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>

#include "plugins/common/metrics_page/scanner.h"

namespace epp::metrics_page {
namespace {

std::string VllmPage() {
  const std::string model = "model_name=\"meta-llama/Llama-3.1-8B-Instruct\"";
  std::string page;
  for (const char* gauge :
       {"num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"}) {
    const std::string name = std::string("vllm:") + gauge;
    page += "# HELP " + name + " text\n# TYPE " + name + " gauge\n";
    page += name + "{engine=\"0\"," + model + "} 12.0\n";
  }
  page += "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"27146\"} 1.0\n";
  page += "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"a,b\"} 1.75e+09\n";
  for (int h = 0; page.size() < 50'800; ++h) {
    const std::string name = "vllm:request_histogram_" + std::to_string(h) + "_seconds";
    page += "# HELP " + name + " Histogram of something in seconds.\n";
    page += "# TYPE " + name + " histogram\n";
    for (int le = 0; le < 20; ++le) {
      page +=
          name + "_bucket{engine=\"0\",le=\"" + std::to_string(le) + ".5\"," + model + "} 42.0\n";
    }
  }
  return page;
}

void BM_ScanVllmPage(benchmark::State& state) {
  std::vector<Wanted> wanted;
  for (const char* spec :
       {"vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc",
        "vllm:lora_requests_info", "vllm:cache_config_info"}) {
    Wanted w;
    w.pick = Pick::kSum;
    if (!ParseMetricSpec(spec, w.spec).ok()) state.SkipWithError(spec);
    wanted.push_back(w);
  }
  const Scanner scanner(wanted);
  std::string page = VllmPage();
  const size_t size = page.size();
  page.append(64, '\0');
  std::vector<Found> found(wanted.size());
  for (auto _ : state) {
    scanner.Scan({page.data(), size}, found);
    benchmark::DoNotOptimize(found.data());
  }
  if (!found[0].found) state.SkipWithError("nothing found");
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size));
}
BENCHMARK(BM_ScanVllmPage)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace epp::metrics_page
