#include "host/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

#include "host/telemetry/buckets.h"

namespace epp::telemetry {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(MetricsTest, TextOfEveryType) {
  Registry registry(2);
  registry.Counters({"c_total", "Counts.\nTwo \\ lines.", {"a"}})->With({"x\"y\\z\n"}).Add(3);
  registry.Gauges({"g", "A level."})->With({}).Set(0.25);
  registry.UpDowns({"u", "In flight."})->With({}).Sub(2);
  const Histogram h = registry.Histograms({"h", "Seconds.", {}, {0.1, 1}})->With({});
  h.Observe(0.1);
  h.Observe(0.5);
  h.Observe(7);
  h.Observe(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(registry.Text(),
            "# HELP c_total Counts.\\nTwo \\\\ lines.\n# TYPE c_total counter\n"
            "c_total{a=\"x\\\"y\\\\z\\n\"} 3\n"
            "# HELP g A level.\n# TYPE g gauge\ng 0.25\n"
            "# HELP h Seconds.\n# TYPE h histogram\nh_count 3\nh_sum 7.6\n"
            "h_bucket{le=\"0.1\"} 1\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\n"
            "# HELP u In flight.\n# TYPE u gauge\nu -2\n");
  EXPECT_EQ(h.Count(), 3u);
  EXPECT_DOUBLE_EQ(h.Sum(), 7.6);
}

TEST(MetricsTest, DefaultHandlesDoNothing) {
  Counter().Add();
  UpDown().Sub();
  Gauge().Set(1);
  Histogram().Observe(1);
  EXPECT_EQ(Counter().Value(), 0u);
  EXPECT_EQ(CounterFamily().With({"a"}).Value(), 0u);
  EXPECT_FALSE(CounterFamily().Remove({"a"}));
}

TEST(MetricsTest, SameNameIsTheSameFamily) {
  Registry registry(1);
  registry.Counters({"n_total", "One.", {"l"}})->With({"v"}).Add(2);
  registry.Counters({"n_total", "Another text.", {"l"}})->With({"v"}).Add(3);
  EXPECT_EQ(registry.Counters({"n_total", "", {"l"}})->With({"v"}).Value(), 5u);
  EXPECT_FALSE(registry.Counters({"n_total", "", {"m"}}).ok());
  EXPECT_FALSE(registry.Gauges({"n_total", "", {"l"}}).ok());
  ASSERT_TRUE(registry.Histograms({"h", "", {}, {1}}).ok());
  EXPECT_FALSE(registry.Histograms({"h", "", {}, {1, 2}}).ok());
}

TEST(MetricsTest, RefusesUnusableSpecs) {
  Registry registry(1);
  const double inf = std::numeric_limits<double>::infinity();
  const FamilySpec bad[] = {
      {"", ""},          {"1a", ""},         {"a-b", ""},           {"a\nb", ""},
      {"a", "", {"b-"}}, {"a", "", {"__n"}}, {"a", "", {"x", "x"}}, {"a", "", {""}},
  };
  for (const FamilySpec& spec : bad) EXPECT_FALSE(registry.Counters(spec).ok()) << spec.name;
  const FamilySpec bad_histograms[] = {
      {"h", "", {"le"}, {1}}, {"h", "", {}, {}},       {"h", "", {}, {2, 1}},
      {"h", "", {}, {1, 1}},  {"h", "", {}, {1, inf}}, {"h", "", {}, std::vector<double>(257, 1)},
  };
  for (const FamilySpec& spec : bad_histograms) EXPECT_FALSE(registry.Histograms(spec).ok());
}

TEST(MetricsTest, EveryBucketBoundIsInclusive) {
  Registry registry(1);
  const std::vector<double> bounds(std::begin(buckets::kGeneral), std::end(buckets::kGeneral));
  EXPECT_EQ(bounds.size(), 35u);
  const Histogram h = registry.Histograms({"h", "", {}, bounds})->With({});
  for (double bound : bounds) h.Observe(bound);
  h.Observe(1e9);
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("h_bucket{le=\"0.005\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("h_bucket{le=\"3600\"} 35\n"));
  EXPECT_THAT(text, HasSubstr("h_bucket{le=\"+Inf\"} 36\n"));
}

TEST(MetricsTest, RemovedSeriesStartAgainAtZero) {
  Registry registry(1);
  const CounterFamily family = *registry.Counters({"n_total", "", {"flow", "priority"}});
  family.With({"a", "1"}).Add(5);
  family.With({"a", "2"}).Add(6);
  family.With({"b", "1"}).Add(7);
  const uint64_t before = family.epoch();
  EXPECT_TRUE(family.Remove({"a", "1"}));
  EXPECT_FALSE(family.Remove({"a", "1"}));
  EXPECT_NE(family.epoch(), before);
  EXPECT_THAT(registry.Text(), Not(HasSubstr("flow=\"a\",priority=\"1\"")));
  EXPECT_EQ(family.With({"a", "1"}).Value(), 0u);
  const std::pair<std::string_view, std::string_view> flow[] = {{"flow", "a"}};
  EXPECT_EQ(family.RemoveWhere(flow), 2u);
  const std::pair<std::string_view, std::string_view> unknown[] = {{"nope", "a"}};
  EXPECT_EQ(family.RemoveWhere(unknown), 0u);
  EXPECT_EQ(family.series(), 1u);
  EXPECT_EQ(family.With({"b", "1"}).Value(), 7u);
}

TEST(MetricsTest, SeriesLimitFoldsIntoOther) {
  Registry registry(1);
  const CounterFamily family =
      *registry.Counters({.name = "n_total", .help = "", .labels = {"l"}, .max_series = 2});
  for (const char* value : {"a", "b", "c", "d", "a"}) family.With({value}).Add();
  EXPECT_EQ(family.With({"a"}).Value(), 2u);
  EXPECT_EQ(family.With({"other"}).Value(), 2u);
}

TEST(MetricsTest, LabelValuesBecomeUtf8) {
  Registry registry(1);
  registry.Counters({"n_total", "", {"l"}})->With({"\xFFx"}).Add();
  EXPECT_THAT(registry.Text(), HasSubstr("l=\"\xEF\xBF\xBDx\""));
}

TEST(MetricsTest, HidesUntouchedWhenAsked) {
  Registry registry(1);
  const auto h =
      registry.Histograms({.name = "h", .help = "", .buckets = {1}, .hide_untouched = true});
  const Histogram handle = h->With({});
  EXPECT_EQ(registry.Text(), "");
  handle.Observe(0);
  EXPECT_THAT(registry.Text(), HasSubstr("h_count 1"));
}

TEST(MetricsTest, ManySeriesSpanChunks) {
  Registry registry(1);
  std::vector<double> bounds(40);
  for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = static_cast<double>(i);
  const HistogramFamily family = *registry.Histograms({"h", "", {"i"}, bounds});
  for (int i = 0; i < 200; ++i) {
    const Histogram h = family.With({std::to_string(i)});
    for (int k = 0; k <= i; ++k) h.Observe(k % 40);
  }
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(family.With({std::to_string(i)}).Count(), static_cast<uint64_t>(i) + 1);
  }
}

TEST(MetricsTest, CallbacksLiveAsLongAsTheirHandle) {
  Registry registry(1);
  auto callback = registry.GaugeCallback({"g", "", {"e"}}, [](const Emit& emit) {
    emit({"a"}, 1);
    emit({"b"}, 2);
    emit({"a"}, 3);
  });
  ASSERT_TRUE(callback.ok());
  EXPECT_THAT(registry.Text(), HasSubstr("g{e=\"a\"} 3\ng{e=\"b\"} 2\n"));
  auto newer = registry.GaugeCallback({"g", "", {"e"}}, [](const Emit& emit) { emit({"z"}, 9); });
  EXPECT_THAT(registry.Text(), HasSubstr("g{e=\"z\"} 9"));
  EXPECT_THAT(registry.Text(), Not(HasSubstr("e=\"a\"")));
  callback->reset();
  EXPECT_THAT(registry.Text(), HasSubstr("g{e=\"z\"} 9"));
  newer->reset();
  EXPECT_EQ(registry.Text(), "");
  EXPECT_FALSE(registry.CounterCallback({"g", "", {"e"}}, [](const Emit&) {}).ok());
}

// Bound workers, unbound threads and a collector at once; nothing may be lost.
TEST(MetricsTest, CountsAreExactAcrossThreads) {
  constexpr int kWorkers = 3, kUnbound = 3, kRounds = 20'000;
  Registry registry(kWorkers);
  const CounterFamily counters = *registry.Counters({"c_total", "", {"l"}});
  const Histogram h = registry.Histograms({"h", "", {}, {1, 2}})->With({});
  const UpDown running = registry.UpDowns({"u", ""})->With({});
  std::vector<std::thread> threads;
  for (int t = 0; t < kWorkers + kUnbound; ++t) {
    threads.emplace_back([&, t] {
      // One index above the registry's number of workers must fall back, not overflow.
      const WorkerBinding binding(t < kWorkers ? t : t == kWorkers ? 1000 : -1);
      const Counter counter = counters.With({"x"});
      for (int i = 0; i < kRounds; ++i) {
        counter.Add();
        h.Observe(i % 3);
        running.Add();
        running.Sub();
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_THAT(registry.Text(), HasSubstr("h_count"));
  for (auto& thread : threads) thread.join();
  constexpr uint64_t kTotal = uint64_t{kWorkers + kUnbound} * kRounds;
  EXPECT_EQ(counters.With({"x"}).Value(), kTotal);
  EXPECT_EQ(h.Count(), kTotal);
  EXPECT_EQ(running.Value(), 0);
}

}  // namespace
}  // namespace epp::telemetry
