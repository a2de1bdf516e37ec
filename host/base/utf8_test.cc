#include "host/base/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace epp::utf8 {
namespace {

TEST(Utf8Test, ValidPrefixAndSanitise) {
  const struct {
    const char* name;
    std::string in;
    size_t valid;
    std::string clean;
  } cases[] = {
      {"empty", "", 0, ""},
      {"ascii", "0123456789abcdef", 16, "0123456789abcdef"},
      {"two bytes", "\xC3\xA9", 2, "\xC3\xA9"},
      {"highest", "\xF4\x8F\xBF\xBF", 4, "\xF4\x8F\xBF\xBF"},
      {"above highest", "\xF4\x90\x80\x80", 0, "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"overlong slash", "\xC0\xAF", 0, "\uFFFD\uFFFD"},
      {"overlong 3", "\xE0\x80\x80", 0, "\uFFFD\uFFFD\uFFFD"},
      {"surrogate", "\xED\xA0\x80", 0, "\uFFFD\uFFFD\uFFFD"},
      {"cut short", "ab\xE2\x82", 2, "ab\uFFFD"},
      {"cut then ascii", "\xF0\x9F\x98x", 0, "\uFFFDx"},
      {"stray continuation", "12345678\x80", 8, "12345678\uFFFD"},
      {"FF in a word",
       "1234\xFF"
       "678",
       4, "1234\uFFFD678"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ValidPrefix(c.in), c.valid) << c.name;
    EXPECT_EQ(Sanitise(c.in), c.clean) << c.name;
    EXPECT_EQ(Valid(c.in), c.valid == c.in.size()) << c.name;
  }
}

TEST(Utf8Test, SanitiseAlwaysYieldsValidText) {
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    std::string text(random() % 24, '\0');
    for (char& c : text) c = static_cast<char>(random() % 4 ? 0x80 + random() % 128 : random());
    const std::string clean = Sanitise(text);
    EXPECT_TRUE(Valid(clean));
    EXPECT_EQ(Sanitise(clean), clean);
  }
}

TEST(Utf8Test, TruncateKeepsCharactersWhole) {
  const std::string text = "a\xC3\xA9\xF0\x9F\x98\x80z";
  const size_t want[] = {0, 1, 1, 3, 3, 3, 3, 7, 8, 8};
  for (size_t n = 0; n < std::size(want); ++n) EXPECT_EQ(Truncate(text, n).size(), want[n]) << n;
  EXPECT_EQ(Truncate("\x80\x80\x80\x80\x80\x80", 5).size(), 5u) << "not text, cut anywhere";
}

}  // namespace
}  // namespace epp::utf8
