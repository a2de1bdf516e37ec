#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using epp::test::Pool;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "utilization-filter";
constexpr std::nullopt_t kNone = std::nullopt;

struct Server {
  std::optional<int64_t> active;
  std::optional<int64_t> running;
  std::optional<int64_t> waiting;
  std::optional<double> kv;
};

Pool Endpoints(const std::vector<Server>& servers) {
  std::vector<std::optional<int64_t>> active, running, waiting;
  std::vector<std::optional<double>> kv;
  for (const Server& s : servers) {
    active.push_back(s.active);
    running.push_back(s.running);
    waiting.push_back(s.waiting);
    kv.push_back(s.kv);
  }
  Pool pool(servers.size());
  pool.Set(epp::attr::kInflightRequests, active);
  pool.Set(epp::attr::kRunningRequestsSize, running);
  pool.Set(epp::attr::kWaitingQueueSize, waiting);
  pool.Set(epp::attr::kKvCacheUsage, kv);
  return pool;
}

struct Case {
  const char* name;
  const char* conditions;
  bool fallback;
  std::vector<Server> servers;
  std::vector<size_t> kept;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class UtilizationTest : public testing::TestWithParam<Case> {};

TEST_P(UtilizationTest, Keeps) {
  auto filter = epp::test::Make(
      kType, {{"conditions", GetParam().conditions}, {"fallbackOnEmpty", GetParam().fallback}});
  ASSERT_TRUE(filter.ok()) << filter.error();
  EXPECT_EQ(filter.Filter(Endpoints(GetParam().servers)), GetParam().kept);
}

constexpr const char* kActive1 = R"([{"metric":"active-requests","maxValue":1}])";

INSTANTIATE_TEST_SUITE_P(
    Table, UtilizationTest,
    testing::Values(
        Case{"Case062Active",
             R"([{"metric":"active-requests","maxValue":2}])",
             false,
             {{1, kNone, kNone, kNone}, {2, kNone, kNone, kNone}, {3, kNone, kNone, kNone}},
             {0, 1}},
        Case{"Case063MissingIsZero",
             kActive1,
             false,
             {{kNone, kNone, kNone, kNone}, {5, kNone, kNone, kNone}},
             {0}},
        Case{"Case064AllMustHold",
             R"([{"metric":"running-requests","maxValue":40},
                 {"metric":"waiting-queue","maxValue":0}])",
             false,
             {{9, 10, 0, kNone}, {9, 41, 0, kNone}, {9, 10, 1, kNone}},
             {0}},
        Case{"Case065Nobody",
             kActive1,
             false,
             {{2, kNone, kNone, kNone}, {3, kNone, kNone, kNone}},
             {}},
        Case{"Case065Fallback",
             kActive1,
             true,
             {{2, kNone, kNone, kNone}, {3, kNone, kNone, kNone}},
             {0, 1}},
        Case{"FallbackIsForNobodyOnly",
             kActive1,
             true,
             {{2, kNone, kNone, kNone}, {0, kNone, kNone, kNone}},
             {1}},
        Case{"KvCache",
             R"([{"metric":"kv-cache-utilization","maxValue":0.8}])",
             false,
             {{0, 0, 0, 0.8}, {0, 0, 0, 0.81}, {0, 0, 0, kNone}},
             {0, 2}},
        Case{"SameMetricTwice",
             R"([{"metric":"active-requests","maxValue":5},
                 {"METRIC":"active-requests","maxvalue":1e0}])",
             false,
             {{1, 0, 0, 0}, {2, 0, 0, 0}},
             {0}},
        Case{"NoCandidates", kActive1, true, {}, {}}),
    [](const auto& info) { return info.param.name; });

TEST(UtilizationTest, OnlyActiveRequestsNeedAProducer) {
  auto filter = epp::test::Make(kType, {{"conditions", R"([{"metric":"waiting-queue","maxValue":0},
                                 {"metric":"active-requests","maxValue":0}])"}});
  uint32_t count = 0;
  const auto& table = filter.Table<epp_attributes>(EPP_ATTRIBUTES_ID);
  const epp_attr_spec* const* specs = table.consumes(filter.Self(), &count);
  ASSERT_EQ(count, 2u);
  EXPECT_STREQ(specs[0]->key, "WaitingQueueSize");
  EXPECT_EQ(specs[0]->flags, EPP_ATTR_OPTIONAL);
  EXPECT_STREQ(specs[1]->key, "InFlightLoadDataKey.requests");
  EXPECT_STREQ(specs[1]->producer_param, "inFlightLoadProducerName");
  EXPECT_EQ(specs[1]->flags, 0u);
}

TEST(UtilizationTest, WithoutMetricsEverythingIsZero) {
  auto filter =
      epp::test::Make(kType, {{"conditions", R"([{"metric":"running-requests","maxValue":0},
                                 {"metric":"kv-cache-utilization","maxValue":0}])"}});
  EXPECT_THAT(filter.Filter(Pool(2)), ElementsAre(0, 1));
}

struct BadCase {
  const char* name;
  Params params;
  const char* error;
};

void PrintTo(const BadCase& c, std::ostream* os) { *os << c.name; }

class UtilizationErrorTest : public testing::TestWithParam<BadCase> {};

TEST_P(UtilizationErrorTest, Case066Refuses) {
  auto filter = epp::test::Make(kType, GetParam().params);
  EXPECT_FALSE(filter.ok());
  EXPECT_THAT(filter.error(), HasSubstr(GetParam().error));
}

Params Conditions(const char* json) { return {{"conditions", json}}; }

INSTANTIATE_TEST_SUITE_P(
    Table, UtilizationErrorTest,
    testing::Values(
        BadCase{"NoParameters", {}, "\"conditions\""},
        BadCase{"NoConditions", Conditions("[]"), "want at least one"},
        BadCase{"Null", Conditions("null"), "want at least one"},
        BadCase{"Metric", Conditions(R"([{"metric":"cpu","maxValue":1}])"), "got \"cpu\""},
        BadCase{"NoMetric", Conditions(R"([{"maxValue":1}])"), "got \"\""},
        BadCase{"NoMaximum", Conditions(R"([{"metric":"waiting-queue"}])"), "maxValue is not set"},
        BadCase{"NullMaximum", Conditions(R"([{"metric":"waiting-queue","maxValue":null}])"),
                "maxValue is not set"},
        BadCase{"Negative", Conditions(R"([{"metric":"waiting-queue","maxValue":-1}])"),
                "got -1, want 0 or more"},
        BadCase{"KvIsAFraction", Conditions(R"([{"metric":"kv-cache-utilization","maxValue":80}])"),
                "got 80, want a fraction from 0 to 1"},
        BadCase{"Second", Conditions(R"([{"metric":"waiting-queue","maxValue":1},{"metric":"x"}])"),
                "conditions[1]"},
        BadCase{"UnknownField", Conditions(R"([{"metric":"waiting-queue","max":1}])"),
                "unknown field \"max\""},
        BadCase{"NotAList", Conditions(R"({"metric":"waiting-queue"})"), "want a list"},
        BadCase{"NotANumber", Conditions(R"([{"metric":"waiting-queue","maxValue":"1"}])"),
                "want a number"},
        BadCase{"TooLarge", Conditions(R"([{"metric":"waiting-queue","maxValue":1e999}])"),
                "want a number"},
        BadCase{"CutOff", Conditions(R"([{"metric":"waiting-queue","maxValue":)"),
                "want a number"}),
    [](const auto& info) { return info.param.name; });

TEST(UtilizationTest, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), testing::IsEmpty());
  EXPECT_EQ(epp::test::Library::Linked().Find(kType)->stability, EPP_STABILITY_ALPHA);
}

}  // namespace
