#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"
#include "plugins/common/scorer_attributes.hpp"

namespace {

using epp::View;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kExtractor = "multicluster-metrics-extractor";

TEST(MulticlusterMetricsDataSource, Plan) {
  auto source = epp::test::Make("multicluster-metrics-data-source", {{"port", 9999}});
  const auto plan = source.Plan();
  ASSERT_TRUE(plan) << source.error();
  EXPECT_EQ(View(plan->path), "/metrics");
  EXPECT_EQ(View(plan->payload), "prometheus-text");
  EXPECT_EQ(plan->flags, EPP_SOURCE_TLS);
  EXPECT_EQ(plan->port, 0u) << "every cluster has its own";
  EXPECT_EQ(plan->max_body_bytes, 8u << 20);
}

TEST(MulticlusterMetricsExtractor, ReadsTheAverages) {
  auto extractor = epp::test::Make(kExtractor);
  const auto p = extractor.Scrape(
      "# TYPE llm_d_epp_average_queue_size gauge\n"
      "llm_d_epp_average_kv_cache_utilization{name=\"pool\"} 0.25\n"
      "llm_d_epp_average_queue_size{name=\"pool\"} 3.5\n");
  EXPECT_EQ(extractor.status(), EPP_OK) << extractor.error();
  EXPECT_EQ(p.value(epp::common::kMulticlusterKvCacheUsage), epp::test::Cell(0.25));
  EXPECT_EQ(p.value(epp::common::kMulticlusterQueueSize), epp::test::Cell(3.5));
}

TEST(MulticlusterMetricsExtractor, OtherNamesAndMissingOnes) {
  auto extractor = epp::test::Make(
      kExtractor, {{"kvCacheUtilizationMetric", "kv{pool=b}"}, {"queueSizeMetric", "queue"}});
  ASSERT_TRUE(extractor.ok()) << extractor.error();
  auto p = extractor.Scrape("kv{pool=\"a\"} 1\nkv{pool=\"b\"} 0.5\n");
  EXPECT_EQ(extractor.status(), EPP_OK);
  EXPECT_EQ(p.value(epp::common::kMulticlusterKvCacheUsage), epp::test::Cell(0.5));
  EXPECT_FALSE(p.has(epp::common::kMulticlusterQueueSize));
  for (const char* page : {"", "other 1\n", "queue NaN\n", "queue x\n", "<html>"}) {
    p = extractor.Scrape(page);
    EXPECT_EQ(extractor.status(), EPP_NOT_FOUND) << page;
    EXPECT_THAT(p.request, IsEmpty());
  }
}

TEST(MulticlusterMetricsExtractor, WrongNames) {
  for (const char* name : {"", "kv{", "kv{a}"}) {
    auto extractor = epp::test::Make(kExtractor, {{"queueSizeMetric", name}});
    EXPECT_FALSE(extractor.ok()) << name;
    EXPECT_THAT(extractor.error(), HasSubstr("queueSizeMetric: "));
  }
}

TEST(MulticlusterMetrics, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
