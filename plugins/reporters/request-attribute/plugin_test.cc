#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr const char* kType = "request-attribute-reporter";

std::map<std::string, double> Reported(const char* attributes, epp::test::Event& event) {
  auto plugin = epp::test::Make(kType, {{"attributes", attributes}});
  EXPECT_TRUE(plugin.ok()) << plugin.error();
  epp::test::Request request;
  return plugin.OnBody(event, request).numbers;
}

TEST(RequestAttributeReporter, Reports) {
  struct Case {
    const char* attributes;
    double value;  // 0: nothing
  };
  const Case cases[] = {
      {R"([{"key":{"name":"cost"},"expression":"usage.prompt_tokens + 2*usage.completion_tokens"}])",
       140},
      {R"([{"key":{"name":"cost"},"expression":"usage.prompt_tokens / 7"}])", 14},
      {R"([{"key":{"name":"cost"},"expression":"usage.total_tokens",
            "condition":"usage.total_tokens > 100"}])",
       120},
      {R"([{"key":{"name":"cost"},"expression":"usage.total_tokens",
            "condition":"usage.total_tokens > 200"}])",
       0},
      {R"([{"key":{"name":"cost"},"expression":"usage.total_tokens",
            "condition":"usage.cached_tokens > 0"}])",
       0},
      {R"([{"key":{"name":"cost"},"expression":"0 * usage.total_tokens"}])", 0},
      {R"([{"key":{"name":"cost"},"expression":"-1.5"}])", 0},
      {R"([{"key":{"name":"cost"},"expression":"-2.5"}])", -2},
      {R"([{"key":{"name":"cost"},"expression":"usage.cached_tokens"}])", 0},
      {R"([{"key":{"name":"cost"},"expression":"1e300"}])", 0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.attributes);
    epp::test::Event event;
    const auto numbers = Reported(c.attributes, event.Last().Usage(100, 20));
    if (c.value == 0) {
      EXPECT_THAT(numbers, IsEmpty());
    } else {
      EXPECT_THAT(numbers, ElementsAre(Pair("envoy.lb/cost", c.value)));
    }
  }
}

TEST(RequestAttributeReporter, NamespaceAndOnlyTheLastChunk) {
  constexpr const char* kAttributes =
      R"([{"key":{"namespace":"my.ns","name":"n"},"expression":"usage.prompt_tokens"}])";
  epp::test::Event last, chunk, unknown;
  EXPECT_THAT(Reported(kAttributes, last.Last().Usage(5, 1)), ElementsAre(Pair("my.ns/n", 5)));
  EXPECT_THAT(Reported(kAttributes, chunk.First().Usage(5, 1)), IsEmpty());
  EXPECT_THAT(Reported(kAttributes, unknown.Last()), IsEmpty());
}

TEST(RequestAttributeReporter, WrongParameters) {
  struct Case {
    const char* attributes;
    const char* says;
  };
  const Case cases[] = {
      {"[]", "got 0 entries"},
      {R"([{"key":{"name":"a"},"expression":"1"},{"key":{"name":"b"},"expression":"1"}])",
       "got 2 entries"},
      {R"([{"expression":"1"}])", "key.name"},
      {R"([{"key":{"name":"a"}}])", "expression: column 1"},
      {R"([{"key":{"name":"a"},"expression":"usage.x"}])", "unknown field"},
      {R"([{"key":{"name":"a"},"expression":"1","condition":"1"}])", "condition: column 1"},
      {R"([{"key":{"name":"a"},"expression":"1","other":1}])", "unknown member \"other\""},
      {R"([{"key":{"nam":"a"},"expression":"1"}])", "unknown member \"key.nam\""},
      {"{}", "want a list"},
  };
  for (const Case& c : cases) {
    auto plugin = epp::test::Make(kType, {{"attributes", c.attributes}});
    EXPECT_FALSE(plugin.ok()) << c.attributes;
    EXPECT_THAT(plugin.error(), HasSubstr(c.says));
  }
  EXPECT_FALSE(epp::test::Make(kType).ok());
}

TEST(RequestAttributeReporter, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
