#include "host/serve/plugin_sinks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace epp::serve {
namespace {

using testing::HasSubstr;
using testing::Not;

struct PluginMetricsTest : testing::Test {
  uint64_t Register(int32_t kind, const std::string& name) {
    const auto metric = metrics.Register(
        {.kind = kind, .name = name, .help = "For tests.", .label_names = {"pod"}, .bounds = {1}});
    EXPECT_TRUE(metric.ok()) << metric.status();
    return metric.value_or(0);
  }
  uint64_t Series(uint64_t metric, std::string_view pod) {
    return metrics.Series(metric, {&pod, 1});
  }

  telemetry::Registry registry{1};
  PluginMetrics metrics{&registry};
};

TEST_F(PluginMetricsTest, EachKindDoesItsOwn) {
  const uint64_t hits = Series(Register(EPP_METRIC_COUNTER, "hits_total"), "a");
  const uint64_t size = Series(Register(EPP_METRIC_GAUGE, "size"), "a");
  const uint64_t wait = Series(Register(EPP_METRIC_HISTOGRAM, "wait"), "a");
  for (const double value : {2.0, 3.0}) {
    for (const uint64_t series : {hits, size, wait}) metrics.Add(series, value);
  }
  const std::string page = registry.Text();
  EXPECT_THAT(page, HasSubstr("hits_total{pod=\"a\"} 5"));
  EXPECT_THAT(page, HasSubstr("size{pod=\"a\"} 3"));
  EXPECT_THAT(page, HasSubstr("wait_count{pod=\"a\"} 2"));
}

TEST_F(PluginMetricsTest, EqualLabelsAreOneSeries) {
  const uint64_t hits = Register(EPP_METRIC_COUNTER, "hits_total");
  EXPECT_EQ(Series(hits, "a"), Series(hits, "a"));
  EXPECT_NE(Series(hits, "a"), Series(hits, "b"));
}

TEST_F(PluginMetricsTest, NumbersThatWereNeverGivenOutAreIgnored) {
  const uint64_t hits = Series(Register(EPP_METRIC_COUNTER, "hits_total"), "a");
  for (const uint64_t wild : {hits + 1, uint64_t{0xdeadbeef}, ~uint64_t{0}}) {
    metrics.Add(wild, 7);
    EXPECT_EQ(Series(wild, "a"), 0u) << wild;
  }
  EXPECT_THAT(registry.Text(), Not(HasSubstr("7")));
}

TEST_F(PluginMetricsTest, ACounterTakesWhatIsNoCount) {
  const uint64_t hits = Series(Register(EPP_METRIC_COUNTER, "hits_total"), "a");
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double value : {-1.0, -kInfinity, std::numeric_limits<double>::quiet_NaN()}) {
    metrics.Add(hits, value);
  }
  EXPECT_THAT(registry.Text(), HasSubstr("hits_total{pod=\"a\"} 0"));
  metrics.Add(hits, kInfinity);
  EXPECT_THAT(registry.Text(), HasSubstr("hits_total{pod=\"a\"} 1"));
}

}  // namespace
}  // namespace epp::serve
