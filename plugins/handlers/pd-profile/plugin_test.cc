#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Host;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "pd-profile-handler";
constexpr const char* kRank = "x-data-parallel-host-port";

struct Case {
  const char* name;
  bool decode_works;
  bool says_prefill;
  bool prefill_works;
  std::vector<std::vector<std::string>> rounds;
  const char* decision;  // null: the request fails
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class PdProfileHandlerTest : public testing::TestWithParam<Case> {};

TEST_P(PdProfileHandlerTest, Runs) {
  const Case& c = GetParam();
  const Pool pool(3);
  Host host;
  auto handler = epp::test::Make(kType, {}, &host);
  std::map<std::string, std::vector<uint32_t>> results;
  if (c.decode_works) results["decode"] = {1, 2};
  if (c.prefill_works) results["prefill"] = {0};
  Request request;
  request.Model("m").Answer("deciderPluginName", c.says_prefill);
  Profiles profiles{"prefill", "decode"};
  const auto schedule = handler.Schedule(profiles, results, pool, request);
  EXPECT_EQ(schedule.rounds, c.rounds);
  EXPECT_EQ(request.destination_port(), std::nullopt);
  if (c.decision == nullptr) {
    EXPECT_EQ(handler.error(), "failed to find available decode workers");
    EXPECT_EQ(handler.status(), EPP_RESOURCE_EXHAUSTED);
    return;
  }
  EXPECT_EQ(schedule.primary, "decode");
  EXPECT_THAT(request.asked(), ElementsAre(Request::Question{"deciderPluginName", 1}));
  EXPECT_EQ(host.Metric("llm_d_epp_pd_decision_total", {{"plugin_name", "under-test"},
                                                        {"plugin_type", kType},
                                                        {"model_name", "m"},
                                                        {"decision_type", c.decision}}),
            1);
  EXPECT_EQ(host.Metric("llm_d_inference_scheduler_pd_decision_total",
                        {{"model_name", "m"}, {"decision_type", c.decision}}),
            1);
}

INSTANTIATE_TEST_SUITE_P(
    Table, PdProfileHandlerTest,
    testing::Values(
        Case{"DecodeFails", false, true, true, {{"decode"}}, nullptr},
        Case{"NotWorthIt", true, false, true, {{"decode"}}, "decode-only"},
        Case{"WorthIt", true, true, true, {{"decode"}, {"prefill"}}, "prefill-decode"},
        Case{"PrefillFails", true, true, false, {{"decode"}, {"prefill"}}, "decode-only"}),
    [](const auto& info) { return info.param.name; });

TEST(PdProfileHandler, APrimaryPort) {
  const Pool pool(3);
  auto handler = epp::test::Make(kType, {{"primaryPort", 8000}});
  Request request;
  Profiles profiles{"decode"};
  handler.Schedule(profiles, {{"decode", {1, 2}}}, pool, request);
  EXPECT_EQ(request.destination_port(), 8000u);
  EXPECT_EQ(handler.PreRequest(profiles, pool, request).headers.at(kRank),
            std::string(epp::View(pool.endpoint(1).host_port)));
  // Off, what a client sends under that name still goes.
  auto off = epp::test::Make(kType);
  EXPECT_EQ(off.PreRequest(profiles, pool, request).headers.at(kRank), std::nullopt);
}

TEST(PdProfileHandler, OwnNames) {
  auto handler = epp::test::Make(kType, {{"decodeProfile", "d"}, {"prefillProfile", "p"}});
  Request request;
  request.Answer("deciderPluginName", true);
  Profiles profiles{"p", "d"};
  EXPECT_THAT(handler.Schedule(profiles, {{"d", {0}}, {"p", {1}}}, Pool(2), request).rounds,
              ElementsAre(ElementsAre("d"), ElementsAre("p")));
}

TEST(PdProfileHandler, RefusesPortsAndAnEmptyDecider) {
  for (const int port : {-1, 65536}) {
    EXPECT_FALSE(epp::test::Make(kType, {{"primaryPort", port}}).ok()) << port;
  }
  EXPECT_TRUE(epp::test::Make(kType, {{"primaryPort", 65535}}).ok());
  EXPECT_THAT(epp::test::Make(kType, {{"deciderPluginName", ""}}).error(), HasSubstr("is empty"));
}

}  // namespace
