#include "base64.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <utility>

namespace epp::session {
namespace {

std::string Encoded(std::string_view bytes) {
  std::string out(EncodedSize(bytes.size()), '?');
  Encode(bytes, out.data());
  return out;
}

std::string Decoded(std::string_view text) {
  std::array<char, 64> memory;
  return std::string(Decode(text, memory).value_or("malformed"));
}

TEST(Base64, Vectors) {  // of the RFC
  const std::pair<const char*, const char*> cases[] = {{"", ""},
                                                       {"f", "Zg=="},
                                                       {"fo", "Zm8="},
                                                       {"foo", "Zm9v"},
                                                       {"foob", "Zm9vYg=="},
                                                       {"fooba", "Zm9vYmE="},
                                                       {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(Encoded(bytes), text);
    EXPECT_EQ(Decoded(text), bytes);
  }
}

TEST(Base64, PaddingMayBeAbsent) {
  EXPECT_EQ(Decoded("Zg"), "f");
  EXPECT_EQ(Decoded("Zm8"), "fo");
}

TEST(Base64, Malformed) {
  for (const char* text :
       {"Z", "Zg=", "=", "====", "Zm9vY", "Zm-v", "Zm 9", "Z===", "Zg==Zg==", "\xff\xfe\x80\x81"}) {
    EXPECT_EQ(Decoded(text), "malformed") << text;
  }
}

TEST(Base64, TooLong) {
  EXPECT_EQ(Decoded(std::string(80, 'A')), std::string(60, '\0'));
  EXPECT_EQ(Decoded(std::string(88, 'A')), "malformed");
}

TEST(Base64, RoundTrip) {
  std::mt19937 random(3);
  for (int i = 0; i < 500; ++i) {
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    EXPECT_EQ(Decoded(Encoded(bytes)), bytes);
  }
}

}  // namespace
}  // namespace epp::session
