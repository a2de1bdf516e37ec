// The scanner of metrics pages: a spec on the first line, a page behind it.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "plugins/common/metrics_page/scanner.h"

using epp::metrics_page::Found;
using epp::metrics_page::Pick;
using epp::metrics_page::Wanted;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(input.find('\n'), input.size());
  const std::string_view page = input.substr(std::min(line + 1, input.size()));

  std::vector<Wanted> wanted(5);
  wanted[0].pick = Pick::kGreatest;
  if (!epp::metrics_page::ParseMetricSpec(input.substr(0, line), wanted[0].spec).ok()) {
    wanted[0].spec = {};
  }
  wanted[1].spec.name = "a";
  wanted[2] = {{"vllm:num_requests_waiting", {}}, Pick::kSum};
  wanted[3] = {{"vllm:num_requests_running", {{"engine", "0"}}}, Pick::kLatest};
  wanted[4] = {{"vllm:kv_cache_usage_perc", {}}, Pick::kAverage};

  // Exactly the promised padding, so that reading further is noticed.
  const std::unique_ptr<char[]> copy(new char[page.size() + 64]());
  if (!page.empty()) std::memcpy(copy.get(), page.data(), page.size());
  const epp::metrics_page::Scanner scanner(wanted);
  std::vector<Found> found(wanted.size());
  scanner.Scan({copy.get(), page.size()}, found);
  for (const Found& f : found) {
    if (!f.found) continue;
    if (std::isnan(f.value)) std::abort();
    if (!epp::metrics_page::ForEachLabel(f.labels, [](auto, auto) {})) std::abort();
  }
  return 0;
}
