#include "host/config/document.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::config {
namespace {

using testing::HasSubstr;

struct Parsed {
  std::optional<Node> root;
  Diagnostics out;
};

Parsed Parse(std::string text) {
  Parsed parsed;
  parsed.root = ParseDocument(
      std::make_shared<const SourceText>(SourceText{"t.yaml", std::move(text)}), parsed.out);
  return parsed;
}

// The one error of an unusable text.
Diagnostic ErrorOf(std::string text) {
  const Parsed parsed = Parse(std::move(text));
  EXPECT_FALSE(parsed.root);
  EXPECT_EQ(parsed.out.errors(), 1u) << parsed.out.Render();
  return parsed.out.all().empty() ? Diagnostic{} : parsed.out.all()[0];
}

std::string Place(const Mark& mark) {
  return std::to_string(mark.line) + ":" + std::to_string(mark.column) + "+" +
         std::to_string(mark.length);
}

TEST(DocumentTest, EveryNodeKnowsItsPlace) {
  const Parsed parsed = Parse(
      "# comment\n"
      "plugins:\n"
      "  - type: queue-scorer\n"
      "    name: \"a \\\" b\"\n"
      "  - {type: 'it''s', list: [1, 2.5]}\n"
      "none:\n");
  ASSERT_TRUE(parsed.root) << parsed.out.Render();
  const auto& [key, plugins] = parsed.root->members[0];
  EXPECT_EQ(Place(key.mark), "2:1+7");
  ASSERT_EQ(plugins.items.size(), 2u);
  EXPECT_EQ(Place(plugins.items[0].mark), "3:5+1");
  EXPECT_EQ(Place(plugins.items[0].members[0].first.mark), "3:5+4");
  EXPECT_EQ(Place(plugins.items[0].Find("type")->mark), "3:11+12");
  EXPECT_EQ(plugins.items[0].Find("name")->text, "a \" b");
  EXPECT_EQ(Place(plugins.items[0].Find("name")->mark), "4:11+8");
  EXPECT_EQ(plugins.items[1].Find("type")->text, "it's");
  EXPECT_EQ(Place(plugins.items[1].Find("type")->mark), "5:12+7");
  EXPECT_EQ(Place(plugins.items[1].Find("list")->items[1].mark), "5:31+3");
  EXPECT_EQ(parsed.root->Find("none")->kind, Node::Kind::kNull);
  EXPECT_EQ(parsed.root->Find("absent"), nullptr);
  EXPECT_EQ(parsed.root->Find("Plugins"), nullptr);
}

TEST(DocumentTest, Json) {
  const Parsed parsed = Parse("{\"a\":1,\t\"b\":[true,null,\"x\\u00e9\\/\"],\"c\":{}}");
  ASSERT_TRUE(parsed.root) << parsed.out.Render();
  EXPECT_EQ(ToJson(*parsed.root), "{\"a\":1,\"b\":[true,null,\"x\xC3\xA9/\"],\"c\":{}}");
}

TEST(DocumentTest, CanonicalJsonSortsMembersAndKeepsTypes) {
  const Parsed parsed = Parse("b: '1'\na: {z: 1e3, y: 0x10}\nc: [on, ~, -2, \"true\"]\n");
  ASSERT_TRUE(parsed.root);
  EXPECT_EQ(ToJson(*parsed.root),
            "{\"a\":{\"y\":16,\"z\":1000},\"b\":\"1\",\"c\":[true,null,-2,\"true\"]}");
}

TEST(DocumentTest, NothingIsNull) {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "~", "null"}) {
    const Parsed parsed = Parse(text);
    ASSERT_TRUE(parsed.root) << text;
    EXPECT_EQ(parsed.root->kind, Node::Kind::kNull) << text;
  }
}

struct ScalarCase {
  const char* text;
  Node::Scalar type;
  std::optional<bool> as_bool;
  std::optional<int64_t> as_int;
  std::optional<double> as_float;
};

TEST(DocumentTest, ScalarsReadAsYaml11) {
  using S = Node::Scalar;
  constexpr auto kNo = std::nullopt;
  const ScalarCase cases[] = {
      {"true", S::kBool, true, kNo, kNo},
      {"Yes", S::kBool, true, kNo, kNo},
      {"on", S::kBool, true, kNo, kNo},
      {"OFF", S::kBool, false, kNo, kNo},
      {"no", S::kBool, false, kNo, kNo},
      {"tRue", S::kText, kNo, kNo, kNo},
      {"'true'", S::kText, kNo, kNo, kNo},
      {"0", S::kInt, kNo, 0, 0},
      {"-0", S::kInt, kNo, 0, 0},
      {"+7", S::kInt, kNo, 7, 7},
      {"1_000", S::kInt, kNo, 1000, 1000},
      {"0x1F", S::kInt, kNo, 31, 31},
      {"-0X10", S::kInt, kNo, -16, -16},
      {"0o17", S::kInt, kNo, 15, 15},
      {"010", S::kInt, kNo, 8, 8},
      {"08", S::kFloat, kNo, 8, 8},
      {"0b101", S::kInt, kNo, 5, 5},
      {"9223372036854775807", S::kInt, kNo, INT64_MAX, 0x1p63},
      {"-9223372036854775808", S::kInt, kNo, INT64_MIN, -0x1p63},
      {"9223372036854775808", S::kFloat, kNo, kNo, 0x1p63},
      {"0.5", S::kFloat, kNo, kNo, 0.5},
      {"-0.25e1", S::kFloat, kNo, kNo, -2.5},
      {"0e0", S::kFloat, kNo, 0, 0},
      {"1.5", S::kFloat, kNo, kNo, 1.5},
      {"-.5", S::kFloat, kNo, kNo, -0.5},
      {"2.0", S::kFloat, kNo, 2, 2},
      {"1e3", S::kFloat, kNo, 1000, 1000},
      {"1e400", S::kText, kNo, kNo, kNo},
      {"9007199254740994.0", S::kFloat, kNo, kNo, 9007199254740994.0},
      {".inf", S::kText, kNo, kNo, kNo},
      {"-inf", S::kText, kNo, kNo, kNo},
      {"nan", S::kText, kNo, kNo, kNo},
      {"+-5", S::kText, kNo, kNo, kNo},
      {"--5", S::kText, kNo, kNo, kNo},
      {"+", S::kText, kNo, kNo, kNo},
      {"0x", S::kText, kNo, kNo, kNo},
      {"0x-1", S::kText, kNo, kNo, kNo},
      {"_1", S::kText, kNo, kNo, kNo},
      {"1.2.3", S::kText, kNo, kNo, kNo},
      {"5s", S::kText, kNo, kNo, kNo},
      {"\"5\"", S::kText, kNo, kNo, kNo},
  };
  for (const ScalarCase& c : cases) {
    const Parsed parsed = Parse(std::string("v: ") + c.text);
    ASSERT_TRUE(parsed.root) << c.text << parsed.out.Render();
    const Node& node = *parsed.root->Find("v");
    EXPECT_EQ(node.scalar, c.type) << c.text;
    EXPECT_EQ(AsBool(node), c.as_bool) << c.text;
    EXPECT_EQ(AsInt(node), c.as_int) << c.text;
    EXPECT_EQ(AsFloat(node), c.as_float) << c.text;
  }
}

TEST(DocumentTest, KindNames) {
  const Parsed parsed = Parse("[x, yes, 1, 1.5, ~, [], {}]");
  std::string names;
  for (const Node& item : parsed.root->items) (names += item.KindName()) += ", ";
  EXPECT_EQ(names, "a string, a boolean, an integer, a number, null, a list, a map, ");
}

TEST(DocumentTest, RepeatedKeysAreErrorsAtTheSecond) {
  const Diagnostic d = ErrorOf("a: 1\nb: 2\na: 3\n");
  EXPECT_EQ(d.code, "EPP-CFG-DUPLICATE-KEY");
  EXPECT_EQ(d.message, "key \"a\" is repeated");
  EXPECT_EQ(Place(d.mark), "3:1+1");
  EXPECT_EQ(ErrorOf("{x: {\"k\": 1, k: 2}}").code, "EPP-CFG-DUPLICATE-KEY");
  EXPECT_EQ(ErrorOf("{1: a, \"1\": b}").code, "EPP-CFG-DUPLICATE-KEY");
}

TEST(DocumentTest, AllErrorsOfOnePass) {
  const Parsed parsed = Parse("a: &x 1\na: *x\nb: !!int 3\n? [k]\n: 1\n");
  EXPECT_FALSE(parsed.root);
  const std::string shown = parsed.out.Render();
  EXPECT_THAT(shown, HasSubstr("t.yaml:1:4: error: anchors are not supported"));
  EXPECT_THAT(shown, HasSubstr("aliases are not supported"));
  EXPECT_THAT(shown, HasSubstr("key \"a\" is repeated"));
  EXPECT_THAT(shown, HasSubstr("tag tag:yaml.org,2002:int is not supported"));
  EXPECT_THAT(shown, HasSubstr("a key is a list, want a string"));
}

TEST(DocumentTest, UnusableTexts) {
  const std::string deep = std::string(65, '[') + std::string(65, ']');
  struct Case {
    std::string text;
    const char* message;
    const char* place;
  } cases[] = {
      {"a: 1\n---\nb: 2\n", "holds more than one document, want one", "3:1+1"},
      {"a: [1, 2\nb: 3", "not readable as YAML", nullptr},
      {"a: 'x\n", "not readable as YAML", nullptr},
      {"a: *nowhere", "not readable as YAML", nullptr},
      {deep, "nested too deeply", "1:65+1"},
      {std::string("a: 1\nb: x\0y\n", 12), "holds a control character, want text", "2:5+1"},
      // To the library this one is the end of the text.
      {"a: 1\n\x04\nb: 2\n", "holds a control character, want text", "2:1+1"},
      {"a: \xff\n", "is not UTF-8", "1:4+1"},
      {"\xff\xfe\x61\x41", "is not UTF-8", "1:1+1"},
      {"a: " + std::string(kMaxDocumentBytes, 'x'), "is 1048579 bytes, want at most 1048576",
       "0:0+0"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text.substr(0, 20));
    const Diagnostic d = ErrorOf(c.text);
    EXPECT_EQ(d.code, "EPP-CFG-SYNTAX");
    EXPECT_THAT(d.message, HasSubstr(c.message));
    if (c.place) {
      EXPECT_EQ(Place(d.mark), c.place) << c.message;
    }
  }
}

TEST(DocumentTest, SixtyFourLevelsAndAFullMegabyteAreFine) {
  const Parsed deep = Parse(std::string(64, '[') + std::string(64, ']'));
  ASSERT_TRUE(deep.root) << deep.out.Render();
  EXPECT_EQ(ToJson(*deep.root).size(), 128u);
  EXPECT_TRUE(Parse("a: " + std::string(kMaxDocumentBytes - 3, 'x')).root);
}

TEST(DocumentTest, ManyKeysAreCheckedInReasonableTime) {
  std::string text;
  for (int i = 0; i < 90'000; ++i) text += "k" + std::to_string(i) + ":\n";
  ASSERT_LE(text.size(), kMaxDocumentBytes);
  const Parsed parsed = Parse(text);
  ASSERT_TRUE(parsed.root) << parsed.out.Render();
  EXPECT_EQ(parsed.root->members.size(), 90'000u);
}

TEST(DocumentTest, TooManyNodes) {
  std::string text = "[";
  for (int i = 0; i < 200'001; ++i) text += "1,";
  EXPECT_THAT(ErrorOf(text + "]").message, HasSubstr("too many nodes"));
}

TEST(DocumentTest, ByteOrderMarkIsSkipped) {
  const Parsed parsed = Parse("\xEF\xBB\xBFname: x\nname: y\n");
  ASSERT_FALSE(parsed.out.ok());
  const Parsed good = Parse("\xEF\xBB\xBFname: x\n");
  ASSERT_TRUE(good.root) << good.out.Render();
  EXPECT_EQ(Place(good.root->Find("name")->mark), "1:10+1");
}

TEST(DocumentTest, WindowsLinesAndBlockTexts) {
  const Parsed parsed = Parse("a: 1\r\nb: |\r\n  x\r\n  y\r\nc: z\r\n");
  ASSERT_TRUE(parsed.root) << parsed.out.Render();
  EXPECT_EQ(parsed.root->Find("b")->text, "x\ny\n");
  EXPECT_EQ(Place(parsed.root->Find("c")->mark), "5:4+1");
}

}  // namespace
}  // namespace epp::config
