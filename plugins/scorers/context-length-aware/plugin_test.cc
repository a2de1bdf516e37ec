#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"
#include "range.h"

namespace {

using epp::context_length::ParseRange;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Request;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pointwise;

constexpr const char* kType = "context-length-aware";
constexpr const char* kLabel = "llm-d.ai/context-length-range";

// One endpoint a label value; null is an endpoint without the label.
Pool Labelled(const std::vector<const char*>& values, const char* label = kLabel) {
  Pool pool(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != nullptr) pool.Label(i, label, values[i]);
  }
  return pool;
}

struct Case {
  const char* name;
  uint32_t tokens;
  std::vector<const char*> labels;
  std::vector<double> scores;
  std::vector<size_t> kept;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class ContextLengthTest : public testing::TestWithParam<Case> {};

TEST_P(ContextLengthTest, ScoresAndKeeps) {
  auto plugin = epp::test::Make(kType, {{"enableFiltering", true}});
  ASSERT_TRUE(plugin.ok()) << plugin.error();
  Request request;
  if (GetParam().tokens > 0) request.Tokens(std::vector<uint32_t>(GetParam().tokens, 7));
  const Pool pool = Labelled(GetParam().labels);
  EXPECT_THAT(plugin.Score(pool, request), Pointwise(DoubleNear(1e-4), GetParam().scores));
  EXPECT_EQ(plugin.Filter(pool, request), GetParam().kept);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ContextLengthTest,
    testing::Values(
        Case{"Case042Filter",
             0,
             {"0-100", "100-500", "0-2000", nullptr},
             {0.3 + 0.7 * (0.7 / 1.01 + 0.3), 0.3 / 1.1, 0.3 + 0.7 * (0.7 / 1.2 + 0.3), 0.5},
             {0, 2, 3}},
        Case{"Case043Score",
             0,
             {"0-20", "0-10000", "500-1000", nullptr},
             {0.9990, 0.755, 0.2, 0.5},
             {0, 1, 3}},
        Case{"Case044NearTheEnd", 14999, {"0-15000", "15001-20000"}, {0.496, 0.2994}, {0}},
        Case{"Case045Unparsable",
             5,
             {"", "0-100-200", "100-50", "abc-100", "-5-10", "5", "0-99999999999999999999"},
             {0, 0, 0, 0, 0, 0, 0},
             {}},
        Case{"WidthZero", 5, {"5-5", "6-6"}, {1, 0.3 / 1.001}, {0}},
        Case{"EndsAreInside", 10, {"10-20", "0-10"}, {0.99951, 0.78951}, {0, 1}},
        Case{"SpacesAreTrimmed", 5, {" 5 - 5 "}, {1}, {0}},
        Case{"Largest", 5, {"0-9223372036854775807"}, {0.51}, {0}},
        Case{"NoCandidates", 5, {}, {}, {}}),
    [](const auto& info) { return info.param.name; });

TEST(ContextLengthTest, KeepsEveryoneUnlessEnabled) {
  auto plugin = epp::test::Make(kType);
  EXPECT_THAT(plugin.Filter(Labelled({"5-6", "abc", nullptr})), ElementsAre(0, 1, 2));
}

TEST(ContextLengthTest, LabelByName) {
  auto plugin = epp::test::Make(kType, {{"label", "len"}, {"enableFiltering", true}});
  EXPECT_THAT(plugin.Filter(Labelled({"5-6", "0-6"}, "len")), ElementsAre(1));
  EXPECT_THAT(plugin.Filter(Labelled({"5-6", "0-6"})), ElementsAre(0, 1));
}

TEST(ContextLengthTest, MoreValuesThanItRemembers) {
  std::vector<std::string> texts;
  std::vector<const char*> values;
  for (int i = 0; i < 200; ++i) {
    texts.push_back(std::to_string(i) + "-" + std::to_string(i + 50));
  }
  for (const std::string& text : texts) values.push_back(text.c_str());
  auto plugin = epp::test::Make(kType, {{"enableFiltering", true}});
  Request request;
  request.Tokens(std::vector<uint32_t>(100, 1));
  const std::vector<size_t> kept = plugin.Filter(Labelled(values), request);
  ASSERT_EQ(kept.size(), 51u);
  EXPECT_EQ(kept.front(), 50u);
  EXPECT_EQ(kept.back(), 100u);
}

TEST(ContextLengthTest, Case045EmptyLabelName) {
  EXPECT_THAT(epp::test::Make(kType, {{"label", ""}}).error(), HasSubstr("label: got \"\""));
}

TEST(ContextLengthTest, Case045Parse) {
  for (const char* text : {"", "0-100-200", "100-50", "abc-100", "100", "-", "1-", "1-2x"}) {
    EXPECT_FALSE(ParseRange(text)) << text;
  }
  const auto range = ParseRange("16 -\t32");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->min, 16);
  EXPECT_EQ(range->max, 32);
}

TEST(ContextLengthTest, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), testing::IsEmpty());
}

}  // namespace
