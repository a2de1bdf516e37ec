#include "host/config/diagnostics.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace epp::config {
namespace {

using testing::HasSubstr;
using testing::Not;

std::shared_ptr<const SourceText> Source(std::string text, std::string name = "config.yaml") {
  return std::make_shared<const SourceText>(SourceText{std::move(name), std::move(text)});
}

TEST(DiagnosticsTest, ExcerptWithCaretTextAndHint) {
  Diagnostics out;
  out.Warning({Source("a: 1\n\nsaturationDetector:\n"), 3, 1, 18}, "EPP-CFG-DEPRECATED",
              "top-level \"saturationDetector\" is deprecated, want flowControl.saturationDetector",
              "moved in llm-d.ai/v1alpha1", "epp convert --in-place config.yaml");
  EXPECT_EQ(out.Render(),
            "config.yaml:3:1: warning: top-level \"saturationDetector\" is deprecated, want "
            "flowControl.saturationDetector\n"
            "    3 | saturationDetector:\n"
            "      | ^^^^^^^^^^^^^^^^^^ moved in llm-d.ai/v1alpha1  [EPP-CFG-DEPRECATED]\n"
            "  hint: epp convert --in-place config.yaml\n");
  EXPECT_TRUE(out.ok());
  EXPECT_EQ(out.warnings(), 1u);
}

TEST(DiagnosticsTest, CodeFollowsTheCaretWhenThereIsNoText) {
  std::string text(26, '\n');
  text += "    - pluginRef: kv-cache\n";
  Diagnostics out;
  out.Error({Source(text), 27, 18, 8}, "EPP-CFG-UNDEFINED-REF",
            "profile \"decode\": scorer \"kv-cache\" is not defined");
  EXPECT_EQ(out.Render(),
            "config.yaml:27:18: error: profile \"decode\": scorer \"kv-cache\" is not defined\n"
            "   27 |     - pluginRef: kv-cache\n"
            "      |                  ^^^^^^^^ [EPP-CFG-UNDEFINED-REF]\n");
}

TEST(DiagnosticsTest, PlacesWithoutALine) {
  Diagnostics out;
  out.Error({Source("x"), 0, 0, 0}, "EPP-CFG-SYNTAX", "is too long", "cut it");
  out.Error({}, "EPP-CFG-NO-SOURCE", "no sources", "", "declare one");
  EXPECT_EQ(out.Render(),
            "config.yaml: error: is too long: cut it  [EPP-CFG-SYNTAX]\n"
            "error: no sources  [EPP-CFG-NO-SOURCE]\n"
            "  hint: declare one\n");
}

TEST(DiagnosticsTest, SortedByPositionWithinATextErrorsAndWarningsMixed) {
  const auto first = Source("a\nb\nc\n");
  const auto second = Source("x\n", "epp.toml");
  Diagnostics out;
  out.Error({first, 3, 1, 1}, "C", "three");
  out.Error({second, 1, 1, 1}, "X", "other file");
  out.Warning({first, 1, 2, 1}, "A", "one, later");
  out.Error({first, 1, 1, 1}, "A", "one");
  out.Error({first, 3, 1, 1}, "C", "three again");
  std::vector<std::string> order;
  for (const auto& d : nlohmann::json::parse(out.RenderJson())) order.push_back(d["message"]);
  EXPECT_THAT(order,
              testing::ElementsAre("one", "one, later", "three", "three again", "other file"));
  EXPECT_EQ(out.errors(), 4u);
}

TEST(DiagnosticsTest, FiftyAreShownThenACount) {
  const auto text = Source(std::string(100, '\n'));
  Diagnostics out;
  for (uint32_t line = 1; line <= 50; ++line) out.Error({text, line, 1, 1}, "E", "wrong");
  EXPECT_THAT(out.Render(), Not(HasSubstr("more")));
  out.Error({text, 51, 1, 1}, "E", "wrong");
  out.Error({text, 52, 1, 1}, "E", "wrong");
  const std::string shown = out.Render();
  EXPECT_THAT(shown, HasSubstr("config.yaml:50:1"));
  EXPECT_THAT(shown, Not(HasSubstr("config.yaml:51:1")));
  EXPECT_TRUE(shown.ends_with("2 more\n")) << shown;
  EXPECT_EQ(nlohmann::json::parse(out.RenderJson()).size(), 52u);
}

TEST(DiagnosticsTest, ControlCharactersAreVisibleAndKeepTheCaretInPlace) {
  Diagnostics out;
  out.Error({Source("a\x1b[31m\t: b\xff\r\n", "dir\n/c.yaml"), 1, 9, 1}, "E", "got \x07");
  EXPECT_EQ(out.Render(),
            "dir\\x0a/c.yaml:1:9: error: got \\x07\n"
            "    1 | a\\x1b[31m : b\xEF\xBF\xBD\n"
            "      |            ^ [E]\n");
}

TEST(DiagnosticsTest, CaretsCountCharactersNotBytes) {
  Diagnostics out;
  out.Error({Source("n\xC3\xA4me: g\xC3\xB6ld x\n"), 1, 8, 5}, "E", "wrong");
  EXPECT_EQ(out.Render(),
            "config.yaml:1:8: error: wrong\n"
            "    1 | n\xC3\xA4me: g\xC3\xB6ld x\n"
            "      |       ^^^^ [E]\n");
}

TEST(DiagnosticsTest, LongLinesShowThePartAroundThePlace) {
  std::string line = "{" + std::string(300, 'x') + ", bad: 1, " + std::string(300, 'y') + "}";
  Diagnostics out;
  out.Error({Source(line), 1, 304, 3}, "E", "unknown");
  const std::string shown = out.Render();
  const size_t excerpt = shown.find(" | ");
  const size_t carets = shown.find(" | ", excerpt + 1);
  const std::string code_line = shown.substr(excerpt + 3, shown.find('\n', excerpt) - excerpt - 3);
  const size_t at = shown.find('^') - carets - 3;
  EXPECT_EQ(code_line.substr(at, 3), "bad") << shown;
  EXPECT_LT(code_line.size(), 180u);
  EXPECT_TRUE(code_line.starts_with("...") && code_line.ends_with("...")) << shown;
  EXPECT_THAT(shown, HasSubstr("^^^ [E]\n"));
}

TEST(DiagnosticsTest, CaretsStayWithinTheLine) {
  Diagnostics out;
  out.Error({Source("abc\ndef"), 1, 3, 100}, "E", "long");
  out.Error({Source("abc\ndef"), 2, 99, 1}, "E", "beyond");
  out.Error({Source("abc\ndef"), 9, 1, 1}, "E", "no such line");
  EXPECT_EQ(out.Render(),
            "config.yaml:1:3: error: long\n"
            "    1 | abc\n"
            "      |   ^ [E]\n"
            "config.yaml:2:99: error: beyond\n"
            "    2 | def\n"
            "      |    ^ [E]\n"
            "config.yaml:9:1: error: no such line\n"
            "    9 | \n"
            "      | ^ [E]\n");
}

TEST(DiagnosticsTest, SecretsAreMasked) {
  const auto text = Source("{token: hunter2, colour: red}\n");
  Diagnostics out;
  out.Redact({text, 1, 9, 7});
  out.Error({text, 1, 9, 7}, "E", "token is wrong");
  out.Error({text, 1, 18, 6}, "E", "unknown");
  EXPECT_THAT(out.Render(), Not(HasSubstr("hunter2")));
  EXPECT_THAT(out.Render(), HasSubstr("{token: *******, colour: red}"));
  EXPECT_THAT(out.RenderJson(), Not(HasSubstr("hunter2")));
}

TEST(DiagnosticsTest, ColourOnlyOnRequest) {
  Diagnostics out;
  out.Error({Source("abc"), 1, 1, 3}, "E", "wrong");
  EXPECT_THAT(out.Render(), Not(HasSubstr("\x1b")));
  EXPECT_THAT(out.Render(true), HasSubstr("\x1b[31m^^^\x1b[0m [E]"));
}

TEST(DiagnosticsTest, JsonForm) {
  Diagnostics out;
  out.Error({Source("ab: \"q\"\n"), 1, 5, 3}, "EPP-CFG-TYPE", "is \"q\"", "quote", "help");
  out.Warning({}, "EPP-CFG-X", "nowhere");
  const nlohmann::json all = nlohmann::json::parse(out.RenderJson());
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["severity"], "error");
  EXPECT_EQ(all[0]["code"], "EPP-CFG-TYPE");
  EXPECT_EQ(all[0]["file"], "config.yaml");
  EXPECT_EQ(all[0]["line"], 1);
  EXPECT_EQ(all[0]["column"], 5);
  EXPECT_EQ(all[0]["end_column"], 8);
  EXPECT_EQ(all[0]["message"], "is \"q\"");
  EXPECT_EQ(all[0]["detail"], "quote");
  EXPECT_EQ(all[0]["hint"], "help");
  EXPECT_EQ(std::string(all[0]["rendered"]).substr(0, 22), "config.yaml:1:5: error");
  EXPECT_EQ(all[1]["severity"], "warning");
  EXPECT_FALSE(all[1].contains("file"));
  EXPECT_FALSE(all[1].contains("line"));
}

}  // namespace
}  // namespace epp::config
