// epp shadow against a serving process and simulated model servers.
#include <unistd.h>

#include <chrono>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/http/client.h"
#include "nlohmann/json.hpp"
#include "tests/cli/live_fixture.h"

namespace epp::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string ConfigWithQueueWeight(const std::string& weight) {
  return "plugins: [{type: queue-scorer}, {type: kv-cache-utilization-scorer}]\n"
         "schedulingProfiles:\n"
         "- name: default\n"
         "  plugins:\n"
         "  - {pluginRef: queue-scorer, weight: " +
         weight +
         "}\n"
         "  - {pluginRef: kv-cache-utilization-scorer, weight: 1}\n";
}

class ShadowTest : public LiveTest {
 protected:
  void SetUp() override {
    LiveTest::SetUp();
    config_ = dir_ + "/config.yaml";
    candidate_ = dir_ + "/candidate.yaml";
    Replace(config_, ConfigWithQueueWeight("1"));
    Replace(candidate_, ConfigWithQueueWeight("5"));
  }

  nlohmann::json Report() const {
    const Result result = Ask({"shadow", "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return nlohmann::json::parse(result.out, nullptr, false);
  }

  // Sends requests until the report fits.
  template <class Fits>
  nlohmann::json DriveUntil(Fits fits) {
    const auto until = std::chrono::steady_clock::now() + kDeadline;
    nlohmann::json report = Report();
    while (!fits(report) && std::chrono::steady_clock::now() < until) {
      EXPECT_FALSE(Decide("").empty());
      report = Report();
    }
    return report;
  }

  std::string config_;
  std::string candidate_;
};

TEST_F(ShadowTest, StartReportAndStop) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config_, "--set", "shadow.cpu_percent=100"}));
  ASSERT_NO_FATAL_FAILURE(WaitUntilFresh());
  const Result none = Ask({"shadow"});
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_THAT(none.out, HasSubstr("no shadow runs"));
  EXPECT_EQ(Ask({"shadow", "stop"}).exit_code, 4);

  const Result start = Ask({"shadow", "start", candidate_, "--sample", "100%", "--for", "2h"});
  EXPECT_EQ(start.exit_code, 0) << start.err;
  EXPECT_THAT(start.out, HasSubstr("candidate.yaml digest "));
  EXPECT_THAT(start.out, HasSubstr("100 % of requests"));
  EXPECT_THAT(start.out, HasSubstr("ends by itself in 120 min"));
  const Result again = Ask({"shadow", "start", candidate_});
  EXPECT_EQ(again.exit_code, 4) << again.out;
  EXPECT_THAT(again.err, HasSubstr("a shadow runs already"));

  for (int i = 0; i < 5; ++i) EXPECT_FALSE(Decide("").empty());
  const nlohmann::json report = DriveUntil([](const auto& r) { return r["decisions"] >= 5; });
  EXPECT_EQ(report["schema"], "epp.shadow/1");
  EXPECT_EQ(report["state"], "running");
  EXPECT_EQ(report["source"], "operator");
  EXPECT_EQ(report["shed"], 0);
  EXPECT_EQ(report["failed"], 0);
  EXPECT_GT(report["cost_us"], 0.0);
  EXPECT_THAT(report["agree"].get<int>() + report["differ"].get<int>(), report["decisions"]);
  const Result text = Ask({"shadow", "report"});
  EXPECT_THAT(text.out, HasSubstr("% same endpoint"));
  EXPECT_THAT(text.out, HasSubstr("busiest / mean endpoint"));
  EXPECT_THAT(Ask({"status"}).out, HasSubstr("shadow     " + candidate_));
  EXPECT_GT(Metric("epp_shadow_cpu_seconds_total"), 0);
  for (const char* result : {"agree", "differ"}) {
    EXPECT_EQ(Metric(std::string("epp_shadow_requests_total{result=\"") + result + "\"}"),
              report[result].get<double>());
  }

  const Result stop = Ask({"shadow", "stop"});
  EXPECT_EQ(stop.exit_code, 0) << stop.err;
  EXPECT_THAT(stop.out, HasSubstr("ended: stopped"));
  EXPECT_THAT(Ask({"shadow"}).out, HasSubstr("ended: stopped"));
  EXPECT_THAT(Ask({"status"}).out, Not(HasSubstr("shadow ")));
  EXPECT_FALSE(Decide("after-the-shadow").empty());
  serve_->Signal(SIGTERM);
  EXPECT_EQ(serve_->Wait(), 0) << serve_->output();
}

TEST_F(ShadowTest, RefusalsSayWhyAndChangeNothing) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config_}));
  Replace(candidate_, ConfigWithQueueWeight("heavy"));
  const Result refused = Ask({"shadow", "start", candidate_});
  EXPECT_EQ(refused.exit_code, 4) << refused.out;
  EXPECT_THAT(refused.err, HasSubstr(candidate_ + ":5"));
  EXPECT_THAT(refused.err, HasSubstr("heavy"));
  Replace(candidate_, "");
  EXPECT_EQ(Ask({"shadow", "start", candidate_}).exit_code, 2);
  Replace(candidate_, ConfigWithQueueWeight("5"));
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{"shadow", "start"},
                                                {"shadow", "start", candidate_, "--sample", "0"},
                                                {"shadow", "start", candidate_, "--sample", "110%"},
                                                {"shadow", "start", candidate_, "--for", "soon"},
                                                {"shadow", "begin"},
                                                {"shadow", "start", dir_ + "/nothing.yaml"}}) {
    EXPECT_EQ(Ask(wrong).exit_code, 2) << ::testing::PrintToString(wrong);
  }
  const http::ClientTarget admin{.unix_path = dir_ + "/admin.sock"};
  for (const char* body : {"", "{", "[]", R"({"text":7})", R"({"text":"x","sample":2})",
                           R"({"text":"x","minutes":-1})", R"({"text":"x","colour":"red"})"}) {
    const auto answer =
        http::Call(admin, {.method = "POST", .path = "/admin/shadow", .body = body});
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(answer->status, 400) << body << answer->body;
  }
  const auto large =
      http::Call(admin, {.method = "POST",
                         .path = "/admin/shadow",
                         .body = nlohmann::json{{"text", std::string((1 << 20) + 1, '#')}}.dump()});
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_EQ(large->status, 400) << large->body;
  EXPECT_EQ(Report()["state"], "none");
}

TEST_F(ShadowTest, ACandidateOfSeveralFilesIsSentAsOne) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config_}));
  Replace(dir_ + "/base.yaml", ConfigWithQueueWeight("5"));
  Replace(candidate_, "epp: {include: [base.yaml]}\n");
  const Result start = Ask({"shadow", "start", candidate_});
  EXPECT_EQ(start.exit_code, 0) << start.err;
  Replace(candidate_, "epp: {include: [base.yaml, gone.yaml]}\n");
  const Result refused = Ask({"shadow", "start", candidate_});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("include \"gone.yaml\""));
}

TEST_F(ShadowTest, EndsByItself) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config_}));
  ASSERT_EQ(Ask({"shadow", "start", candidate_, "--sample", "100%", "--for", "500ms"}).exit_code,
            0);
  const nlohmann::json report = DriveUntil([](const auto& r) { return r["state"] == "ended"; });
  EXPECT_EQ(report["ended"], "its time is over");
  EXPECT_FALSE(serve_->WaitForLine("\"msg\":\"shadow ended\"").empty());
}

TEST_F(ShadowTest, FollowsAReload) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config_}));
  ASSERT_EQ(Ask({"shadow", "start", candidate_, "--sample", "100%"}).exit_code, 0);
  DriveUntil([](const auto& r) { return r["decisions"] >= 1; });
  Replace(config_, ConfigWithQueueWeight("7"));
  EXPECT_EQ(Ask({"reload"}).exit_code, 0);
  const nlohmann::json followed = DriveUntil([](const auto& r) { return r["generation"] == 2; });
  EXPECT_EQ(followed["rebuilds"], 1);
  EXPECT_EQ(followed["state"], "running");
  const int before = followed["decisions"];
  const nlohmann::json more =
      DriveUntil([before](const auto& r) { return r["decisions"].template get<int>() > before; });
  EXPECT_GT(more["decisions"], before);
  serve_->Signal(SIGTERM);  // with the shadow still on
  EXPECT_EQ(serve_->Wait(), 0) << serve_->output();
}

// The config names a shadow: it runs as long as that, follows its file, and yields to an operator.
TEST_F(ShadowTest, TheConfigMayNameOne) {
  const std::string named = "epp: {shadow: {file: candidate.yaml, sample: 100%}}\n";
  Replace(config_, named + ConfigWithQueueWeight("1"));
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config_}));
  nlohmann::json report =
      DriveUntil([](const auto& r) { return r["state"] == "running" && r["decisions"] >= 1; });
  EXPECT_EQ(report["source"], "config");
  EXPECT_EQ(report["file"], candidate_);
  EXPECT_FALSE(report.contains("planned_s"));
  const std::string digest = report["digest"];

  Replace(candidate_, ConfigWithQueueWeight("6"));
  report = DriveUntil([&](const auto& r) { return r["digest"] != digest; });
  EXPECT_EQ(report["state"], "running");
  const std::string changed = report["digest"];

  Replace(candidate_, ConfigWithQueueWeight("heavy"));
  const auto check = [this](int exit_code) {
    const auto until = std::chrono::steady_clock::now() + kDeadline;
    Result result;
    do {
      result = Ask({"status", "--check"});
    } while (result.exit_code != exit_code && std::chrono::steady_clock::now() < until);
    EXPECT_EQ(result.exit_code, exit_code) << result.out;
    return result.out;
  };
  EXPECT_THAT(check(1), HasSubstr("shadow-refused"));
  EXPECT_EQ(Report()["digest"], changed);  // the former one goes on
  Replace(candidate_, ConfigWithQueueWeight("6"));
  ASSERT_NO_FATAL_FAILURE(WaitUntilFresh());
  check(0);

  const std::string other = dir_ + "/other.yaml";
  Replace(other, ConfigWithQueueWeight("9"));
  ASSERT_EQ(Ask({"shadow", "start", other}).exit_code, 0);
  EXPECT_EQ(Report()["source"], "operator");
  ASSERT_EQ(Ask({"shadow", "stop"}).exit_code, 0);
  report = DriveUntil([](const auto& r) { return r["source"] == "config"; });
  EXPECT_EQ(report["state"], "running");

  Replace(config_, ConfigWithQueueWeight("1"));
  report = DriveUntil([](const auto& r) { return r["state"] == "ended"; });
  EXPECT_EQ(report["ended"], "the config names it no more");
}

TEST_F(ShadowTest, ReadOnlyLetsOnlyRootCompare) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--config-file", config_, "--set", "admin.read_only=true"}));
  const Result start = Ask({"shadow", "start", candidate_});
  const int expected = getuid() == 0 ? 0 : 4;
  EXPECT_EQ(start.exit_code, expected) << start.err;
  EXPECT_EQ(Ask({"shadow", "stop"}).exit_code, expected);
  EXPECT_EQ(Ask({"shadow"}).exit_code, 0);
}

}  // namespace
}  // namespace epp::testing
