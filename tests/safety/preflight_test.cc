// New libraries are tried in a child: what is wrong with them never reaches the process that
// serves.
#include <signal.h>

#include <chrono>
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/safety/rig.h"

namespace epp::testing {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

// Above what the slowest good step takes.
#ifdef EPP_SANITIZED
#define EPP_STEP_LIMIT "8s"
#else
#define EPP_STEP_LIMIT "3s"
#endif
constexpr const char* kPreflight = "plugins.preflight=" EPP_STEP_LIMIT;

struct Flaw {
  const char* library;
  const char* call;  // what was being called
  const char* how;   // how it ended
};

void PrintTo(const Flaw& flaw, std::ostream* os) { *os << flaw.library; }

class FlawTest : public SafetyRig, public ::testing::WithParamInterface<Flaw> {};

// Bad input, one by one: the former generation goes on, and says why the new one does not.
TEST_P(FlawTest, IsRefusedAndTheHostIsUntouched) {
  const Flaw& flaw = GetParam();
  Configure({});
  ASSERT_NO_FATAL_FAILURE(Serve({"--set", kPreflight}));
  Install(flaw.library);
  Configure({flaw.library});
  const Result result = Ask({"reload", "--wait"});
  EXPECT_EQ(result.exit_code, 4) << result.out << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("EPP-LOAD-PREFLIGHT"),
                                HasSubstr(std::string("library ") + flaw.library + " (sha256 "),
                                HasSubstr(flaw.call), HasSubstr(flaw.how)));
  EXPECT_FALSE(Decide().empty());
  EXPECT_THAT(Ask({"status"}).out, HasSubstr("config-refused"));

  // A start with it is refused, too, and says the same.
  const Result start = ServeToEnd({"--set", kPreflight});
  EXPECT_EQ(start.exit_code, 78) << start.err;
  EXPECT_THAT(start.err, AllOf(HasSubstr("EPP-LOAD-PREFLIGHT"), HasSubstr(flaw.how)));

  // Mended, it serves.
  Remove(flaw.library);
  Install("no-flaw");
  Configure({"no-flaw"});
  const Result mended = Ask({"reload", "--wait"});
  EXPECT_EQ(mended.exit_code, 0) << mended.out << mended.err;
  serve_->Signal(SIGTERM);
  EXPECT_EQ(serve_->Wait(), 0) << serve_->output();
}

INSTANTIATE_TEST_SUITE_P(
    Table, FlawTest,
    ::testing::Values(Flaw{"hang-create", "create", "did not return within " EPP_STEP_LIMIT},
                      Flaw{"exit-create", "create", "ended the process with exit status 0"},
                      Flaw{"abort-create", "create", "killed by SIGABRT"},
                      Flaw{"crash-load", "load", "killed by SIGSEGV"},
                      Flaw{"registry", "load a second time", "killed by SIGABRT"},
                      Flaw{"hang-score", "epp.scorer/1", "did not return within " EPP_STEP_LIMIT}),
    [](const auto& info) {
      std::string name = info.param.library;
      for (char& c : name) c = c == '-' ? '_' : c;
      return name;
    });

class PreflightTest : public SafetyRig {};

TEST_F(PreflightTest, ProcessesThatAreLeftBehindAreARefusal) {
  Install("fork-create");
  Configure({"fork-create"});
  const Result result = ServeToEnd();
  EXPECT_EQ(result.exit_code, 78) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("EPP-LOAD-PREFLIGHT"), HasSubstr("must not fork")));
}

// The limit is of one call: many libraries, or a slow machine, are no hang.
TEST_F(PreflightTest, AllCallsTogetherMayTakeLonger) {
  Install("slow-create");
  Configure({"slow-create"});
  ASSERT_NO_FATAL_FAILURE(Serve({"--set", kPreflight}));
  EXPECT_FALSE(Decide().empty());
}

TEST_F(PreflightTest, MemoryHasALimit) {
#if defined(EPP_SANITIZED)
  GTEST_SKIP() << "a sanitizer needs more address space than the limit allows";
#endif
  Install("hungry-create");
  Configure({"hungry-create"});
  const Result result = ServeToEnd();
  EXPECT_EQ(result.exit_code, 78) << result.err;
  EXPECT_THAT(result.err, HasSubstr("hungry-create"));
}

TEST_F(PreflightTest, AFlawInALibraryThatNobodyUsesIsARefusalToo) {
  Install("abort-create");
  Configure({});
  const Result result = ServeToEnd();
  EXPECT_EQ(result.exit_code, 78) << result.err;
  EXPECT_THAT(result.err, HasSubstr("library abort-create"));
}

TEST_F(PreflightTest, TurnedOffNothingIsTried) {
  Install("registry");  // harmless when it is loaded once
  Configure({"registry"});
  ASSERT_NO_FATAL_FAILURE(Serve({"--set", "plugins.preflight=0s"}));
  EXPECT_FALSE(Decide().empty());
}

TEST_F(PreflightTest, CheckTriesToo) {
  Install("abort-create");
  Configure({"abort-create"});
  std::vector<std::string> command = Command("check");
  command.insert(command.begin() + 2, dir_ + "/config.yaml");
  const Result result = RunToEnd(command);
  EXPECT_EQ(result.exit_code, 1) << result.out << result.err;
  EXPECT_THAT(result.out + result.err,
              AllOf(HasSubstr("EPP-LOAD-PREFLIGHT"), HasSubstr("killed by SIGABRT")));
}

TEST_F(PreflightTest, ErrorsOfTheConfigAreThoseOfABuild) {
  Install("no-flaw");
  Configure({"no-flaw"}, 4711);
  const Result with = ServeToEnd();
  const Result without = ServeToEnd({"--set", "plugins.preflight=0s"});
  EXPECT_EQ(with.exit_code, 78);
  // That trials are off is said first.
  EXPECT_THAT(without.err, EndsWith(with.err));
  EXPECT_THAT(with.err, HasSubstr("config.yaml:"));
}

TEST_F(PreflightTest, LateCallsAreHarmless) {
  Install("late-call");
  Configure({"late-call"});
  ASSERT_NO_FATAL_FAILURE(Serve());
  // Another instance, which calls the host of the first.
  Configure({"late-call"}, 7);
  EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  Configure({"late-call"}, 8);
  EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  EXPECT_FALSE(Decide().empty());
  EXPECT_FALSE(serve_->WaitForLine("after its instance was destroyed").empty());
}

TEST_F(PreflightTest, TwoBuildsOfOneLibrarySideBySide) {
  Install("no-flaw");
  Configure({"no-flaw"});
  ASSERT_NO_FATAL_FAILURE(Serve());
  for (int i = 0; i < 5; ++i) {
    Install("no-flaw", "build " + std::to_string(i));
    const Result result = Ask({"reload", "--wait"});
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    EXPECT_FALSE(Decide().empty());
  }
  EXPECT_TRUE(StatusSays("\"retired_modules\":5"));
}

TEST_F(PreflightTest, AfterSoManyFormerLibrariesNewOnesAreRefused) {
  Install("no-flaw");
  Configure({"no-flaw"});
  ASSERT_NO_FATAL_FAILURE(Serve({"--set", "plugins.max_retired=2"}));
  for (int i = 0; i < 2; ++i) {
    Install("no-flaw", "build " + std::to_string(i));
    EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
  }
  Install("no-flaw", "one too many");
  Ask({"reload", "--wait"});
  EXPECT_TRUE(StatusSays("EPP-LOAD-RETIRED"));
  EXPECT_FALSE(Decide().empty());
  // One that is mapped is welcome.
  Install("no-flaw");
  EXPECT_EQ(Ask({"reload", "--wait"}).exit_code, 0);
}

}  // namespace
}  // namespace epp::testing
