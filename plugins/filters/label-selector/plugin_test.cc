#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using testing::ElementsAre;
using testing::HasSubstr;

// 0: app=web tier=gold   1: app=web   2: app=db tier=   3: nothing
epp::test::Pool Endpoints() {
  epp::test::Pool pool(4);
  pool.Label(0, "app", "web").Label(0, "tier", "gold");
  pool.Label(1, "app", "web");
  pool.Label(2, "app", "db").Label(2, "tier", "");
  return pool;
}

struct Case {
  const char* name;
  Params params;
  std::vector<size_t> kept;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class LabelSelectorTest : public testing::TestWithParam<Case> {};

TEST_P(LabelSelectorTest, Keeps) {
  auto filter = epp::test::Make("label-selector-filter", GetParam().params);
  ASSERT_TRUE(filter.ok()) << filter.error();
  EXPECT_EQ(filter.Filter(Endpoints()), GetParam().kept);
}

Params Labels(const char* json) { return {{"matchLabels", json}}; }
Params Expressions(const char* json) { return {{"matchExpressions", json}}; }

INSTANTIATE_TEST_SUITE_P(
    Table, LabelSelectorTest,
    testing::Values(
        Case{"Empty", {}, {0, 1, 2, 3}},
        Case{"Nulls", {{"matchLabels", "null"}, {"matchExpressions", "null"}}, {0, 1, 2, 3}},
        Case{"NoTerms", {{"matchLabels", "{}"}, {"matchExpressions", "[]"}}, {0, 1, 2, 3}},
        Case{"Label", Labels(R"({"app": "web"})"), {0, 1}},
        Case{"LabelWithEmptyValue", Labels(R"({"tier": ""})"), {2}},
        Case{"AllLabelsMustHold", Labels(R"({"app":"web","tier":"gold"})"), {0}},
        Case{"In", Expressions(R"([{"key":"app","operator":"In","values":["db","cache"]}])"), {2}},
        Case{"NotInHoldsForAbsent",
             Expressions(R"([{"key":"app","operator":"NotIn","values":["web"]}])"),
             {2, 3}},
        Case{"Exists", Expressions(R"([{"key":"tier","operator":"Exists"}])"), {0, 2}},
        Case{"DoesNotExist",
             Expressions(R"([{"key":"tier","operator":"DoesNotExist","values":[]}])"),
             {1, 3}},
        Case{"LabelsAndExpressions",
             {{"matchLabels", R"({"app":"web"})"},
              {"matchExpressions", R"([{"key":"tier","operator":"DoesNotExist"}])"}},
             {1}},
        Case{"FieldNamesInAnyCase",
             Expressions(R"([{"Key":"tier","OPERATOR":"Exists","Values":null}])"),
             {0, 2}},
        Case{"EscapedText", Labels(R"({"\u0061pp":"w\u0065b"})"), {0, 1}}),
    [](const auto& info) { return info.param.name; });

TEST(LabelSelectorTest, OldNameIsAnAlias) {
  auto filter = epp::test::Make("label-selector-filter");
  ASSERT_EQ(filter.type().alias_count, 1u);
  EXPECT_STREQ(filter.type().aliases[0], "by-label-selector");
}

struct BadCase {
  const char* name;
  Params params;
  const char* error;
};

void PrintTo(const BadCase& c, std::ostream* os) { *os << c.name; }

class LabelSelectorErrorTest : public testing::TestWithParam<BadCase> {};

TEST_P(LabelSelectorErrorTest, Refuses) {
  auto filter = epp::test::Make("label-selector-filter", GetParam().params);
  EXPECT_FALSE(filter.ok());
  EXPECT_THAT(filter.error(), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Table, LabelSelectorErrorTest,
    testing::Values(
        BadCase{"Operator", Expressions(R"([{"key":"a","operator":"in","values":["x"]}])"),
                "matchExpressions[0]: operator: got \"in\""},
        BadCase{"InWithoutValues", Expressions(R"([{"key":"a","operator":"In"}])"),
                "values: want some"},
        BadCase{"ExistsWithValues",
                Expressions(R"([{"key":"a","operator":"Exists","values":["x"]}])"),
                "values: want none"},
        BadCase{"NoKey", Expressions(R"([{"operator":"Exists"}])"), "key: got \"\""},
        BadCase{"BadKey", Labels(R"({"a b":"x"})"), "key: got \"a b\""},
        BadCase{"BadPrefix", Labels(R"({"UPPER/a":"x"})"), "key: got"},
        BadCase{"BadValue", Labels(R"({"a":"x y"})"), "value: got \"x y\""},
        BadCase{"UnknownField", Expressions(R"([{"key":"a","op":"In"}])"), "unknown field \"op\""},
        BadCase{"SecondExpression",
                Expressions(R"([{"key":"a","operator":"Exists"},{"key":"","operator":"Exists"}])"),
                "matchExpressions[1]"},
        BadCase{"NotAList", Expressions(R"({"key":"a"})"), "want a list"},
        BadCase{"NumberForText", Labels(R"({"a":1})"), "want a string"},
        BadCase{"CutOff", Labels(R"({"a":"x)"), "unterminated"},
        BadCase{"CutOffEscape", Labels("{\"a\":\"\\u00"), "escape"},
        BadCase{"HalfASurrogate", Labels(R"({"a":"\ud800"})"), "surrogate"},
        BadCase{"TextBehind", Labels(R"({} x)"), "behind"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
