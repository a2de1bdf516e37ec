#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Params;
using epp::test::Pool;
using testing::ElementsAre;
using testing::IsEmpty;

// One endpoint a value; null is an endpoint without the label.
Pool Labelled(const char* label, const std::vector<const char*>& values) {
  Pool pool(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != nullptr) pool.Label(i, label, values[i]);
  }
  return pool;
}

Pool Tiers() {
  return Labelled("tier", {"frontend", "backend", "system", "other", "backend", nullptr});
}

TEST(ByLabelTest, Case079KeepsListedValues) {
  const Pool pool =
      Labelled("tier", {"frontend", "backend", "system", "frontend", "backend", nullptr});
  auto filter = epp::test::Make(
      "by-label", {{"label", "tier"},
                   {"validValues", std::vector<std::string>{"frontend", "backend", "system"}}});
  ASSERT_TRUE(filter.ok()) << filter.error();
  EXPECT_THAT(filter.Filter(pool), ElementsAre(0, 1, 2, 3, 4));
}

TEST(ByLabelTest, Case079KeepsOnlyUnlabelled) {
  auto filter = epp::test::Make("by-label", {{"label", "tier"}, {"allowsNoLabel", true}});
  ASSERT_TRUE(filter.ok()) << filter.error();
  EXPECT_THAT(filter.Filter(Tiers()), ElementsAre(5));
}

TEST(ByLabelTest, AbsentLabelReadsAsEmptyText) {
  auto filter = epp::test::Make(
      "by-label", {{"label", "tier"}, {"validValues", std::vector<std::string>{"", "other"}}});
  EXPECT_THAT(filter.Filter(Tiers()), ElementsAre(3, 5));
  EXPECT_THAT(filter.Filter(Labelled("tier", {"", "x"})), ElementsAre(0));
}

TEST(ByLabelTest, EmptyValueIsNotAnAbsentLabel) {
  auto filter = epp::test::Make("by-label", {{"label", "tier"}, {"allowsNoLabel", true}});
  EXPECT_THAT(filter.Filter(Labelled("tier", {"", nullptr})), ElementsAre(1));
}

TEST(ByLabelTest, NoCandidates) {
  auto filter = epp::test::Make("by-label", {{"label", "tier"}, {"allowsNoLabel", true}});
  EXPECT_THAT(filter.Filter(Pool(0)), IsEmpty());
}

TEST(ByLabelTest, Case080Parameters) {
  const auto error = [](const Params& p) { return epp::test::Make("by-label", p).error(); };
  EXPECT_THAT(error({{"label", ""}, {"allowsNoLabel", true}}), testing::HasSubstr("label"));
  EXPECT_THAT(error({{"allowsNoLabel", true}}), testing::HasSubstr("label"));
  EXPECT_THAT(error({{"label", "tier"}}), testing::HasSubstr("validValues"));
}

TEST(RoleFilterTest, Case081Roles) {
  const Pool pool =
      Labelled("llm-d.ai/role", {"decode", "prefill", "encode", "prefill-decode", "both",
                                 "encode-prefill", "encode-prefill-decode", "something", nullptr});
  EXPECT_THAT(epp::test::Make("decode-filter").Filter(pool), ElementsAre(0, 3, 4, 6, 8));
  EXPECT_THAT(epp::test::Make("prefill-filter").Filter(pool), ElementsAre(1, 3, 4, 5, 6));
  EXPECT_THAT(epp::test::Make("encode-filter").Filter(pool), ElementsAre(2, 5, 6));
}

TEST(RoleFilterTest, IgnoresParameters) {
  for (const char* type : {"decode-filter", "prefill-filter", "encode-filter"}) {
    EXPECT_TRUE(epp::test::Make(type, {{"anything", "x"}}).ok()) << type;
  }
}

TEST(RoleFilterTest, MoreThanAWordOfCandidates) {
  std::vector<const char*> roles(150, "prefill");
  roles[0] = roles[63] = roles[64] = roles[149] = "decode";
  auto filter = epp::test::Make("decode-filter");
  EXPECT_THAT(filter.Filter(Labelled("llm-d.ai/role", roles)), ElementsAre(0, 63, 64, 149));
}

}  // namespace
