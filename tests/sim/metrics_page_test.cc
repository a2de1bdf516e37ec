#include "tests/sim/metrics_page.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::sim {
namespace {

using testing::HasSubstr;
using testing::Not;

MetricsPage Page() {
  MetricsPage page;
  page.model = "a\"b\\c";
  page.waiting = 3;
  page.running = 2;
  page.kv_usage = 0.25;
  page.config.kv_blocks = 400;
  return page;
}

TEST(MetricsPageTest, HasWhatARouterReads) {
  MetricsPage page = Page();
  page.max_lora = 4;
  page.lora = {{.running = "a,b", .waiting = "", .since_s = 1700000000.5}};
  const std::string text = RenderMetrics(page, ServerMetrics());
  const std::string labels = R"({engine="0",model_name="a\"b\\c"} )";
  EXPECT_THAT(text, HasSubstr("# TYPE vllm:num_requests_waiting gauge\n"
                              "vllm:num_requests_waiting" +
                              labels + "3.0\n"));
  EXPECT_THAT(text, HasSubstr("\nvllm:num_requests_running" + labels + "2.0\n"));
  EXPECT_THAT(text, HasSubstr("\nvllm:kv_cache_usage_perc" + labels + "0.25\n"));
  EXPECT_THAT(text, HasSubstr("\nvllm:cache_config_info{block_size=\"16\","));
  EXPECT_THAT(text, HasSubstr(",num_gpu_blocks=\"400\","));
  EXPECT_THAT(text,
              HasSubstr("\nvllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"a,b\","
                        "waiting_lora_adapters=\"\"} 1700000000.5\n"));
  EXPECT_THAT(RenderMetrics(Page(), ServerMetrics()), Not(HasSubstr("lora_requests_info")));
}

TEST(MetricsPageTest, HistogramsAreCumulative) {
  ServerMetrics metrics;
  for (const double value : {0.0005, 0.02, 0.02, 1e9}) metrics.time_to_first_token.Observe(value);
  const std::string text = RenderMetrics(Page(), metrics);
  const std::string name = "\nvllm:time_to_first_token_seconds";
  const std::string model = R"(",model_name="a\"b\\c"} )";
  EXPECT_THAT(text, HasSubstr(name + R"(_bucket{engine="0",le="0.001)" + model + "1.0\n"));
  EXPECT_THAT(text, HasSubstr(name + R"(_bucket{engine="0",le="0.02)" + model + "3.0\n"));
  EXPECT_THAT(text, HasSubstr(name + R"(_bucket{engine="0",le="2560.0)" + model + "3.0\n"));
  EXPECT_THAT(text, HasSubstr(name + R"(_bucket{engine="0",le="+Inf)" + model + "4.0\n"));
  EXPECT_THAT(text, HasSubstr(name + R"(_count{engine="0)" + model + "4.0\n"));
}

// No parser here, but what every parser wants: one family per name, every sample after its TYPE.
TEST(MetricsPageTest, IsWellFormedAtAnySize) {
  MetricsPage page = Page();
  page.min_bytes = 50'000;
  const std::string text = RenderMetrics(page, ServerMetrics());
  EXPECT_GE(text.size(), 50'000u);
  EXPECT_LT(text.size(), 60'000u);
  std::set<std::string> families, series;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    ASSERT_NE(end, std::string::npos) << "last line has no end";
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(families.insert(line.substr(7, line.find(' ', 7) - 7)).second) << line;
    } else if (!line.starts_with("#")) {
      EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line;
      std::string name = line.substr(0, line.find_first_of("{ "));
      for (const std::string suffix : {"_bucket", "_count", "_sum"}) {
        if (!families.contains(name) && name.ends_with(suffix)) {
          name.resize(name.size() - suffix.size());
        }
      }
      EXPECT_TRUE(families.contains(name)) << line;
    }
  }
}

TEST(MetricsPageTest, FillerPartsDiffer) {
  EXPECT_GE(MetricsFiller(0).size(), 60'000u);
  EXPECT_NE(MetricsFiller(0), MetricsFiller(1));
  EXPECT_EQ(MetricsFiller(1).back(), '\n');
}

}  // namespace
}  // namespace epp::sim
