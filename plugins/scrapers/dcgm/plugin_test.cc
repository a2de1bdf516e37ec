#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::View;

TEST(DcgmDataSource, Plan) {
  const auto plan = epp::test::Make("dcgm-data-source", {{"interval", "1s"}}).Plan();
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->port, 9400u);
  EXPECT_EQ(plan->flags, 0u);
  EXPECT_EQ(plan->interval_ns, 1'000'000'000u);
  auto node = epp::test::Make("dcgm-data-source",
                              {{"useNodeAddress", true}, {"port", 9500}, {"scheme", "https"}});
  const auto other = node.Plan();
  ASSERT_TRUE(other);
  EXPECT_EQ(other->port, 9500u);
  EXPECT_EQ(other->flags, EPP_SOURCE_NODE_ADDRESS | EPP_SOURCE_TLS | EPP_SOURCE_TLS_INSECURE);
}

struct Case {
  const char* name;
  std::string page;
  std::optional<double> use;
  std::string endpoint = "default/pod-0";
};

class DcgmExtractorTest : public testing::TestWithParam<Case> {};

TEST_P(DcgmExtractorTest, Reads) {
  const Case& c = GetParam();
  epp::test::Pool pool(1);
  pool.Name(0, c.endpoint).Rank(0, 3);
  auto extractor = epp::test::Make("dcgm-extractor");
  const auto p = extractor.Scrape(c.page, pool.endpoint(0));
  EXPECT_EQ(extractor.status(), c.use ? EPP_OK : EPP_NOT_FOUND) << extractor.error();
  EXPECT_EQ(p.value("GPUUtilization"), c.use ? epp::test::Cell(*c.use) : epp::test::Cell());
}

INSTANTIATE_TEST_SUITE_P(
    Table, DcgmExtractorTest,
    testing::Values(
        Case{"TheGreatestOfThePod",
             "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"
             "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",pod=\"pod-0\"} 25\n"
             "DCGM_FI_DEV_GPU_UTIL{gpu=\"1\",pod=\"pod-0\"} 75 1700000000000\n"
             "DCGM_FI_DEV_GPU_UTIL{gpu=\"2\",pod=\"pod-1\"} 99\n",
             0.75},
        Case{"NobodysCount", "DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 50\nDCGM_FI_DEV_GPU_UTIL 60\n", 0.6},
        Case{"OnlyOthers", "DCGM_FI_DEV_GPU_UTIL{pod=\"pod-1\"} 99\n", std::nullopt},
        Case{"LongerNames", "DCGM_FI_DEV_GPU_UTIL_MAX 99\nDCGM_FI_DEV_GPU_UTIL_MAX{} 9\n",
             std::nullopt},
        Case{"ARank", "DCGM_FI_DEV_GPU_UTIL{pod=\"p\"} 10\r\n", 0.1, "ns/p-rank-3"},
        Case{"BracesInQuotes", "DCGM_FI_DEV_GPU_UTIL{m=\"a}\\\"b\",pod=\"pod-0\"} 30", 0.3},
        Case{"Zero", "DCGM_FI_DEV_GPU_UTIL 0\n", 0.0},
        Case{"Malformed",
             "DCGM_FI_DEV_GPU_UTIL{pod=\"pod-0\"} NaN\nDCGM_FI_DEV_GPU_UTIL{pod=\"pod-0\" 5\n"
             "DCGM_FI_DEV_GPU_UTIL{pod} 5\nDCGM_FI_DEV_GPU_UTIL 5x\nDCGM_FI_DEV_GPU_UTIL\n"
             "DCGM_FI_DEV_GPU_UTIL{\"\\",
             std::nullopt},
        Case{"Empty", "", std::nullopt}),
    [](const auto& info) { return info.param.name; });

TEST(Dcgm, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
