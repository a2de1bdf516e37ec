#include "host/config/explain_code.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::config {
namespace {

// The code that begins the text, or "": EPP-AREA-WHAT in capitals, by hand because <regex> does not
// compile without warnings under the sanitizers.
std::string CodeAt(std::string_view text) {
  text = text.substr(0, text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ-"));
  text = text.substr(0, text.find("--"));
  if (text.ends_with('-')) text.remove_suffix(1);
  return std::count(text.begin(), text.end(), '-') >= 2 ? std::string(text) : std::string();
}

// Every code that a source of the host can say.
std::set<std::string> CodesInSources() {
  std::set<std::string> codes;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(EPP_HOST_SOURCES)) {
    const std::string path = entry.path().string();
    const bool source = path.ends_with(".cc") || path.ends_with(".h");
    if (!source || path.ends_with("_test.cc") || path.find("/testdata/") != std::string::npos ||
        path.ends_with("/explain_code.cc") || path.ends_with("/explain_code.h")) {
      continue;
    }
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    const std::string all = text.str();
    for (size_t at = all.find("EPP-"); at != std::string::npos; at = all.find("EPP-", at + 1)) {
      const std::string code = CodeAt(std::string_view(all).substr(at));
      if (!code.empty()) codes.insert(code);
    }
  }
  return codes;
}

TEST(ExplainCode, EveryCodeOfTheSourcesHasAText) {
  const std::set<std::string> codes = CodesInSources();
  ASSERT_GT(codes.size(), 50u);
  for (const std::string& code : codes) {
    EXPECT_NE(ExplainCode(code), nullptr) << code << " has no text in explain_code.cc";
  }
}

TEST(ExplainCode, EveryTextIsOfACodeThatTheSourcesUse) {
  const std::set<std::string> codes = CodesInSources();
  for (const CodeText& text : CodeTexts()) {
    EXPECT_TRUE(codes.contains(std::string(text.code))) << text.code << " is never said";
  }
}

TEST(ExplainCode, TextsAreCompleteAndSorted) {
  const auto texts = CodeTexts();
  EXPECT_TRUE(std::is_sorted(texts.begin(), texts.end(),
                             [](const auto& a, const auto& b) { return a.code < b.code; }));
  for (const CodeText& text : texts) {
    EXPECT_FALSE(text.cause.empty()) << text.code;
    EXPECT_FALSE(text.example.empty()) << text.code;
    EXPECT_FALSE(text.fix.empty()) << text.code;
    EXPECT_TRUE(text.cause.ends_with('.')) << text.code;
    EXPECT_TRUE(text.fix.ends_with('.')) << text.code;
  }
}

TEST(ExplainCode, TakesACodeInAnyCase) {
  ASSERT_NE(ExplainCode("epp-cfg-range"), nullptr);
  EXPECT_EQ(ExplainCode("epp-cfg-range")->code, "EPP-CFG-RANGE");
  EXPECT_EQ(ExplainCode("EPP-CFG-RANGES"), nullptr);
  EXPECT_EQ(ExplainCode(""), nullptr);
}

}  // namespace
}  // namespace epp::config
