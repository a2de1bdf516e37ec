#include <gtest/gtest.h>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

using epp::test::Cell;

struct Case {
  const char* name;
  int32_t priority = -1;
  std::vector<std::pair<const char*, const char*>> headers = {{"x-llm-d-slo-ttft-ms", "100"},
                                                              {"x-llm-d-slo-tpot-ms", "30"}};
  std::vector<Cell> ttft = {false, false};
  std::vector<Cell> tpot = {false, false};
  std::vector<Cell> running = {3, 4};
  std::vector<Cell> kv = {0.5, 0.6};
  bool admitted = true;
};

class LatencySloAdmitterTest : public testing::TestWithParam<Case> {};

TEST_P(LatencySloAdmitterTest, Admits) {
  const Case& c = GetParam();
  epp::test::Pool pool(2);
  pool.Set(epp::common::kLatencyTtftValid, c.ttft).Set(epp::common::kLatencyTpotValid, c.tpot);
  pool.Set(epp::attr::kRunningRequestsSize, c.running).Set(epp::attr::kKvCacheUsage, c.kv);
  epp::test::Request request;
  request.Priority(c.priority);
  for (const auto& [name, value] : c.headers) request.Header(name, value);
  auto admitter = epp::test::Make("latency-slo-admitter");
  ASSERT_TRUE(admitter.ok()) << admitter.error();
  const epp::Status status = admitter.Admit(pool, request);
  EXPECT_EQ(status.code(), c.admitted ? EPP_OK : EPP_RESOURCE_EXHAUSTED) << status.message();
}

INSTANTIATE_TEST_SUITE_P(
    Table, LatencySloAdmitterTest,
    testing::Values(
        Case{.name = "Case103AllInvalidAndBusy", .admitted = false},
        Case{.name = "Case103OneIdle", .running = {3, 0}},
        Case{.name = "Case103OneCold", .kv = {0.01, 0.6}},
        Case{.name = "Case103OneValid", .ttft = {false, true}, .tpot = {false, true}},
        Case{.name = "Case103NoPredictions",
             .ttft = {std::nullopt, std::nullopt},
             .tpot = {std::nullopt, std::nullopt}},
        Case{.name = "Case103NewHeaderWins",
             .headers = {{"x-llm-d-slo-ttft-ms", "0"}, {"x-slo-ttft-ms", "100"}}},
        Case{.name = "OldHeader", .headers = {{"x-slo-tpot-ms", "+30"}}, .admitted = false},
        Case{.name = "NotANumber", .headers = {{"x-slo-tpot-ms", "30ms"}}},
        Case{.name = "NanIsNoObjective", .headers = {{"x-slo-tpot-ms", "nan"}}},
        Case{.name = "NoHeader", .headers = {}},
        Case{.name = "ValidForOneEach",
             .ttft = {true, false},
             .tpot = {false, true},
             .admitted = false},
        Case{.name = "SomePredictions",
             .ttft = {false, std::nullopt},
             .tpot = {true, std::nullopt},
             .admitted = false},
        Case{.name = "WithoutMetrics", .running = {3, std::nullopt}, .kv = {0.5, std::nullopt}},
        Case{.name = "NotSheddable", .priority = 0}),
    [](const auto& info) { return info.param.name; });

TEST(LatencySloAdmitter, NoCandidates) {
  epp::test::Request request;
  request.Priority(-1).Header("x-slo-tpot-ms", "30");
  EXPECT_TRUE(epp::test::Make("latency-slo-admitter").Admit(epp::test::Pool(0), request).ok());
}

TEST(LatencySloAdmitter, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
