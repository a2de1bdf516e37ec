// The commands that need no running epp, as an operator runs them.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/cli/child.h"

namespace epp::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kGood = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - pluginRef: max-score-picker
)";

// Every line with "#" at its end holds one mistake.
constexpr const char* kTenErrors = R"(apiVersion: llm-d.ai/v9 #
kind: InferencePool #
featureGates: [flowControll] #
pluginz: [] #
plugins:
- {type: queue-scorrer} #
- name: prefix
  type: approx-prefix-cache-producer
  parameters:
    blockSizeToken: 64 #
    maxPrefixTokensToMatch: -1 #
- name: prefix #
  type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: nobody, weight: 2} #
  - {pluginRef: prefix, weight: heavy} #
)";

Result Epp(std::vector<std::string> arguments, const std::string& input = "") {
  arguments.insert(arguments.begin(), EPP_BINARY);
  return RunToEnd(arguments, input);
}

class CommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/epp_cli_XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = dir_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  std::string dir_;
};

TEST_F(CommandsTest, CheckAcceptsAGoodConfig) {
  const Result result = Epp({"check", Write("config.yaml", kGood)});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("profile default: queue-scorer x2 -> max-score-picker"));
  EXPECT_THAT(result.out, HasSubstr("\nvalid"));
  EXPECT_THAT(result.out, HasSubstr("digest "));
  EXPECT_EQ(result.err, "");
}

TEST_F(CommandsTest, CheckReadsStdinAndCountsWarnings) {
  EXPECT_EQ(Epp({"check", "-"}, kGood).exit_code, 0);
  // There is no discovery, which is a warning.
  const Result denied = Epp({"check", "--deny-warnings", "-"}, kGood);
  EXPECT_EQ(denied.exit_code, 1);
  EXPECT_THAT(denied.out, HasSubstr("EPP-CFG-NO-DISCOVERY"));
}

TEST_F(CommandsTest, CheckShowsAllErrorsAtOnceWithTheirPlaces) {
  const Result result = Epp({"check", Write("bad.yaml", kTenErrors)});
  EXPECT_EQ(result.exit_code, 1);
  for (const char* code : {"EPP-CFG-API-VERSION", "EPP-CFG-KIND", "EPP-CFG-GATE",
                           "EPP-CFG-UNKNOWN-KEY", "EPP-CFG-UNKNOWN-TYPE", "EPP-CFG-RANGE",
                           "EPP-CFG-DUPLICATE-NAME", "EPP-CFG-UNDEFINED-REF", "EPP-CFG-TYPE"}) {
    EXPECT_THAT(result.out, HasSubstr(code));
  }
  for (const char* place :
       {"bad.yaml:1:", "bad.yaml:2:", "bad.yaml:3:", "bad.yaml:4:", "bad.yaml:6:", "bad.yaml:10:",
        "bad.yaml:11:", "bad.yaml:12:", "bad.yaml:17:", "bad.yaml:18:"}) {
    EXPECT_THAT(result.out, HasSubstr(place));
  }
  EXPECT_THAT(result.out, HasSubstr("^^^^"));
  EXPECT_THAT(result.out, HasSubstr("did you mean \"blockSizeTokens\"?"));
  EXPECT_THAT(result.out, HasSubstr("nothing was applied"));
}

TEST_F(CommandsTest, CheckAsJsonIsOneDocument) {
  const Result result = Epp({"check", "--json", Write("bad.yaml", kTenErrors)});
  EXPECT_EQ(result.exit_code, 1);
  const auto document = nlohmann::json::parse(result.out, nullptr, false);
  ASSERT_TRUE(document.is_object()) << result.out;
  EXPECT_EQ(document["schema"], "epp.check/1");
  EXPECT_EQ(document["valid"], false);
  EXPECT_GE(document["diagnostics"].size(), 10u);
  EXPECT_EQ(document["diagnostics"][0]["line"], 1);
}

TEST_F(CommandsTest, CheckStopsAtAStage) {
  const std::string path = Write("bad.yaml", kTenErrors);
  EXPECT_EQ(Epp({"check", "--stage", "syntax", path}).exit_code, 0);
  const Result schema = Epp({"check", "--stage", "schema", path});
  EXPECT_EQ(schema.exit_code, 1);
  EXPECT_THAT(schema.out, Not(HasSubstr("EPP-CFG-UNDEFINED-REF")));
}

TEST_F(CommandsTest, CheckReadsTheEndpointsFile) {
  const std::string config = Write("config.yaml", kGood);
  const std::string good = Write("good.yaml", "endpoints: [{name: a, address: 10.0.0.1, port: 1}]");
  const std::string bad = Write("bad.yaml", "endpoints: [{name: a, address: 10.0.0.1, port: 0}]");
  const Result right = Epp({"check", "--endpoints-file", good, config});
  EXPECT_EQ(right.exit_code, 0) << right.out;
  EXPECT_THAT(right.out, HasSubstr("1 endpoint"));
  const Result wrong = Epp({"check", "--endpoints-file", bad, config});
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_THAT(wrong.out, HasSubstr("EPP-POOL-PORT"));
}

TEST_F(CommandsTest, CheckPrintsTheEffectiveConfigAloneOnStdout) {
  const Result result = Epp({"check", "--print", Write("config.yaml", kGood)});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, ::testing::StartsWith("apiVersion: llm-d.ai/v1alpha1\n"));
  EXPECT_THAT(result.out, HasSubstr("# injected: "));
  EXPECT_THAT(result.err, HasSubstr("\nvalid"));
}

constexpr const char* kBase = R"(plugins:
- {name: approx, type: approx-prefix-cache-producer, parameters: {blockSizeTokens: 32, autoTune: false}}
- {name: queue, type: queue-scorer}
- {name: kv, type: kv-cache-utilization-scorer}
- {name: by-label, type: label-selector-filter, parameters: {matchLabels: {gpu: big}}}
schedulingProfiles:
- name: default
  plugins: [{pluginRef: by-label}, {pluginRef: queue, weight: 2}, {pluginRef: kv, weight: 1}]
)";
constexpr const char* kOver = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
epp: {include: [base/all.yaml]}
plugins:
- {name: approx, parameters: {lruCapacityPerServer: 62500}}
- {name: kv, $remove: true}
schedulingProfiles:
- name: default
  plugins: [{pluginRef: queue, weight: 5}, {pluginRef: kv, $remove: true}]
)";

// Without its comments, which say where each plugin comes from.
std::string WithoutComments(const std::string& text) {
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    out += line.substr(0, line.find("  # ")) + "\n";
  }
  return out;
}

TEST_F(CommandsTest, CheckPrintsWhatSeveralFilesAmountTo) {
  std::filesystem::create_directories(dir_ + "/base");
  const std::string base = Write("base/all.yaml", kBase);
  const std::string config = Write("config.yaml", kOver);
  const Result printed = Epp({"check", "--print", config});
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  EXPECT_THAT(printed.out, HasSubstr("- name: \"queue\"  # " + base + ":3\n"));
  EXPECT_THAT(printed.out, HasSubstr("blockSizeTokens: 32\n"));
  EXPECT_THAT(printed.out, HasSubstr("lruCapacityPerServer: 62500\n"));
  EXPECT_THAT(printed.out, HasSubstr("- pluginRef: \"queue\"\n    weight: 5\n"));
  EXPECT_THAT(printed.out, Not(HasSubstr("\"kv\"")));
  // It is a config, and the same one.
  const Result again = Epp({"check", "--print", "-"}, printed.out);
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(WithoutComments(again.out), WithoutComments(printed.out));

  Write("base/all.yaml", std::string(kBase) + "nope: 1\n");
  const Result refused = Epp({"check", config});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.out, HasSubstr(base + ":9:1: error: EndpointPickerConfig: unknown key"));
  EXPECT_THAT(refused.out, HasSubstr("    9 | nope: 1\n      | ^^^^"));

  std::filesystem::remove(base);
  const Result missing = Epp({"check", config});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.out,
              HasSubstr(config + ":3:17: error: include \"base/all.yaml\": cannot be"));
  EXPECT_THAT(Epp({"check", "-"}, kOver).out, HasSubstr("only a configuration file can include"));
}

TEST_F(CommandsTest, EveryProfileIsFreeOfWarningsAndPrintsAsItself) {
  const std::string endpoints =
      Write("eps.yaml", "endpoints: [{name: a, address: 10.0.0.1, port: 1}]");
  size_t profiles = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(EPP_PROFILES)) {
    if (entry.path().extension() != ".yaml") continue;
    ++profiles;
    SCOPED_TRACE(entry.path().string());
    // Those of llm-d-router use what it has deprecated.
    const bool ours = entry.path().parent_path().filename() != "llm-d-router";
    const auto check = [&](const std::string& file, const std::string& input) {
      std::vector<std::string> command{"check", "--endpoints-file", endpoints, "--print", file};
      if (ours) command.push_back("--deny-warnings");
      return Epp(command, input);
    };
    const Result printed = check(entry.path(), "");
    ASSERT_EQ(printed.exit_code, 0) << printed.err;
    const Result again = check("-", printed.out);
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(WithoutComments(again.out), WithoutComments(printed.out));
  }
  EXPECT_GE(profiles, 14u);
}

TEST_F(CommandsTest, ExperimentalTypesAreAskedFor) {
  const std::string endpoints =
      Write("eps.yaml", "endpoints: [{name: a, address: 10.0.0.1, port: 1}]");
  const std::string config =
      "plugins: [{type: queue-scorer}, {name: by-session, type: session-affinity-scorer}]";
  const auto check = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"check", "--endpoints-file", endpoints});
    more.emplace_back("-");
    return Epp(more, config);
  };
  const Result refused = check({});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.out, HasSubstr("plugin \"by-session\" (session-affinity-scorer) is "
                                     "experimental (alpha)"));
  EXPECT_THAT(refused.out, HasSubstr("[EPP-CFG-EXPERIMENTAL]"));
  EXPECT_THAT(refused.out, HasSubstr("--allow-experimental-plugins"));
  EXPECT_EQ(check({"--allow-experimental-plugins"}).exit_code, 0);
  EXPECT_EQ(check({"--allow-experimental-plugins=false"}).exit_code, 1);
}

TEST_F(CommandsTest, AProfileIsChangedByAFewLines) {
  std::filesystem::create_directories(dir_ + "/profiles");
  std::filesystem::copy(EPP_PROFILES "/prefix-heavy-chat.yaml", dir_ + "/profiles");
  const Result printed = Epp({"check", "--print", Write("config.yaml", R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
epp:
  include: [profiles/prefix-heavy-chat.yaml]
  shadow: {file: candidate.yaml, sample: 5%}
plugins:
  - {name: approx, type: approx-prefix-cache-producer, parameters: {lruCapacityPerServer: 62500}}
schedulingProfiles:
  - name: default
    plugins: [{pluginRef: prefix, weight: 5}]
)")});
  ASSERT_EQ(printed.exit_code, 0) << printed.err;
  EXPECT_THAT(printed.out, HasSubstr("  shadow: {file: \"candidate.yaml\", sample: 0.05}\n"));
  EXPECT_THAT(printed.out, HasSubstr("lruCapacityPerServer: 62500\n"));
  EXPECT_THAT(printed.out, HasSubstr("autoTune: false\n"));
  EXPECT_THAT(printed.out, HasSubstr("- pluginRef: \"prefix\"\n    weight: 5\n"));
  EXPECT_THAT(printed.out, HasSubstr("- pluginRef: \"queue\"\n    weight: 2\n"));
}

TEST_F(CommandsTest, ServeRefusesWhatARestartWouldOnlyRepeat) {
  const std::string bad = Write("bad.yaml", kTenErrors);
  const Result config = Epp({"serve", "--config-file", bad});
  EXPECT_EQ(config.exit_code, 78);
  EXPECT_THAT(config.err, HasSubstr("bad.yaml:11:"));
  EXPECT_EQ(Epp({"serve", "--config-file", dir_ + "/none.yaml"}).exit_code, 78);
  EXPECT_EQ(Epp({"serve", "--config-file", dir_}).exit_code, 78);
  const Result settings =
      Epp({"serve", "--settings", Write("epp.toml", "[serve]\ngrpc_listne = \":1\"\n")});
  EXPECT_EQ(settings.exit_code, 78);
  EXPECT_THAT(settings.err, HasSubstr("did you mean \"serve.grpc_listen\"?"));
}

TEST_F(CommandsTest, FlagsWithoutACommandAreThoseOfServe) {
  const Result settings = Epp({"--print-settings", "--grpc-port", "9012"});
  EXPECT_EQ(settings.exit_code, 0) << settings.err;
  EXPECT_THAT(settings.out, HasSubstr("grpc_listen"));
  EXPECT_THAT(settings.out, HasSubstr("[::]:9012"));
  EXPECT_EQ(Epp({"--no-such-flag"}).exit_code, 2);
}

TEST_F(CommandsTest, PluginsListsTypesAndShowsOne) {
  const Result list = Epp({"plugins", "--kind", "scorer"});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_THAT(list.out, HasSubstr("queue-scorer"));
  EXPECT_THAT(list.out, Not(HasSubstr("max-score-picker")));
  const Result one = Epp({"plugins", "approx-prefix-cache-producer"});
  EXPECT_EQ(one.exit_code, 0);
  EXPECT_THAT(one.out, HasSubstr("blockSizeTokens"));
  EXPECT_THAT(one.out, HasSubstr("TokenizedPrompt/token-producer"));
  const Result none = Epp({"plugins", "queue-scorrer"});
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_THAT(none.err, HasSubstr("did you mean \"queue-scorer\"?"));
  const auto json = nlohmann::json::parse(Epp({"plugins", "--json"}).out, nullptr, false);
  ASSERT_TRUE(json.is_object());
  EXPECT_GT(json["types"].size(), 10u);
}

TEST_F(CommandsTest, PluginsNamesRefusedLibrariesOnStderr) {
  Write("broken.so", "this is no library");
  std::filesystem::permissions(dir_ + "/broken.so", std::filesystem::perms(0644));
  const Result result = Epp({"plugins", "--dir", dir_});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("broken.so"));
  EXPECT_THAT(result.out, HasSubstr("file-discovery"));
}

TEST_F(CommandsTest, TheReadmeListsThePlugins) {
  std::string text;
  std::ifstream in(EPP_README);
  std::getline(in, text, '\0');
  const std::string table = Epp({"plugins", "--markdown"}).out;
  ASSERT_FALSE(table.empty());
  EXPECT_THAT(text, HasSubstr(table))
      << "replace the table in README.md by: epp plugins --markdown";
}

TEST_F(CommandsTest, ClientsSayWhereTheyLookedAndWhatIsThere) {
  const std::string socket = Write("admin.sock", "");
  const Result result = Epp({"status", "--admin", "unix:" + socket});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr(socket));
  EXPECT_THAT(result.err, HasSubstr("rw-"));
  const Result json = Epp({"status", "--json", "--admin", "unix:" + socket});
  EXPECT_EQ(json.exit_code, 3);
  EXPECT_EQ(nlohmann::json::parse(json.out)["schema"], "epp.error/1");
}

TEST_F(CommandsTest, CompletionIsAScriptThatTheShellReads) {
  const Result bash = Epp({"completion", "bash"});
  EXPECT_EQ(bash.exit_code, 0);
  EXPECT_EQ(RunToEnd({"/bin/bash", "-n"}, bash.out).exit_code, 0);
  EXPECT_THAT(bash.out, HasSubstr("--config-file"));
  EXPECT_EQ(Epp({"completion", "tcsh"}).exit_code, 2);
}

}  // namespace
}  // namespace epp::testing
