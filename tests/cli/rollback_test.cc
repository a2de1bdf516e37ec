// A change that turns out bad, and the ways back: epp diff before it, reload --expect, epp
// rollback, the pin that it leaves, and the guard.
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/http/client.h"
#include "nlohmann/json.hpp"
#include "tests/cli/live_fixture.h"

namespace epp::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class RollbackTest : public LiveTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(LiveTest::SetUp());
    config_ = dir_ + "/config.yaml";
    Replace(config_, Config("1"));
  }
  // The watch is off unless a test is about it: then only what is asked for happens.
  void ServeConfig(std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--config-file", config_});
    ASSERT_NO_FATAL_FAILURE(Serve(more));
    ASSERT_NO_FATAL_FAILURE(WaitUntilFresh());
  }
  static std::string Config(const std::string& weight, const std::string& plugins = "",
                            const std::string& entries = "") {
    return "apiVersion: llm-d.ai/v1alpha1\n"
           "kind: EndpointPickerConfig\n"
           "plugins:\n"
           "- {type: queue-scorer}\n" +
           plugins +
           "schedulingProfiles:\n"
           "- name: default\n"
           "  plugins:\n"
           "  - {pluginRef: queue-scorer, weight: " +
           weight + "}\n" + entries;
  }
  // The new text serves, whoever was first: the watch or the command.
  void Apply(const std::string& text) {
    Replace(config_, text);
    const Result result = Ask({"reload", "--wait"});
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  }
  nlohmann::json Document(const std::string& path) const {
    const auto response = http::Call({.unix_path = dir_ + "/admin.sock"}, {.path = path});
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? nlohmann::json::parse(response->body, nullptr, false) : nlohmann::json();
  }
  nlohmann::json ConfigStatus() const { return Document("/admin/status")["config"]; }
  double Generation() const { return Metric("epp_generation"); }

  const std::vector<std::string> quiet_{"--set", "config.watch=false"};
  std::string config_;
};

TEST_F(RollbackTest, DiffReloadExpectAndRollback) {
  ASSERT_NO_FATAL_FAILURE(ServeConfig(quiet_));
  EXPECT_EQ(Ask({"diff", "--live"}).exit_code, 0);
  Replace(config_, Config("5"));
  const Result diff = Ask({"diff", "--live"});
  EXPECT_EQ(diff.exit_code, 1) << diff.out << diff.err;
  EXPECT_THAT(diff.out, AllOf(HasSubstr("  profile default\n~   queue-scorer      weight 1 -> 5\n"),
                              HasSubstr("no learned state is lost")));
  const std::string hint = "epp reload --wait --expect ";
  const size_t at = diff.out.find(hint);
  ASSERT_NE(at, std::string::npos) << diff.out;
  const std::string digest = diff.out.substr(at + hint.size(), 8);

  const Result other = Ask({"reload", "--wait", "--expect", "00000000"});
  EXPECT_EQ(other.exit_code, 4) << other.out;
  EXPECT_THAT(other.err, HasSubstr("the text on disk has digest " + digest + ", want 00000000"));
  EXPECT_EQ(Ask({"reload", "--expect", "00000000"}).exit_code, 4);
  EXPECT_EQ(Ask({"reload", "--wait", "--expect", "zero"}).exit_code, 2);
  EXPECT_EQ(Generation(), 1);

  const Result applied = Ask({"reload", "--wait", "--expect", digest});
  EXPECT_EQ(applied.exit_code, 0) << applied.err;
  EXPECT_THAT(
      applied.out,
      AllOf(HasSubstr("generation 2 serving after "), HasSubstr("; digest " + digest),
            HasSubstr("~   profile default: queue-scorer weight 1 -> 5\n"),
            HasSubstr(" instances kept with their state"), HasSubstr("undo: epp rollback\n")));
  EXPECT_THAT(Ask({"reload", "--wait=5s"}).out, HasSubstr("unchanged: generation 2"));
  const Result forced = Ask({"reload", "--wait", "--force"});
  EXPECT_THAT(forced.out, HasSubstr("generation 3 serving after "));
  EXPECT_THAT(forced.out, HasSubstr(", 0 created"));

  const Result back = Ask({"rollback", "--reason", "p99 doubled"});
  EXPECT_EQ(back.exit_code, 0) << back.err;
  EXPECT_THAT(back.out, AllOf(HasSubstr("generation 4 serving after "),
                              HasSubstr(": the text of generation 1 "),
                              HasSubstr("~   profile default: queue-scorer weight 5 -> 1\n"),
                              HasSubstr("pinned: " + config_ + " (digest " + digest +
                                        ") is ignored until it changes"),
                              HasSubstr("to keep the rollback: epp rollback 1 --write\n")));
  const Result status = Ask({"status"});
  EXPECT_THAT(status.out, AllOf(HasSubstr("pinned to the text of generation 1"),
                                HasSubstr("rollback: p99 doubled")));
  EXPECT_EQ(ConfigStatus()["pinned"]["file_digest"], digest);
  EXPECT_EQ(ConfigStatus()["cause"], "rollback");
  EXPECT_THAT(std::string(ConfigStatus()["actor"]),
              HasSubstr("uid " + std::to_string(getuid()) + " pid "));
  EXPECT_EQ(Metric("epp_config_pinned"), 1);
  EXPECT_FALSE(Decide("after-a-rollback").empty());

  const Result nothing = Ask({"rollback"});
  EXPECT_EQ(nothing.exit_code, 4);
  EXPECT_THAT(nothing.err, HasSubstr("kept: 1 to 4 ([config] history = 12)"));
  const Result unknown = Ask({"rollback", "17"});
  EXPECT_EQ(unknown.exit_code, 4);
  EXPECT_THAT(unknown.err, HasSubstr("generation 17 is not kept; kept: 1 to 4"));

  // Saying so ends the pin.
  EXPECT_THAT(Ask({"reload", "--wait"}).out, HasSubstr("generation 5 serving"));
  EXPECT_TRUE(ConfigStatus()["pinned"].is_null());
  EXPECT_EQ(Metric("epp_config_pinned"), 0);
  EXPECT_THAT(Ask({"status"}).out, Not(HasSubstr("pinned")));
}

TEST_F(RollbackTest, APinEndsWhenTheFileChanges) {
  ASSERT_NO_FATAL_FAILURE(ServeConfig());
  ASSERT_NO_FATAL_FAILURE(Apply(Config("5")));
  ASSERT_EQ(Ask({"rollback"}).exit_code, 0);
  EXPECT_EQ(Generation(), 3);
  // The watch looks at it again, and sees the same bytes.
  Replace(config_, Config("5"));
  Replace(dir_ + "/endpoints.yaml", Bytes(dir_ + "/endpoints.yaml"));
  Replace(config_, Config("7"));
  EXPECT_TRUE(Eventually([&] { return Generation() == 4; })) << serve_->output();
  EXPECT_TRUE(Eventually([&] { return ConfigStatus()["cause"] == "file change"; }));
  EXPECT_TRUE(ConfigStatus()["pinned"].is_null());
  EXPECT_EQ(Metric("epp_degraded{reason=\"pinned\"}"), 0);
}

TEST_F(RollbackTest, WriteMakesFileAndProcessAgree) {
  ASSERT_NO_FATAL_FAILURE(ServeConfig());
  ASSERT_NO_FATAL_FAILURE(Apply(Config("5")));
  const Result back = Ask({"rollback", "1", "--write"});
  EXPECT_EQ(back.exit_code, 0) << back.err;
  EXPECT_THAT(back.out, AllOf(HasSubstr(": the text of generation 1 "),
                              HasSubstr("written: " + config_ + "; the former text is " + config_ +
                                        ".bak\n")));
  EXPECT_EQ(Bytes(config_), Config("1"));
  EXPECT_EQ(Bytes(config_ + ".bak"), Config("5"));
  EXPECT_TRUE(Eventually([&] { return ConfigStatus()["pinned"].is_null(); })) << serve_->output();
  EXPECT_EQ(Generation(), 3);
  EXPECT_EQ(Ask({"diff", "--live"}).exit_code, 0);
}

TEST_F(RollbackTest, WriteIsRefusedBeforeAnythingChanges) {
  ASSERT_NO_FATAL_FAILURE(ServeConfig(quiet_));
  ASSERT_NO_FATAL_FAILURE(Apply(Config("5")));
  fs::remove(config_);  // as good as a place that cannot be written, and so also for root
  const Result back = Ask({"rollback", "1", "--write"});
  EXPECT_EQ(back.exit_code, 4) << back.out;
  EXPECT_THAT(back.err,
              AllOf(HasSubstr("cannot write " + config_), HasSubstr("nothing was rolled")));
  EXPECT_EQ(Generation(), 2);
  // The way back needs no file.
  EXPECT_EQ(Ask({"rollback"}).exit_code, 0);
  EXPECT_EQ(Generation(), 3);
}

TEST_F(RollbackTest, HistoryKeepsRefusedOnesAndOutlivesTheProcess) {
  ASSERT_NO_FATAL_FAILURE(ServeConfig(quiet_));
  ASSERT_NO_FATAL_FAILURE(Apply(Config("5")));
  Replace(config_, Config("heavy"));
  const Result refused = Ask({"reload", "--wait"});
  EXPECT_EQ(refused.exit_code, 4);
  EXPECT_THAT(refused.err, HasSubstr("refused: 1 error; generation 2 keeps serving"));
  ASSERT_EQ(Ask({"rollback"}).exit_code, 0);

  const nlohmann::json list = Document("/admin/generations");
  ASSERT_EQ(list["generations"].size(), 4u) << list.dump();
  EXPECT_EQ(list["generations"][0]["cause"], "rollback");
  EXPECT_EQ(list["generations"][0]["restored"], 1);
  EXPECT_EQ(list["generations"][1]["outcome"], "refused");
  EXPECT_THAT(std::string(list["generations"][1]["diagnostics"]), HasSubstr("heavy"));
  EXPECT_EQ(list["generations"][2]["changes"][0],
            "~   profile default: queue-scorer weight 1 -> 5");
  EXPECT_EQ(Document("/admin/generations/2")["files"][0]["text"], Config("5"));
  EXPECT_EQ(Document("/admin/generations/9")["code"], "EPP-ADM-NO-GENERATION");

  serve_->Signal(SIGTERM);
  EXPECT_EQ(serve_->Wait(), 0) << serve_->output();
  Replace(config_, Config("9"));
  ASSERT_NO_FATAL_FAILURE(ServeConfig(quiet_));
  EXPECT_EQ(Generation(), 4);
  const Result back = Ask({"rollback", "2"});
  EXPECT_EQ(back.exit_code, 0) << back.err;
  EXPECT_THAT(back.out, HasSubstr("queue-scorer weight 9 -> 5"));
  EXPECT_EQ(Generation(), 5);
}

TEST_F(RollbackTest, ReloadWithoutWaitIsAcceptedForTrial) {
  ASSERT_NO_FATAL_FAILURE(ServeConfig(quiet_));
  Replace(config_, Config("5"));
  const Result accepted = Ask({"reload"});
  EXPECT_EQ(accepted.exit_code, 0) << accepted.err;
  EXPECT_THAT(accepted.out, HasSubstr("accepted for trial; generation 1 serves"));
  EXPECT_TRUE(Eventually([&] { return Generation() == 2; }));
}

TEST_F(RollbackTest, IncludedFilesGoBackToo) {
  const std::string main = "epp: {include: [base.yaml]}\n";
  Replace(dir_ + "/base.yaml", Config("1"));
  Replace(config_, main);
  ASSERT_NO_FATAL_FAILURE(ServeConfig(quiet_));
  Replace(dir_ + "/base.yaml", Config("5"));
  ASSERT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  const Result back = Ask({"rollback", "--write"});
  EXPECT_EQ(back.exit_code, 0) << back.err;
  EXPECT_THAT(back.out, HasSubstr("written: " + dir_ + "/base.yaml"));
  EXPECT_EQ(Bytes(dir_ + "/base.yaml"), Config("1"));
  EXPECT_EQ(Ask({"diff", "--live"}).exit_code, 0);
}

// With plugins of this test.
class BuildsTest : public RollbackTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(RollbackTest::SetUp());
    plugins_ = dir_ + "/plugins";
    fs::create_directory(plugins_);
    Install(1);
    Replace(config_, Config("1", "- {type: versioned-hook}\n"));
  }
  void ServeBuilds(std::vector<std::string> more = {}) {
    const std::string own = fs::path(EPP_BINARY).parent_path().parent_path() / "lib/epp/plugins";
    more.insert(more.end(), {"--set", "plugins.dirs=" + own + "," + plugins_});
    ASSERT_NO_FATAL_FAILURE(ServeConfig(more));
    ASSERT_EQ(Header("x-version"), "1");
  }
  void Install(int version) const {
    const std::string library = plugins_ + "/versioned.so";
    fs::copy_file(EPP_VERSIONED + std::to_string(version) + ".so", library + ".tmp",
                  fs::copy_options::overwrite_existing);
    fs::rename(library + ".tmp", library);
  }
  std::string plugins_;
};

TEST_F(BuildsTest, ARollbackBringsBackTheCode) {
  ASSERT_NO_FATAL_FAILURE(ServeBuilds());
  EXPECT_EQ(Header("x-count"), "2");
  Install(2);
  ASSERT_TRUE(Eventually([&] { return Header("x-version") == "2"; })) << serve_->output();
  const Result back = Ask({"rollback"});
  EXPECT_EQ(back.exit_code, 0) << back.err;
  EXPECT_THAT(back.out, AllOf(HasSubstr("the text of generation 1"), HasSubstr("library versioned"),
                              HasSubstr("other builds of plugin libraries on disk are ignored")));
  EXPECT_EQ(Header("x-version"), "1");
  EXPECT_GT(std::stoi(Header("x-count")), 3) << "state goes back with the code";
  // The file of the config may be touched or say the same: the build stays.
  Replace(config_, Bytes(config_));
  // A third build is news.
  Install(3);
  EXPECT_TRUE(Eventually([&] { return Header("x-version") == "3"; })) << serve_->output();
  EXPECT_TRUE(Eventually([&] { return ConfigStatus()["pinned"].is_null(); }));
  // Back twice, then what is on disk again.
  ASSERT_EQ(Ask({"rollback"}).exit_code, 0);
  EXPECT_EQ(Header("x-version"), "1");
  ASSERT_EQ(Ask({"rollback", "2"}).exit_code, 0);
  EXPECT_EQ(Header("x-version"), "2");
  ASSERT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  EXPECT_EQ(Header("x-version"), "3");
}

TEST_F(BuildsTest, DiffSaysWhatANewBuildDoes) {
  ASSERT_NO_FATAL_FAILURE(ServeBuilds(quiet_));
  Install(2);
  const Result diff = Ask({"diff", "--live"});
  EXPECT_EQ(diff.exit_code, 1) << diff.out << diff.err;
  EXPECT_THAT(diff.out, AllOf(HasSubstr("versioned-hook"), HasSubstr("library versioned"),
                              HasSubstr("its state is carried over")));
  Replace(dir_ + "/other.yaml", Config("1"));
  const Result json = Ask({"diff", "--live", dir_ + "/other.yaml", "--json"});
  EXPECT_EQ(json.exit_code, 1);
  const auto document = nlohmann::json::parse(json.out, nullptr, false);
  EXPECT_EQ(document["schema"], "epp.diff/1");
  EXPECT_EQ(document["dropped"], 1) << json.out;
}

TEST_F(RollbackTest, TheGuardGoesBackWhenRequestsFail) {
  ASSERT_NO_FATAL_FAILURE(ServeConfig(
      {"--set", "config.watch=false", "--set", "guard.enabled=true", "--set", "guard.window=60s"}));
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(Decide("").empty());
  // Drops every endpoint, which is a legal thing to ask for.
  ASSERT_NO_FATAL_FAILURE(
      Apply(Config("1", "- {type: by-label, parameters: {label: team, validValues: [none]}}\n",
                   "  - {pluginRef: by-label}\n")));
  EXPECT_EQ(Generation(), 2);
  EXPECT_TRUE(Eventually([&] {
    Decide("");
    return Generation() == 3;
  })) << serve_->output();
  EXPECT_FALSE(Decide("").empty());
  EXPECT_TRUE(Eventually([&] { return ConfigStatus()["cause"] == "guard"; }));
  EXPECT_THAT(std::string(ConfigStatus()["pinned"]["reason"]),
              AllOf(HasSubstr("failed inside epp"), HasSubstr("limit 1 %")));
  EXPECT_THAT(Ask({"status"}).out, HasSubstr("failed inside epp"));
  EXPECT_NE(serve_->WaitForLine("the guard rolls the configuration back"), "");
  const nlohmann::json list = Document("/admin/generations");
  EXPECT_EQ(list["generations"][0]["cause"], "guard");
  EXPECT_THAT(std::string(list["generations"][0]["reason"]), HasSubstr("failed inside epp"));
}

TEST_F(RollbackTest, ReadOnlyLetsOnlyRootChange) {
  ASSERT_NO_FATAL_FAILURE(ServeConfig({"--set", "admin.read_only=true"}));
  const Result result = Ask({"reload", "--wait"});
  EXPECT_EQ(result.exit_code, getuid() == 0 ? 0 : 4) << result.err;
}

TEST_F(RollbackTest, DiffOfTwoFilesNeedsNoProcess) {
  Replace(dir_ + "/new.yaml", Config("3"));
  const Result diff = RunToEnd({EPP_BINARY, "diff", config_, dir_ + "/new.yaml", "--all"});
  EXPECT_EQ(diff.exit_code, 1) << diff.err;
  EXPECT_THAT(diff.out, AllOf(HasSubstr("weight 1 -> 3"), HasSubstr("kept"),
                              Not(HasSubstr("apply exactly this"))));
  EXPECT_EQ(RunToEnd({EPP_BINARY, "diff", config_, config_}).exit_code, 0);
  EXPECT_EQ(RunToEnd({EPP_BINARY, "diff", config_}).exit_code, 2);
  EXPECT_EQ(RunToEnd({EPP_BINARY, "diff", config_, dir_ + "/absent.yaml"}).exit_code, 2);
  Replace(dir_ + "/bad.yaml", Config("heavy"));
  const Result bad = RunToEnd({EPP_BINARY, "diff", config_, dir_ + "/bad.yaml"});
  EXPECT_EQ(bad.exit_code, 2);
  EXPECT_THAT(bad.err, HasSubstr("heavy"));
}

}  // namespace
}  // namespace epp::testing
