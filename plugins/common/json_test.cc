#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "plugins/common/json_canonical.hpp"
#include "plugins/common/json_text.hpp"

namespace epp::json {
namespace {

std::string Canon(std::string_view text) {
  Canonical c;
  return c.Append(text) ? std::string(c.text()) : "error";
}

TEST(Canonical, GoForm) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"b":1,"a":{"d":[],"c":{}}})", R"({"a":{"c":{},"d":[]},"b":1})"},
      {R"( { "a" : [ 1 , true , null ] } )", R"({"a":[1,true,null]})"},
      {R"({"a":1,"b":2,"a":3})", R"({"a":3,"b":2})"},
      {R"({"b":1,"b":2,"a":0,"b":3})", R"({"a":0,"b":3})"},
      {R"("<a>&\u003c\u2028\/")", R"("\u003ca\u003e\u0026\u003c\u2028/")"},
      {"\"\xe2\x80\xa8\xe2\x80\xa9\xe2\x82\xac\"", "\"\\u2028\\u2029\xe2\x82\xac\""},
      {R"("\u00e9\ud83d\ude00\n\t\"\\\u0001")",
       "\"\xc3\xa9\xf0\x9f\x98\x80\\n\\t\\\"\\\\\\u0001\""},
      {R"("\ud800x")", "\"\xef\xbf\xbdx\""},
      {"1.0", "1"},
      {"1e2", "100"},
      {"1e20", "100000000000000000000"},
      {"1e21", "1e+21"},
      {"0.000001", "0.000001"},
      {"1e-7", "1e-7"},
      {"1e-10", "1e-10"},
      {"-0.5", "-0.5"},
      {"9007199254740993", "9007199254740992"},
      {R"({"\u0062":1,"a":2})", R"({"a":2,"b":1})"},
      {"[1,", "error"},
      {"[1] 2", "error"},
      {"tru", "error"}};
  for (const auto& [in, want] : cases) EXPECT_EQ(Canon(in), want) << in;
}

TEST(Canonical, DeepObjectsKeepTheirOrder) {
  std::string text = R"({"b":1,"a":2})";
  for (int i = 0; i < 100; ++i) text = "[" + text + "]";
  EXPECT_EQ(Canon(text), text);
}

// Against an independent encoder, which sorts keys too; only text that both write alike.
TEST(Canonical, SameAsAnotherEncoder) {
  std::mt19937 random(7);
  const std::function<nlohmann::json(int)> make = [&](int depth) -> nlohmann::json {
    switch (random() % (depth > 4 ? 4 : 6)) {
      case 0:
        return nullptr;
      case 1:
        return static_cast<int>(random() % 2000) - 1000;
      case 2:
        return random() % 2 == 0;
      case 3:
        return std::string(random() % 40, 'a') + "\"\\\n\xc3\xa9" + std::to_string(random() % 99);
      case 4: {
        auto out = nlohmann::json::array();
        for (auto n = random() % 4; n > 0; --n) out.push_back(make(depth + 1));
        return out;
      }
      default: {
        auto out = nlohmann::json::object();
        for (auto n = random() % 5; n > 0; --n) {
          out["k" + std::to_string(random() % 50)] = make(depth + 1);
        }
        return out;
      }
    }
  };
  for (int i = 0; i < 500; ++i) {
    const nlohmann::json value = make(0);
    EXPECT_EQ(Canon(value.dump(2)), value.dump());
  }
}

TEST(Unescape, EveryRunLength) {
  for (size_t n = 0; n < 70; ++n) {
    for (size_t at = 0; at <= n; ++at) {
      std::string raw(n, 'x'), want(n, 'x');
      raw.insert(at, "\\u00e9\\n");
      want.insert(at, "\xc3\xa9\n");
      EXPECT_EQ(Unescaped(raw), want);
    }
  }
}

TEST(Unescape, Oddities) {
  EXPECT_EQ(Unescaped("\\ud83d\\ude00"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(Unescaped("\\ude00\\ud83d"), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(Unescaped("\\ud83d\\u0041"),
            "\xef\xbf\xbd"
            "A");
  EXPECT_EQ(Unescaped("\\"), "\\");
  EXPECT_EQ(Unescaped("\\u12"), "\\u12");
  EXPECT_EQ(Unescaped("\\q"), "\\q");
}

TEST(Cursor, SkipAgreesWithAnotherParser) {
  const std::string base = R"({"a":[1,2.5,-3,0],"b":{"c":"\u00e9\"","d":{}},"e":[[],{}],"f":null})";
  constexpr std::string_view kBytes = "{}[]\",:\\ u01-.tfn";
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    std::string text = base;
    for (auto n = 1 + random() % 2; n > 0; --n) {
      text[random() % text.size()] = kBytes[random() % kBytes.size()];
    }
    Cursor cursor(text);
    const bool ours = cursor.Skip() && cursor.End();
    EXPECT_EQ(ours, nlohmann::json::accept(text)) << text;
  }
}

TEST(Cursor, DepthIsBounded) {
  const auto skips = [](int depth) {
    const auto n = static_cast<size_t>(depth);
    const std::string text = std::string(n, '[') + std::string(n, ']');
    return Cursor(text).Skip();
  };
  EXPECT_TRUE(skips(kMaxDepth));
  EXPECT_FALSE(skips(kMaxDepth + 1));
}

TEST(Numbers, TokenIds) {
  uint32_t id = 0;
  EXPECT_TRUE(ToTokenId("4294967295", id));
  EXPECT_EQ(id, 4294967295u);
  EXPECT_TRUE(ToTokenId("1e3", id));
  EXPECT_EQ(id, 1000u);
  for (const char* bad : {"4294967296", "-1", "1.5", "1e400", "1e-1"}) {
    EXPECT_FALSE(ToTokenId(bad, id)) << bad;
  }
}

}  // namespace
}  // namespace epp::json
