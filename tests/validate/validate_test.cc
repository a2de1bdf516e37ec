// epp-plugin-check on libraries that break one rule each: exactly the case of that rule fails, and
// says what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "tests/cli/child.h"

namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Library(const std::string& name) {
  return std::string(BROKEN_LIBS) + "/" + name + ".so";
}

epp::testing::Result Check(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), EPP_PLUGIN_CHECK);
  return epp::testing::RunToEnd(arguments);
}

// The cases of one library that failed, in order, each with all that it says.
struct Failures {
  int exit_code = 0;
  std::vector<std::string> ids;
  std::vector<std::string> results;
  std::string text;
};

Failures FailuresOf(const std::string& library, std::vector<std::string> arguments = {}) {
  arguments.insert(arguments.end(), {"--json", "--timeout", "60", Library(library)});
  const epp::testing::Result result = Check(arguments);
  Failures out;
  out.exit_code = result.exit_code;
  const json document = json::parse(result.out, nullptr, false);
  EXPECT_FALSE(document.is_discarded()) << result.out << result.err;
  if (document.is_discarded()) return out;
  EXPECT_EQ(document.value("schema", ""), "epp.plugin-check/1");
  for (const json& c : document["libraries"][0]["cases"]) {
    if (!c["failed"].get<bool>()) continue;
    out.ids.push_back(c["id"]);
    out.results.push_back(c["result"]);
    out.text += c.value("crash", "") + "\n";
    for (const json& failure : c["failures"]) out.text += failure.get<std::string>() + "\n";
  }
  return out;
}

struct Flaw {
  const char* library;
  const char* id;
  const char* result;  // "fail", "crash" ...
  std::vector<const char*> says;
  std::vector<std::string> arguments = {};
};

void PrintTo(const Flaw& flaw, std::ostream* os) { *os << flaw.library; }

class BrokenTest : public ::testing::TestWithParam<Flaw> {};

TEST_P(BrokenTest, ExactlyOneCaseFails) {
  const Flaw& flaw = GetParam();
  const Failures got = FailuresOf(flaw.library, flaw.arguments);
  EXPECT_EQ(got.exit_code, 1);
  EXPECT_THAT(got.ids, ElementsAre(flaw.id)) << got.text;
  EXPECT_THAT(got.results, ElementsAre(flaw.result)) << got.text;
  for (const char* text : flaw.says) EXPECT_THAT(got.text, HasSubstr(text));
}

const Flaw kFlaws[] = {
#if !defined(EPP_SANITIZED)
    // A sanitizer shows symbols of its own, and has the allocator.
    {"v01-second-symbol", "V01", "fail", {"second_symbol", "epp_plugin.map"}},
    {"v15-allocates",
     "V15",
     "fail",
     {"score of v15-allocates: 128 malloc calls after warm-up, want 0 (first: v15"}},
    {"v16-slow", "V16", "fail", {"score of v16-slow: p99 is", "want at most 50 us"}, {"--strict"}},
#endif
    {"v02-run-path", "V02", "fail", {"/opt/lib"}},
#if !defined(__SANITIZE_THREAD__)
    // It speaks about a fork, and has other plans with the address.
    {"v03-hostile-init",
     "V03",
     "fail",
     {"changed the handler of SIGUSR1 from the default", "changed the locale from C to C.UTF-8",
      "changed the umask", "changed the child processes from none to some"}},
    {"v04-registry", "V04", "crash", {"SIGABRT in dlopen, the second time"}},
#endif
    {"v05-no-doc", "V05", "fail", {"no doc"}},
    {"v05-wild-record", "V05", "fail", {"doc"}},
    {"v06-silent-refusal",
     "V06",
     "fail",
     {"parameter \"scale\" of v06-silent-refusal, at its maximum, is refused without a message"}},
#if !defined(EPP_SANITIZED)
    {"v07-leak", "V07", "fail", {"1000 times create and destroy left 1000 blocks"}},
#endif
    {"v08-prefix-id", "V08", "fail", {"\"epp.scorer/1x\" is no interface"}},
    {"v09-reads-behind",
     "V09",
     "fail",
     {"score of v09-reads-behind", "of epp_call, which has 72 bytes"}},
    {"v10-trusts-tail", "V10", "fail", {"score of v10-trusts-tail answers differently"}},
    {"v11-one-past-the-end",
     "V11",
     "fail",
     {"score of v11-one-past-the-end: wrote out[65], one past the end"}},
    {"v12-null-column", "V12", "crash", {"in score of v12-null-column"}},
    {"v13-position", "V13", "fail", {"when the candidates are shuffled"}},
    {"v14-remembers", "V14", "fail", {"score of v14-remembers answers differently"}},
    {"v12-takes-any-state", "V12", "fail", {"took bytes that are no state", "took version 1001"}},
    {"v14-forgets-state", "V14", "fail", {"what was loaded is saved as something else"}},
    {"v17-needs-metrics", "V17", "crash", {"SIGABRT in create of v17-needs-metrics"}},
    {"v18-late-thread", "V18", "fail", {"called log after destroy had returned"}},
    {"v19-stays", "V19", "fail", {"still mapped after dlclose number 1"}},
    {"v20-late-metric", "V20", "fail", {"metric_register was called outside create"}},
    {"v21-prints", "V21", "fail", {"wrote to stdout or stderr: \"hello from the scorer"}},
    {"v22-wrong-bool", "V22", "fail", {"attribute \"Warm\": row 0 is 7, want 0 or 1"}},
};
INSTANTIATE_TEST_SUITE_P(Flaws, BrokenTest, ::testing::ValuesIn(kFlaws), [](const auto& info) {
  std::string name = info.param.library;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(ValidateTest, NothingIsFoundInGoodOnes) {
  for (const char* library : {"good", "wrapped-throw"}) {
    // To throw takes memory.
    const Failures got = FailuresOf(library, {"--strict", "--exclude", "time|allocations"});
    EXPECT_EQ(got.exit_code, 0);
    EXPECT_THAT(got.ids, IsEmpty()) << library << "\n" << got.text;
  }
}

TEST(ValidateTest, AnotherSeedFindsNothingEither) {
  EXPECT_EQ(FailuresOf("good", {"--seed", "77"}).exit_code, 0);
}

TEST(ValidateTest, ExceptionsAreFindings) {
  const Failures got = FailuresOf("throws", {"--include", "V18"});
  EXPECT_EQ(got.exit_code, 1);
  EXPECT_THAT(got.text,
              AllOf(HasSubstr("an exception left create of throws-create: \"no room\""),
                    HasSubstr("an exception left score of throws-score: something that is no "
                              "std::exception"),
                    HasSubstr("an exception left destroy of throws-destroy: \"cannot go\"")));
}

TEST(ValidateTest, ACrashNamesTheFunctionAndHowToRepeatIt) {
  const auto result = Check({"--include", "V0[78]", Library("crashes")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("V07 leaks                   CRASH   "),
                    HasSubstr(" in destroy of crashes; rerun: epp plugin check --in-process "
                              "--include V07 " +
                              Library("crashes"))));
#if !defined(EPP_SANITIZED)
  // A sanitizer ends the process in its own way.
  EXPECT_THAT(result.out, HasSubstr("SIGSEGV in destroy"));
#endif
  EXPECT_THAT(result.out, HasSubstr("0 passed, 2 failed, 0 skipped"));
}

TEST(ValidateTest, AnEndlessLoopEnds) {
  const auto result =
      Check({"--include", "V13", "--timeout", "1", "--only-failed", Library("hangs")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out, HasSubstr("TIMEOUT no end after 1 s in score of hangs"));
  EXPECT_THAT(result.out, HasSubstr("1 of 1 failed"));
}

TEST(ValidateTest, InProcessRunsTheSameCases) {
  const auto good = Check({"--in-process", "--include", "V1[134]", Library("good")});
  EXPECT_EQ(good.exit_code, 0) << good.out;
  EXPECT_THAT(good.out, HasSubstr("3 passed, 0 failed"));
  EXPECT_NE(Check({"--in-process", "--include", "V07", Library("crashes")}).exit_code, 0);
}

TEST(ValidateTest, TheTextHasOneLineACase) {
  const auto result = Check({"--exclude", "V(0[3-9]|1|2[012])", Library("good")});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("good.so  ABI 1."));
  EXPECT_THAT(result.out, HasSubstr(", 1 type\n"
                                    "  V01 symbols                 pass\n"
                                    "  V02 ELF                     pass\n"
                                    "2 passed, 0 failed, 0 skipped in "));
}

TEST(ValidateTest, ParametersComeFromAFile) {
  const std::string path = std::string(::testing::TempDir()) + "/validate_params.yaml";
  std::ofstream(path) << "v06-silent-refusal: {scale: 10}\n";
  const Failures got =
      FailuresOf("v06-silent-refusal", {"--include", "V08", "--params", path, "--strict"});
  EXPECT_EQ(got.exit_code, 1);
  EXPECT_THAT(got.ids, ElementsAre("V08"));
  std::ofstream(path) << "v06-silent-refusal: {scale: 3}\n";
  EXPECT_EQ(FailuresOf("v06-silent-refusal", {"--include", "V08", "--params", path, "--strict"})
                .exit_code,
            0);
  std::ofstream(path) << "v06-silent-refusal: {scal: 3}\n";
  EXPECT_EQ(FailuresOf("v06-silent-refusal", {"--include", "V08", "--params", path, "--strict"})
                .exit_code,
            1);
  std::filesystem::remove(path);
}

TEST(ValidateTest, DocPrintsTheDeclarations) {
  const auto result = Check({"--doc", Library("good")});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr("## good\n"),
                    HasSubstr("| scale | number | 1 | 0.5 to 10 | a number that does nothing |"),
                    HasSubstr("| WaitingQueueSize | consumed, optional | integer | endpoint | "
                              "core-metrics-extractor |"),
                    HasSubstr("`epp.scorer/1`")));
  EXPECT_EQ(Check({"--doc", Library("v05-wild-record")}).exit_code, 1);
}

TEST(ValidateTest, WrongUseIsSaid) {
  EXPECT_EQ(Check({}).exit_code, 2);
  EXPECT_EQ(Check({"--jsno", Library("good")}).exit_code, 2);
  EXPECT_EQ(Check({"--include", "(", Library("good")}).exit_code, 2);
  EXPECT_EQ(Check({"--include", "V99", Library("good")}).exit_code, 2);
  const auto missing = Check({"/nonexistent/x.so"});
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.err, HasSubstr("cannot read /nonexistent/x.so"));
  EXPECT_THAT(Check({"--json", "/nonexistent/x.so"}).out, HasSubstr("epp.error/1"));
  // A file that is no library at all.
  EXPECT_EQ(Check({EPP_PLUGIN_CHECK}).exit_code, 1);
}

}  // namespace
