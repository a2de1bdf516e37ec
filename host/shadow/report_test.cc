#include "host/shadow/report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace epp::shadow {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint64_t kMinute = 60'000'000'000;

Report Example() {
  Report r;
  r.state = Report::State::kRunning;
  r.file = "candidate.yaml";
  r.digest = "c07d12ee";
  r.sample = 0.1;
  r.elapsed_ns = 41 * kMinute;
  r.planned_ns = 60 * kMinute;
  r.generation = 3;
  r.workers = 2;
  r.summary.agree = 23'606;
  r.summary.differ = 4'698;
  r.summary.margins = 4'698;
  r.summary.close = 4'000;
  r.summary.median_margin = 0.2234;
  r.summary.cpu_ns = 28'304 * 1'900;
  r.summary.live_prompt_tokens = r.summary.candidate_prompt_tokens = 1000;
  r.summary.live_cached_tokens = 610;
  r.summary.candidate_cached_tokens = 660;
  r.summary.picks = {{1, 9'000, 10'160}, {2, 10'000, 9'500}, {3, 9'304, 8'644}};
  r.names = {"default/vllm-2", "default/vllm-5", "default/vllm-7"};
  r.endpoints = 3;
  return r;
}

TEST(ReportTest, TextFitsAScreenAndSaysWhatMatters) {
  const std::string text = ReportText(Example());
  EXPECT_EQ(text,
            "candidate  candidate.yaml digest c07d12ee, 10 % of requests, 41 min of 60; 28 304 "
            "decisions, 0 shed\n"
            "           cost 1.9 us per decision, 0.00 % CPU\n"
            "agreement  83.4 % same endpoint; where they differ, live margin 0.22 (median): mostly "
            "close calls\n"
            "                              live    candidate\n"
            "cached input tokens           61 %         66 %   predicted\n"
            "busiest / mean endpoint       1.06         1.08   by picks\n"
            "no candidate left                0            0\n"
            "top movers  default/vllm-2 +4.1 % picks, default/vllm-7 -2.3 % picks, default/vllm-5 "
            "-1.8 % picks\n"
            "  hint: epp diff --live candidate.yaml\n");
}

TEST(ReportTest, WarnsWhenAffinityCollapsesOntoOneEndpoint) {
  Report r = Example();
  r.summary.shed = 310;
  r.summary.picks = {{1, 9'400, 28'000}, {2, 9'500, 200}, {3, 9'404, 104}};
  EXPECT_THAT(ReportText(r), HasSubstr("2.97   by picks   WARNING: affinity collapses onto "
                                       "default/vllm-2\n"));
  EXPECT_THAT(ReportText(r), HasSubstr("310 shed (budget)"));
  EXPECT_EQ(nlohmann::json::parse(ReportJson(r))["collapses_onto"], "default/vllm-2");

  // A handful of picks says nothing.
  r.summary.picks = {{1, 3, 9}, {2, 3, 0}, {3, 3, 0}};
  EXPECT_THAT(ReportText(r), Not(HasSubstr("WARNING")));
  EXPECT_EQ(nlohmann::json::parse(ReportJson(r))["collapses_onto"], "");
}

TEST(ReportTest, UnknownThingsAreSaidToBeUnknown) {
  Report r = Example();
  r.summary.live_prompt_tokens = 0;
  r.summary.margins = 0;
  const std::string text = ReportText(r);
  EXPECT_THAT(text, HasSubstr("cached input tokens              -         66 %"));
  EXPECT_THAT(text, Not(HasSubstr("margin")));
  const auto json = nlohmann::json::parse(ReportJson(r));
  EXPECT_TRUE(json["cached_tokens"]["live"].is_null());
  EXPECT_DOUBLE_EQ(json["cached_tokens"]["candidate"], 0.66);
  EXPECT_TRUE(json["margin_median"].is_null());
}

TEST(ReportTest, NoneBeforeTheFirstAndTheReasonAfterTheLast) {
  EXPECT_THAT(ReportText({}), HasSubstr("no shadow runs"));
  EXPECT_EQ(ReportJson({}), R"({"schema":"epp.shadow/1","state":"none"})");
  EXPECT_EQ(StatusLine({}), "");
  Report r = Example();
  EXPECT_EQ(StatusLine(r), "candidate.yaml digest c07d12ee, 10 % of requests, 41 min of 60");
  r.state = Report::State::kEnded;
  r.ended = "its time is over";
  EXPECT_EQ(StatusLine(r), "");
  EXPECT_THAT(ReportText(r), HasSubstr("ended: its time is over"));
  EXPECT_EQ(nlohmann::json::parse(ReportJson(r))["state"], "ended");
}

TEST(ReportTest, SaysWhatACandidateCannotKnow) {
  Report r = Example();
  r.own_producers = {{"approx", true}, {"load", false}};
  r.unfed = {"spec-decode-rate"};
  r.rebuilds = 2;
  const std::string text = ReportText(r);
  EXPECT_THAT(text,
              HasSubstr("learning   approx: began as the live one was, sees 10 % of requests\n"));
  EXPECT_THAT(text, HasSubstr("learning   load: began empty, so it predicts too little at first; "
                              "sees 10 % of requests\n"));
  EXPECT_THAT(text, HasSubstr("no data    spec-decode-rate"));
  EXPECT_THAT(text, HasSubstr("generation 3; rebuilt 2 times"));
}

}  // namespace
}  // namespace epp::shadow
