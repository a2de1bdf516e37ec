#include "host/config/settings.h"

#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/base/str_cat.h"

namespace epp::config {
namespace {

using testing::HasSubstr;

struct Loaded {
  explicit Loaded(std::string text) { Apply(std::move(text)); }
  Loaded() = default;
  void Apply(std::string text) {
    builder.ApplyFile(std::make_shared<const SourceText>(SourceText{"epp.toml", std::move(text)}),
                      out);
  }
  const Settings& settings() const { return builder.settings(); }
  SettingsBuilder builder;
  Diagnostics out;
};

TEST(SettingsTest, CompiledDefaults) {
  const Loaded d;
  EXPECT_EQ(d.settings().grpc_listen, "[::]:9002");
  EXPECT_EQ(d.settings().drain, 30'000'000'000);
  EXPECT_EQ(d.settings().scrape_interval, 50'000'000);
  EXPECT_EQ(d.settings().scrape_max_body, 16 << 20);
  EXPECT_EQ(d.settings().records, 1024);
  EXPECT_TRUE(d.settings().secure);
  EXPECT_TRUE(d.settings().plugin_dirs.empty());
  EXPECT_EQ(d.builder.changed(), 0u);
  EXPECT_EQ(d.builder.origin("serve.drain"), "default");
}

TEST(SettingsTest, EveryDefaultIsWithinItsOwnRange) {
  for (const SettingSpec& spec : SettingSpecs()) {
    const Loaded d(StrCat("[", spec.key.substr(0, spec.key.find('.')), "]\n",
                          spec.key.substr(spec.key.find('.') + 1), " = ", spec.default_text));
    EXPECT_TRUE(d.out.ok()) << d.out.Render();
    EXPECT_EQ(FormatSetting(spec, d.settings()), FormatSetting(spec, Loaded().settings()));
    EXPECT_FALSE(spec.doc.empty()) << spec.key;
  }
}

TEST(SettingsTest, FileOverDefaultAndFlagOverFileInAnyOrder) {
  Loaded before;
  ASSERT_TRUE(before.builder.Apply("serve.workers", "7", "--workers").ok());
  before.Apply("[serve]\nworkers = 3\ndrain = \"5s\"\n");
  Loaded after("[serve]\nworkers = 3\ndrain = \"5s\"\n");
  ASSERT_TRUE(after.builder.Apply("serve.workers", "7", "--workers").ok());
  for (const Loaded* d : {&before, &after}) {
    EXPECT_TRUE(d->out.ok()) << d->out.Render();
    EXPECT_EQ(d->settings().workers, 7);
    EXPECT_EQ(d->settings().drain, 5'000'000'000);
    EXPECT_EQ(d->builder.origin("serve.workers"), "--workers");
    EXPECT_EQ(d->builder.origin("serve.drain"), "epp.toml:3");
    EXPECT_EQ(d->builder.origin("serve.max_body"), "default");
    EXPECT_EQ(d->builder.changed(), 2u);
  }
}

TEST(SettingsTest, AFlagDoesNotHideAMistakeInTheFile) {
  Loaded d;
  ASSERT_TRUE(d.builder.Apply("serve.workers", "7", "--set").ok());
  d.Apply("[serve]\nworkers = \"many\"\n");
  EXPECT_FALSE(d.out.ok());
}

TEST(SettingsTest, EveryTypeFromTheFile) {
  const Loaded d(
      "[plugins]\ndirs = [\"/a\", \"/b,c\"]\nallow_unlisted = false\n"
      "[serve]\nmax_body = 1000\nworkers = 0x10\ngrpc_listen = 'h:1'\n"
      "[scrape]\nmax_body = \"1Gi\"\ninterval = \"1m30s\"\n"
      "[guard]\nmax_errors = 0.125\nmax_skew = 2\n");
  ASSERT_TRUE(d.out.ok()) << d.out.Render();
  EXPECT_THAT(d.settings().plugin_dirs, testing::ElementsAre("/a", "/b,c"));
  EXPECT_FALSE(d.settings().allow_unlisted);
  EXPECT_EQ(d.settings().max_body, 1000);
  EXPECT_EQ(d.settings().workers, 16);
  EXPECT_EQ(d.settings().grpc_listen, "h:1");
  EXPECT_EQ(d.settings().scrape_max_body, int64_t{1} << 30);
  EXPECT_EQ(d.settings().scrape_interval, 90'000'000'000);
  EXPECT_EQ(d.settings().guard_max_errors, 0.125);
  EXPECT_EQ(d.settings().guard_max_skew, 2);
}

struct ErrorCase {
  const char* text;
  const char* code;
  const char* shown;
};

TEST(SettingsTest, ErrorsOfTheFileHaveAPlace) {
  const ErrorCase cases[] = {
      {"[serve]\nworkers = 300\n", "EPP-SET-RANGE",
       "epp.toml:2:11: error: serve.workers is 300, want 0 to 256\n"},
      {"[serve]\nworkers = -1\n", "EPP-SET-RANGE", "want 0 to 256"},
      {"[serve]\nworkers = 1.5\n", "EPP-SET-TYPE", "serve.workers is 1.5, want an integer"},
      {"[serve]\nworkers = \"4\"\n", "EPP-SET-TYPE", "serve.workers is \"4\", want an integer"},
      {"[serve]\ndrain = 5\n", "EPP-SET-TYPE", "serve.drain is 5, want a duration such as"},
      {"[serve]\ndrain = \"5 s\"\n", "EPP-SET-TYPE",
       "serve.drain is \"5 s\", want a duration such as"},
      {"[serve]\ndrain = \"2h\"\n", "EPP-SET-RANGE", "serve.drain is 2h, want \"0s\" to \"1h\""},
      {"[scrape]\ninterval = \"49ms\"\n", "EPP-SET-RANGE", "want \"50ms\" to \"1h\""},
      {"[serve]\nmax_body = \"lots\"\n", "EPP-SET-TYPE", "want a size such as \"16Mi\" or \"0\""},
      {"[serve]\nmax_body = \"16Ei\"\n", "EPP-SET-TYPE", "serve.max_body is \"16Ei\""},
      {"[guard]\nmax_errors = 1.5\n", "EPP-SET-RANGE", "guard.max_errors is 1.5, want 0 to 1"},
      {"[guard]\nmax_skew = nan\n", "EPP-SET-TYPE", "want a number"},
      {"[guard]\nmax_skew = \"3\"\n", "EPP-SET-TYPE", "guard.max_skew is \"3\", want a number"},
      {"[serve]\nmode_override = \"yes\"\n", "EPP-SET-TYPE", "want true or false"},
      {"[serve]\nwokers = 1\n", "EPP-SET-UNKNOWN-KEY", "did you mean \"serve.workers\"?"},
      {"[server]\nworkers = 1\n", "EPP-SET-UNKNOWN-KEY", "unknown setting \"server.workers\""},
      {"workers = 1\n", "EPP-SET-UNKNOWN-KEY", "\"workers\" is not a section"},
      {"[serve.workers]\nx = 1\n", "EPP-SET-TYPE", "serve.workers is a table, want an integer"},
      {"[plugins]\ndirs = \"/a\"\n", "EPP-SET-TYPE", "want a list of strings"},
      {"[plugins]\ndirs = [\"/a\", 3]\n", "EPP-SET-TYPE",
       "plugins.dirs has an item that is 3, want a string"},
      {"[serve\n", "EPP-SET-SYNTAX", "epp.toml:1:"},
      {"[serve]\nworkers = 1\nworkers = 2\n", "EPP-SET-SYNTAX", "epp.toml:3:"},
      {"[log]\nlevel = \"loud\"\n", "EPP-SET-CHOICE",
       "log.level is \"loud\", want one of \"error\", \"warn\", \"info\", \"debug\", \"trace\""},
      {"[log]\nformat = \"xml\"\n", "EPP-SET-CHOICE", "want one of \"auto\", \"text\", \"json\""},
      {"[tls]\nmin = \"1.2\"\n", "EPP-SET-CHOICE", "want one of \"\", \"VersionTLS10\""},
  };
  for (const ErrorCase& c : cases) {
    const Loaded d(c.text);
    ASSERT_EQ(d.out.errors(), 1u) << c.text << d.out.Render();
    EXPECT_EQ(d.out.all()[0].code, c.code) << c.text << d.out.Render();
    EXPECT_THAT(d.out.Render(), HasSubstr(c.shown)) << c.text;
    EXPECT_GT(d.out.all()[0].mark.line, 0u) << c.text;
  }
}

TEST(SettingsTest, AllErrorsOfTheFile) {
  const Loaded d("[serve]\nworkers = 999\nnope = 1\n[log]\nlevel = 5\n");
  EXPECT_EQ(d.out.errors(), 3u) << d.out.Render();
  EXPECT_EQ(d.settings().workers, 0);
}

TEST(SettingsTest, SetOneKey) {
  Loaded d;
  const auto error = [&](std::string_view key, std::string_view text) {
    const absl::Status status = d.builder.Apply(key, text, "--set");
    return std::string(status.message().data(), status.message().size());
  };
  EXPECT_EQ(error("plugins.dirs", "/a,/b"), "");
  EXPECT_THAT(d.settings().plugin_dirs, testing::ElementsAre("/a", "/b"));
  EXPECT_EQ(error("plugins.dirs", ""), "");
  EXPECT_TRUE(d.settings().plugin_dirs.empty());
  EXPECT_EQ(error("tls.secure", "false"), "");
  EXPECT_FALSE(d.settings().secure);
  EXPECT_THAT(error("tls.secure", "no"), HasSubstr("tls.secure is \"no\", want true or false"));
  EXPECT_THAT(error("serve.workers", ""), HasSubstr("want an integer"));
  EXPECT_THAT(error("serve.workers", "1x"), HasSubstr("is \"1x\", want an integer"));
  EXPECT_THAT(error("serve.workers", "257"), HasSubstr("is 257, want 0 to 256"));
  EXPECT_THAT(error("log.level", "loud"), HasSubstr("want one of \"error\""));
  EXPECT_EQ(error("serv.workers", "1"),
            "unknown setting \"serv.workers\", did you mean \"serve.workers\"?");
  EXPECT_EQ(error("", ""), "unknown setting \"\"");
  EXPECT_EQ(d.builder.origin("serve.workers"), "default");
}

TEST(SettingsTest, PrintReadsBackToTheSame) {
  Loaded d;
  ASSERT_TRUE(d.builder.Apply("plugins.dirs", "/a \"b\",/c", "--set").ok());
  ASSERT_TRUE(d.builder.Apply("serve.drain", "1m30s", "--set").ok());
  ASSERT_TRUE(d.builder.Apply("serve.max_body", "1Gi", "--set").ok());
  ASSERT_TRUE(d.builder.Apply("admin.socket", "", "--set").ok());
  const std::string printed = d.builder.Print();
  EXPECT_THAT(printed, HasSubstr("drain = \"1m30s\"  # --set\n"));
  EXPECT_THAT(printed, HasSubstr("workers = 0  # default\n"));
  const Loaded again(printed);
  ASSERT_TRUE(again.out.ok()) << again.out.Render();
  for (const SettingSpec& spec : SettingSpecs()) {
    EXPECT_EQ(FormatSetting(spec, again.settings()), FormatSetting(spec, d.settings())) << spec.key;
  }
}

TEST(SettingsTest, ExampleFileHoldsEveryKeyWithItsDefault) {
  std::ifstream in(EPP_SOURCE_DIR "/deploy/epp.example.toml");
  ASSERT_TRUE(in);
  std::ostringstream all;
  all << in.rdbuf();
  const std::string text = all.str();
  const Loaded d(text);
  ASSERT_TRUE(d.out.ok()) << d.out.Render();
  EXPECT_EQ(d.builder.changed(), SettingSpecs().size());
  for (const SettingSpec& spec : SettingSpecs()) {
    EXPECT_EQ(FormatSetting(spec, d.settings()), FormatSetting(spec, Loaded().settings()))
        << spec.key;
  }
}

}  // namespace
}  // namespace epp::config
