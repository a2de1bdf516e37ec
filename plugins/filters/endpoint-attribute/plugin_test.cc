#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using epp::test::Pool;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "endpoint-attribute-filter";
constexpr std::nullopt_t kNone = std::nullopt;

Params Threshold(const char* op, double value, const char* missing = "Pass",
                 bool fallback = false) {
  return {{"attribute", "x"},
          {"onMissing", missing},
          {"fallbackOnEmpty", fallback},
          {"algorithm.type", "threshold"},
          {"algorithm.threshold.operator", op},
          {"algorithm.threshold.value", value}};
}

struct Case {
  const char* name;
  Params params;
  std::vector<std::optional<double>> values;
  std::vector<size_t> kept;
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class EndpointAttributeTest : public testing::TestWithParam<Case> {};

TEST_P(EndpointAttributeTest, Keeps) {
  auto filter = epp::test::Make(kType, GetParam().params);
  ASSERT_TRUE(filter.ok()) << filter.error();
  Pool pool(GetParam().values.size());
  pool.Set("x/core-metrics-extractor", GetParam().values);
  EXPECT_EQ(filter.Filter(pool), GetParam().kept);
}

INSTANTIATE_TEST_SUITE_P(
    Table, EndpointAttributeTest,
    testing::Values(
        Case{"Case067Less", Threshold("LessThan", 10), {5, 10, 15}, {0}},
        Case{"Case067LessOrEqual", Threshold("LessThanOrEqual", 10), {5, 10, 15}, {0, 1}},
        Case{"Case067Greater", Threshold("GreaterThan", 10), {5, 10, 15}, {2}},
        Case{"Case067GreaterOrEqual", Threshold("GreaterThanOrEqual", 10), {5, 10, 15}, {1, 2}},
        Case{"Case068Equal", Threshold("Equal", 10), {5, 10}, {1}},
        Case{"Case068NotEqual", Threshold("NotEqual", 10), {5, 10}, {0}},
        Case{"Case069MissingPasses", Threshold("LessThan", 10), {15, kNone}, {1}},
        Case{"Case069MissingFails", Threshold("LessThan", 10, "Fail"), {5, kNone}, {0}},
        Case{"Case069Fallback", Threshold("LessThan", 10, "Pass", true), {15, 20}, {0, 1}},
        Case{"Empty", Threshold("LessThan", 10), {15, 20}, {}},
        Case{"FallbackIsForNobodyOnly", Threshold("LessThan", 10, "Pass", true), {15, 5}, {1}},
        Case{"NotANumberIsMissing", Threshold("NotEqual", 10, "Fail"), {__builtin_nan(""), 5}, {1}},
        Case{"NoCandidates", Threshold("LessThan", 10, "Pass", true), {}, {}}),
    [](const auto& info) { return info.param.name; });

Params With(const char* attribute, const char* producer) {
  Params params{{"attribute", attribute},
                {"algorithm.type", "threshold"},
                {"algorithm.threshold.operator", "LessThan"},
                {"algorithm.threshold.value", 10}};
  if (producer != nullptr) params.Set("producer", producer);
  return params;
}

const epp_attr_spec& Consumed(epp::test::Instance& filter) {
  uint32_t count = 0;
  const auto& table = filter.Table<epp_attributes>(EPP_ATTRIBUTES_ID);
  const epp_attr_spec* const* specs = table.consumes(filter.Self(), &count);
  EXPECT_EQ(count, 1u);
  return *specs[0];
}

TEST(EndpointAttributeTest, Producers) {
  auto by_default = epp::test::Make(kType, With("x", nullptr));
  EXPECT_STREQ(Consumed(by_default).default_producer, "core-metrics-extractor");
  auto named = epp::test::Make(kType, With("GPUUtilization", "dcgm-extractor"));
  EXPECT_STREQ(Consumed(named).default_producer, "dcgm-extractor");
  auto none = epp::test::Make(kType, With("llm-d.ai/multicluster-queue-size", ""));
  ASSERT_TRUE(none.ok()) << none.error();
  EXPECT_EQ(Consumed(none).default_producer, nullptr);
  EXPECT_STREQ(Consumed(none).key, "llm-d.ai/multicluster-queue-size");
}

TEST(EndpointAttributeTest, IntegersToo) {
  auto filter = epp::test::Make(kType, With("WaitingQueueSize", nullptr));
  EXPECT_EQ(Consumed(filter).type, EPP_T_I64);
  Pool pool(3);
  pool.Set(epp::attr::kWaitingQueueSize, {9, 10, 11});
  EXPECT_THAT(filter.Filter(pool), ElementsAre(0));
}

struct BadCase {
  const char* name;
  Params params;
  const char* error;
};

void PrintTo(const BadCase& c, std::ostream* os) { *os << c.name; }

class EndpointAttributeErrorTest : public testing::TestWithParam<BadCase> {};

TEST_P(EndpointAttributeErrorTest, Refuses) {
  auto filter = epp::test::Make(kType, GetParam().params);
  EXPECT_FALSE(filter.ok());
  EXPECT_THAT(filter.error(), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Table, EndpointAttributeErrorTest,
    testing::Values(BadCase{"Nothing", {}, "\"attribute\""},
                    BadCase{"NoAlgorithm", {{"attribute", "x"}}, "\"algorithm.type\""},
                    BadCase{"NoOperator",
                            {{"attribute", "x"},
                             {"algorithm.type", "threshold"},
                             {"algorithm.threshold.value", 1}},
                            "\"algorithm.threshold.operator\""},
                    BadCase{"NoValue",
                            {{"attribute", "x"},
                             {"algorithm.type", "threshold"},
                             {"algorithm.threshold.operator", "Equal"}},
                            "\"algorithm.threshold.value\""},
                    BadCase{"Operator", Threshold("Lower", 1), "Lower"},
                    BadCase{"Missing", Threshold("Equal", 1, "Maybe"), "Maybe"},
                    BadCase{"EmptyKey", With("", nullptr), "attribute: got \"\""},
                    BadCase{"Slash", With("GPUUtilization/dcgm-extractor", nullptr),
                            "attribute \"GPUUtilization\" and producer \"dcgm-extractor\""},
                    BadCase{"Label", With("label/zone", ""), "label-selector-filter"}),
    [](const auto& info) { return info.param.name; });

TEST(EndpointAttributeTest, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), testing::IsEmpty());
  EXPECT_EQ(epp::test::Library::Linked().Find(kType)->stability, EPP_STABILITY_ALPHA);
}

}  // namespace
