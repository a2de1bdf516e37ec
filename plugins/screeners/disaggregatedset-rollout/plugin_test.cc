#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Instance;
using epp::test::Params;
using epp::test::Pool;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr const char* kType = "disaggregatedset-rollout-screener";
constexpr const char* kRevision = "disaggregatedset.x-k8s.io/revision";
constexpr const char* kRole = "disaggregatedset.x-k8s.io/role";
constexpr const char* kStrict =
    R"([{"name":"rev","headerName":"X-Revision","labelKey":"disaggregatedset.x-k8s.io/revision","mode":"strict"},
        {"name":"zone","headerName":"x-zone","labelKey":"zone","mode":"prefer"}])";

Params Gated(const char* mode = "sum") {
  return {{"scope.labelSelector", "app=llm"},
          {"headerSelectors", kStrict},
          {"revisionGating.mode", mode},
          {"revisionGating.requireRoles.values", std::vector<std::string>{"prefill", "decode"}}};
}

// Endpoints 0 to 3 are prefill, decode of v1, then of v2.
Pool TwoRevisions() {
  Pool pool(4);
  for (size_t i = 0; i < 4; ++i) {
    pool.Label(i, "app", "llm").Label(i, kRevision, i < 2 ? "v1" : "v2");
    pool.Label(i, kRole, i % 2 ? "decode" : "prefill");
  }
  return pool;
}

std::vector<size_t> Screened(Instance& screener, const Pool& pool, const char* revision = nullptr) {
  epp::test::Request request;
  if (revision) request.Header("x-revision", revision);
  const auto kept = screener.Screen(pool, request);
  EXPECT_EQ(screener.status(), EPP_OK) << screener.error();
  return kept;
}

TEST(RolloutScreener, OneRevisionByLot) {
  const Pool pool = TwoRevisions();
  auto screener = epp::test::Make(kType, Gated());
  ASSERT_TRUE(screener.ok()) << screener.error();
  screener.Upserted(pool);
  int first = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto kept = Screened(screener, pool);
    ASSERT_EQ(kept.size(), 2u);
    EXPECT_EQ(kept[0] + 1, kept[1]);
    first += kept[0] == 0;
  }
  EXPECT_GT(first, 420);
  EXPECT_LT(first, 580);
  EXPECT_DOUBLE_EQ(screener.host().Metric("llm_d_epp_disaggregatedset_revision_gating_share",
                                          {{"plugin_type", kType},
                                           {"plugin_name", "under-test"},
                                           {"mode", "sum"},
                                           {"revision", "v2"}}),
                   0.5);
}

TEST(RolloutScreener, AStrictHeaderPins) {
  const Pool pool = TwoRevisions();
  auto screener = epp::test::Make(kType, Gated("max-role"));
  screener.Upserted(pool);
  EXPECT_THAT(Screened(screener, pool, "v1"), ElementsAre(0, 1));
  EXPECT_THAT(Screened(screener, pool, "v2"), ElementsAre(2, 3));
  EXPECT_THAT(Screened(screener, pool, "v9"), IsEmpty());
  EXPECT_DOUBLE_EQ(
      screener.host().Metric(
          "llm_d_epp_disaggregatedset_strict_header_no_match_total",
          {{"plugin_type", kType}, {"plugin_name", "under-test"}, {"selector", "rev"}}),
      1);
}

TEST(RolloutScreener, Case108FailsClosed) {
  Pool pool = TwoRevisions();
  auto screener = epp::test::Make(kType, Gated());
  EXPECT_THAT(Screened(screener, pool), IsEmpty()) << "no pod is known";
  screener.Upserted(pool);
  screener.Removed(pool.endpoint(3));
  EXPECT_THAT(Screened(screener, pool, "v2"), IsEmpty()) << "pinned, but without a decode pod";
  EXPECT_THAT(Screened(screener, pool), ElementsAre(0, 1));
  screener.Removed(pool.endpoint(0));
  EXPECT_THAT(Screened(screener, pool), IsEmpty()) << "no revision is complete";
}

TEST(RolloutScreener, OnlyPodsInScopeCount) {
  Pool pool = TwoRevisions();
  pool.Label(3, "app", "other");
  auto screener = epp::test::Make(kType, Gated());
  screener.Upserted(pool);
  EXPECT_THAT(Screened(screener, pool), ElementsAre(0, 1));
}

TEST(RolloutScreener, Disabled) {
  const Pool pool = TwoRevisions();
  auto screener = epp::test::Make(kType, {{"scope.labelSelector", "app"},
                                          {"headerSelectors", kStrict},
                                          {"revisionGating.mode", "disabled"}});
  ASSERT_TRUE(screener.ok()) << screener.error();
  EXPECT_THAT(Screened(screener, pool), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Screened(screener, pool, "v2"), ElementsAre(2, 3));
}

TEST(RolloutScreener, ResponsesSayWhereTheyComeFrom) {
  Pool pool = TwoRevisions();
  pool.Label(1, "zone", "z1");
  auto screener = epp::test::Make(kType, Gated());
  epp::test::Request request;
  epp::test::Event one, two, unknown;
  EXPECT_THAT(screener.OnHeaders(one.Served(pool, 1), request).headers,
              ElementsAre(Pair("x-revision", "v1"), Pair("x-zone", "z1")));
  EXPECT_THAT(screener.OnHeaders(two.Served(pool, 2), request).headers,
              ElementsAre(Pair("x-revision", "v2")));
  EXPECT_THAT(screener.OnHeaders(unknown, request).headers, IsEmpty());
}

TEST(RolloutScreener, WrongParameters) {
  struct Case {
    Params params;
    const char* says;
  };
  const auto with = [](const char* name, epp::test::ParamValue value) {
    const Params usual = Gated();
    Params params;
    for (const auto& s : usual.settings()) {
      if (s.name != name) params.Set(s.name, s.value);
    }
    params.Set(name, std::move(value));
    return params;
  };
  const Case cases[] = {
      {with("scope.labelSelector", "a in"), "scope.labelSelector: got"},
      {with("revisionGating.mode", "max"), "revisionGating.mode"},
      {with("revisionGating.requireRoles.values", std::vector<std::string>{}), "there is none"},
      {with("revisionGating.requireRoles.values", std::vector<std::string>{"a", "a"}), "twice"},
      {with("revisionGating.requireRoles.values", std::vector<std::string>{" "}), "blank"},
      {with("revisionGating.requiredRoles", "a"), "requiredRoles"},
      {with("headerSelectors", R"([{"name":"a","headerName":"h","labelKey":"l"}])"), "strict or"},
      {with("headerSelectors", R"([{"name":"a","headerName":"h","mode":"strict"}])"), "labelKey"},
      {with("headerSelectors", R"([{"name":"a","headerName":"h","labelKey":"l","mode":"strict"},
                                   {"name":"b","headerName":"H","labelKey":"l","mode":"strict"}])"),
       "two selectors read"},
      {with("headerSelectors", R"([{"name":"a","headerName":"h","labelKey":"l","mode":"strict"},
                                   {"name":"a","headerName":"i","labelKey":"l","mode":"strict"}])"),
       "two selectors are named"},
      {with("headerSelectors", R"([{"label":"a"}])"), "unknown member"},
  };
  for (const Case& c : cases) {
    auto screener = epp::test::Make(kType, c.params);
    EXPECT_FALSE(screener.ok()) << c.says;
    EXPECT_THAT(screener.error(), HasSubstr(c.says));
  }
}

TEST(RolloutScreener, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
