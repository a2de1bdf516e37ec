#include "host/config/split_documents.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace epp::config {
namespace {

using ::testing::HasSubstr;

TEST(SplitDocuments, CutsAtMarkers) {
  struct Case {
    std::string_view text;
    std::vector<std::pair<std::string, uint32_t>> want;
  };
  const std::vector<Case> cases = {
      {"", {{"", 0}}},
      {"a: 1", {{"a: 1", 0}}},
      {"---\na: 1\n", {{"---\na: 1\n", 0}}},
      {"a: 1\n---\nb: 2\n", {{"a: 1\n", 0}, {"---\nb: 2\n", 1}}},
      {"a: 1\n--- # next\nb: 2", {{"a: 1\n", 0}, {"--- # next\nb: 2", 1}}},
      {"a: 1\r\n---\r\nb: 2", {{"a: 1\r\n", 0}, {"---\r\nb: 2", 1}}},
      {"a: |\n  ---\n----\n", {{"a: |\n  ---\n----\n", 0}}},
      {"---\n---\n---", {{"---\n", 0}, {"---\n", 1}, {"---", 2}}},
  };
  for (const Case& c : cases) {
    std::vector<std::pair<std::string, uint32_t>> got;
    for (const DocumentPart& part : SplitDocuments(c.text)) {
      got.emplace_back(std::string(part.text), part.lines_before);
    }
    EXPECT_EQ(got, c.want) << c.text;
  }
}

TEST(ParsePart, PlacesAreThoseOfTheWholeText) {
  const auto whole = std::make_shared<SourceText>(
      SourceText{"f.yaml", "a: 1\n---\nb:\n  c: [x, y]\n---\nd: [\n", {}});
  const auto parts = SplitDocuments(whole->text);
  ASSERT_EQ(parts.size(), 3u);
  Diagnostics out;
  const auto second = ParsePart(whole, parts[1], out);
  ASSERT_TRUE(second.has_value());
  const Node* c = second->Find("b")->Find("c");
  EXPECT_EQ(c->items[1].mark.line, 4u);
  EXPECT_EQ(c->items[1].mark.source, whole);
  EXPECT_TRUE(out.ok());
  EXPECT_FALSE(ParsePart(whole, parts[2], out).has_value());
  EXPECT_THAT(out.Render(), HasSubstr("f.yaml:"));
  EXPECT_GE(out.all()[0].mark.line, 5u);
}

}  // namespace
}  // namespace epp::config
