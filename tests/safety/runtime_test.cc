// Plugins that come through the trial and misbehave later.
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/safety/rig.h"

namespace epp::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Read(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class LaterTest : public SafetyRig {
 protected:
  void SetUp() override {
    SafetyRig::SetUp();
    Install("on-demand");
    Configure({"on-demand"});
  }
  // Makes the process crash in the scorer; it names the culprit.
  void Crash(const std::string& flaw = "crash") {
    EXPECT_EQ(Decide(flaw), "");
    EXPECT_EQ(serve_->Wait(), -SIGSEGV) << serve_->output();
    EXPECT_THAT(
        serve_->output(),
        AllOf(HasSubstr("crash in a plugin"), HasSubstr("\"library\":\"on-demand\""),
              HasSubstr("\"what\":\"SIGSEGV\""), HasSubstr("\"interface\":\"epp.scorer/1\"")));
  }
};

TEST_F(LaterTest, ACrashInScoreIsToldAndTheNextStartGoesWithoutIt) {
  ASSERT_NO_FATAL_FAILURE(Serve());
  EXPECT_FALSE(Decide().empty());
  Crash();
  EXPECT_THAT(Read(StateFile("quarantine")), HasSubstr("\tSIGSEGV\ton-demand\ton-demand\ton-demand"
                                                       "\tepp.scorer/1\ton-demand=epp.scorer/1\n"));

  ASSERT_NO_FATAL_FAILURE(Serve());
  EXPECT_FALSE(Decide("crash").empty()) << serve_->output();
  EXPECT_TRUE(StatusSays("plugin-quarantined"));
  const Result status = Ask({"status"});
  EXPECT_THAT(status.out,
              AllOf(HasSubstr("1 in quarantine (on-demand)"), HasSubstr("EPP-LOAD-QUARANTINED"),
                    HasSubstr("epp plugins --forgive")));

  // Another build is another matter.
  Install("on-demand", "a build that works, who knows");
  EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  EXPECT_TRUE(StatusSays("\"quarantined\":[]"));
  serve_->Signal(SIGTERM);
  EXPECT_EQ(serve_->Wait(), 0) << serve_->output();
}

TEST_F(LaterTest, AnOverrunStackIsToldToo) {
  ASSERT_NO_FATAL_FAILURE(Serve());
  Crash("overflow");
}

TEST_F(LaterTest, TheQuarantineCanBeLifted) {
  ASSERT_NO_FATAL_FAILURE(Serve());
  Crash();
  const std::string digest = Read(StateFile("quarantine")).substr(0, 12);
  ASSERT_NO_FATAL_FAILURE(Serve());
  const Result forgiven = RunToEnd(
      {EPP_BINARY, "plugins", "--forgive", digest, "--set", "config.state_dir=" + dir_ + "/state"});
  EXPECT_EQ(forgiven.exit_code, 0) << forgiven.err;
  EXPECT_EQ(Read(StateFile("quarantine")), "");
  EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  EXPECT_TRUE(StatusSays("\"quarantined\":[]"));
  const Result unknown = RunToEnd(
      {EPP_BINARY, "plugins", "--forgive", digest, "--set", "config.state_dir=" + dir_ + "/state"});
  EXPECT_EQ(unknown.exit_code, 1);
}

TEST_F(LaterTest, WithoutAPickerThereIsNoStart) {
  const std::string picker = std::filesystem::path(EPP_BINARY).parent_path().parent_path() /
                             "lib/epp/plugins/max-score-picker.so";
  const std::string digest = RunToEnd({"/usr/bin/sha256sum", picker}).out.substr(0, 64);
  std::filesystem::create_directory(dir_ + "/state");
  std::ofstream(StateFile("quarantine"))
      << digest << "\t1700000000\tSIGSEGV\tmax-score-picker\tmax-score-picker\tp\tepp.picker/1\t"
      << "max-score-picker=epp.picker/1\n";
  const Result start = ServeToEnd();
  EXPECT_EQ(start.exit_code, 78) << start.err;
  EXPECT_THAT(start.err, AllOf(HasSubstr("EPP-LOAD-QUARANTINED"), HasSubstr("max-score-picker"),
                               HasSubstr("epp plugins --forgive " + digest.substr(0, 12))));
}

TEST_F(LaterTest, TurnedOffNothingIsRemembered) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--set", "plugins.quarantine=false"}));
  Crash();
  EXPECT_FALSE(std::filesystem::exists(StateFile("quarantine")));
}

TEST_F(LaterTest, ThreeSlowCallsSwitchAScorerOff) {
  ASSERT_NO_FATAL_FAILURE(Serve());
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(Decide("slow").empty());
  EXPECT_TRUE(StatusSays("\"disabled\":[\"on-demand\"]"));
  EXPECT_TRUE(StatusSays("plugin-disabled"));
  EXPECT_FALSE(serve_->WaitForLine("plugin switched off").empty());
  // Off means off: it would crash.
  EXPECT_FALSE(Decide("crash").empty());
  // A reload that changes nothing about it leaves it off, one with --force does not.
  Configure({"on-demand", "queue-scorer"});
  Configure({"on-demand"});
  EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  EXPECT_TRUE(StatusSays("\"disabled\":[\"on-demand\"]"));
  EXPECT_EQ(Ask({"reload", "--wait", "--force"}).exit_code, 0);
  EXPECT_TRUE(StatusSays("\"disabled\":[]"));
  // So do other parameters.
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(Decide("slow").empty());
  EXPECT_TRUE(StatusSays("\"disabled\":[\"on-demand\"]"));
  Configure({"on-demand"}, 7);
  EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  EXPECT_TRUE(StatusSays("\"disabled\":[]"));
}

TEST_F(LaterTest, ACallThatNeverReturnsIsToldAndNobodyElseGoesIn) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--set", "plugins.stuck_abort=0s"}));
  std::thread stuck([&] { Decide("hang", 5); });
  EXPECT_FALSE(serve_->WaitForLine("plugin call does not return").empty()) << serve_->output();
  EXPECT_TRUE(StatusSays("plugin-stuck"));
  EXPECT_TRUE(StatusSays("\"disabled\":[\"on-demand\"]"));
  stuck.join();
}

TEST_F(LaterTest, ACallThatNeverReturnsEndsTheProcessInTheEnd) {
  ASSERT_NO_FATAL_FAILURE(Serve({"--set", "plugins.stuck_abort=3s"}));
  Decide("hang", 20);
  EXPECT_EQ(serve_->Wait(), -SIGABRT) << serve_->output();
  EXPECT_THAT(serve_->output(), AllOf(HasSubstr("a call that did not return"),
                                      HasSubstr("\"library\":\"on-demand\"")));
  EXPECT_THAT(Read(StateFile("quarantine")), HasSubstr("\ta call that did not return\ton-demand"));
  ASSERT_NO_FATAL_FAILURE(Serve());
  EXPECT_FALSE(Decide("hang").empty());
}

}  // namespace
}  // namespace epp::testing
