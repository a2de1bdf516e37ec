#include "host/config/diagnostics.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace epp::config {
namespace {

using testing::HasSubstr;
using testing::Not;

std::shared_ptr<const SourceText> Text(std::string text) {
  return std::make_shared<const SourceText>(SourceText{"config.yaml", std::move(text)});
}

TEST(DiagnosticsTest, TheForm) {
  const auto text = Text("a: 1\nbb:\n  blockSizeToken: 64\n");
  Diagnostics out;
  out.Error({text, 3, 3, 14}, "EPP-CFG-UNKNOWN-KEY", "unknown parameter \"blockSizeToken\"",
            "did you mean \"blockSizeTokens\"?");
  out.Warning({text, 1, 4, 1}, "EPP-CFG-DEPRECATED", "a is old", "", "remove it");
  EXPECT_EQ(out.Render(),
            "config.yaml:1:4: warning: a is old\n"
            "    1 | a: 1\n"
            "      |    ^  [EPP-CFG-DEPRECATED]\n"
            "  hint: remove it\n"
            "config.yaml:3:3: error: unknown parameter \"blockSizeToken\"\n"
            "    3 |   blockSizeToken: 64\n"
            "      |   ^^^^^^^^^^^^^^ did you mean \"blockSizeTokens\"?  [EPP-CFG-UNKNOWN-KEY]\n");
  EXPECT_FALSE(out.ok());
  EXPECT_EQ(out.errors(), 1u);
  EXPECT_EQ(out.warnings(), 1u);
}

TEST(DiagnosticsTest, WithoutAPlace) {
  Diagnostics out;
  out.Error({}, "EPP-CFG-NO-SOURCE", "no data source", "", "declare one");
  EXPECT_EQ(out.Render(), "error: no data source  [EPP-CFG-NO-SOURCE]\n  hint: declare one\n");
}

TEST(DiagnosticsTest, AtMostFifty) {
  const auto text = Text("a\n");
  Diagnostics out;
  for (int i = 0; i < 57; ++i) out.Error({text, 1, 1, 1}, "EPP-CFG-TYPE", "wrong");
  const std::string shown = out.Render();
  EXPECT_THAT(shown, testing::EndsWith("7 more\n"));
  size_t count = 0;
  for (size_t at = shown.find("error:"); at != std::string::npos;
       at = shown.find("error:", at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, 50u);
}

TEST(DiagnosticsTest, ControlCharactersAreEscaped) {
  const auto text = Text("key: \"\x1b[31m\xff\"\n");
  Diagnostics out;
  out.Error({text, 1, 6, 4}, "EPP-CFG-TYPE", "got \x1b[2J\n");
  EXPECT_THAT(out.Render(), Not(HasSubstr("\x1b")));
  EXPECT_THAT(out.Render(), HasSubstr("got \\x1b[2J\\x0a\n"));
}

TEST(DiagnosticsTest, PlacesOutsideTheTextAreHarmless) {
  const auto text = Text("a\n");
  Diagnostics out;
  for (const Mark& mark : {Mark{text, 1, 99, 4}, Mark{text, 99, 1, 1}, Mark{text, 1, 0, 0},
                           Mark{text, 1, 1, 4'000'000'000}}) {
    out.Error(mark, "EPP-CFG-TYPE", "wrong");
  }
  EXPECT_THAT(out.Render(), HasSubstr("config.yaml:1:1: error: wrong"));
}

TEST(DiagnosticsTest, Json) {
  const auto text = Text("a: 1\n");
  Diagnostics out;
  out.Error({text, 1, 4, 1}, "EPP-CFG-TYPE", "a is \"1\"", "", "quote it");
  const auto json = nlohmann::json::parse(out.RenderJson());
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0]["severity"], "error");
  EXPECT_EQ(json[0]["code"], "EPP-CFG-TYPE");
  EXPECT_EQ(json[0]["file"], "config.yaml");
  EXPECT_EQ(json[0]["line"], 1);
  EXPECT_EQ(json[0]["column"], 4);
  EXPECT_EQ(json[0]["end_column"], 5);
  EXPECT_EQ(json[0]["message"], "a is \"1\"");
  EXPECT_EQ(json[0]["hint"], "quote it");
}

}  // namespace
}  // namespace epp::config
