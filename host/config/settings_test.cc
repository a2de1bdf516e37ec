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

std::shared_ptr<const SourceText> Text(std::string text) {
  return std::make_shared<const SourceText>(SourceText{"epp.toml", std::move(text)});
}

TEST(SettingsTest, TheExampleFileHoldsEveryKeyAtItsDefault) {
  std::ifstream in(EPP_SOURCE_DIR "/deploy/epp.example.toml");
  ASSERT_TRUE(in);
  std::ostringstream content;
  content << in.rdbuf();
  SettingsBuilder from_file;
  Diagnostics out;
  from_file.ApplyFile(Text(content.str()), out);
  ASSERT_TRUE(out.ok()) << out.Render();
  const SettingsBuilder compiled;
  for (const SettingSpec& spec : SettingSpecs()) {
    EXPECT_EQ(FormatSetting(spec, from_file.settings()), FormatSetting(spec, compiled.settings()))
        << spec.key;
    EXPECT_THAT(std::string(from_file.origin(spec.key)), HasSubstr("epp.toml:")) << spec.key;
  }
}

TEST(SettingsTest, FlagOverFileOverDefaultInAnyOrder) {
  const auto file = Text("[serve]\ndrain = \"5s\"\nworkers = 3\n");
  for (const bool flag_first : {true, false}) {
    SettingsBuilder settings;
    Diagnostics out;
    if (!flag_first) settings.ApplyFile(file, out);
    ASSERT_TRUE(settings.Apply("serve.drain", "7s", "--set").ok());
    if (flag_first) settings.ApplyFile(file, out);
    EXPECT_TRUE(out.ok()) << out.Render();
    EXPECT_EQ(settings.settings().drain, 7'000'000'000);
    EXPECT_EQ(settings.settings().workers, 3);
    EXPECT_EQ(settings.origin("serve.drain"), "--set");
    EXPECT_EQ(settings.origin("serve.workers"), "epp.toml:3");
    EXPECT_EQ(settings.origin("log.level"), "default");
    EXPECT_THAT(settings.Print(), HasSubstr("drain = \"7s\"  # --set"));
  }
}

TEST(SettingsTest, ErrorsOfTheFile) {
  struct Case {
    const char* text;
    const char* code;
    const char* shown;
  };
  for (const Case& c : {
           Case{"[serve\n", "EPP-SET-SYNTAX", "epp.toml:1:"},
           Case{"serve = 1\n", "EPP-SET-UNKNOWN-KEY", "is not a section"},
           Case{"[serve]\ndrian = \"1s\"\n", "EPP-SET-UNKNOWN-KEY",
                "did you mean \"serve.drain\"?"},
           Case{"[nothing]\nx = 1\n", "EPP-SET-UNKNOWN-KEY", "unknown setting \"nothing.x\""},
           Case{"[serve]\ndrain = 5\n", "EPP-SET-TYPE", "epp.toml:2:"},
           Case{"[serve]\ndrain = \"5x\"\n", "EPP-SET-RANGE", "serve.drain is \"5x\""},
           Case{"[serve]\nworkers = 1000\n", "EPP-SET-RANGE", "want 0 to 256"},
           Case{"[serve]\nworkers = \"many\"\n", "EPP-SET-TYPE", "serve.workers"},
           Case{"[plugins]\ndirs = [1]\n", "EPP-SET-TYPE", "want a string"},
       }) {
    SettingsBuilder settings;
    Diagnostics out;
    settings.ApplyFile(Text(c.text), out);
    ASSERT_EQ(out.errors(), 1u) << c.text << out.Render();
    EXPECT_EQ(out.all()[0].code, c.code) << c.text;
    EXPECT_THAT(out.Render(), HasSubstr(c.shown)) << c.text;
  }
}

TEST(SettingsTest, ErrorsOfSet) {
  SettingsBuilder settings;
  EXPECT_FALSE(settings.Apply("serve.drian", "1s", "--set").ok());
  EXPECT_FALSE(settings.Apply("serve.drain", "soon", "--set").ok());
  EXPECT_FALSE(settings.Apply("serve.workers", "-1", "--set").ok());
  EXPECT_TRUE(settings.Apply("serve.max_body", "10Mi", "--set").ok());
  EXPECT_EQ(settings.settings().max_body, 10 << 20);
}

}  // namespace
}  // namespace epp::config
