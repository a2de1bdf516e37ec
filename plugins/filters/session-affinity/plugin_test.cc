#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

using epp::test::Edits;
using epp::test::Event;
using epp::test::Host;
using epp::test::Instance;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using epp::test::Selection;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

constexpr const char* kFilter = "session-affinity-filter";
constexpr const char* kScorer = "session-affinity-scorer";
constexpr const char* kMulticluster = "multicluster-session-affinity-filter";
constexpr const char* kPodB = "L3BvZC1i";  // /pod-b

Pool TwoPods() {
  Pool pool(2);
  pool.Name(0, "/pod-a").Name(1, "/pod-b");
  return pool;
}

// ---- encoded_endpoint_header ----

struct HeaderCase {
  const char* name;
  const char* header;
  std::string value;
  std::vector<size_t> kept;
};

void PrintTo(const HeaderCase& c, std::ostream* os) { *os << c.name; }

class EncodedHeaderTest : public testing::TestWithParam<HeaderCase> {};

TEST_P(EncodedHeaderTest, FilterAndScorer) {
  for (const char* type : {kFilter, kMulticluster}) {
    auto filter = epp::test::Make(type);
    Request request;
    request.Header(GetParam().header, GetParam().value);
    EXPECT_EQ(filter.Filter(TwoPods(), request), GetParam().kept);
  }
  auto scorer = epp::test::Make(kScorer);
  Request request;
  request.Header(GetParam().header, GetParam().value);
  std::vector<double> scores(2, 0);
  if (GetParam().kept.size() == 1) scores[GetParam().kept[0]] = 1;
  EXPECT_EQ(scorer.Score(TwoPods(), request), scores);
}

INSTANTIATE_TEST_SUITE_P(
    Table, EncodedHeaderTest,
    testing::Values(HeaderCase{"Case082Known", "x-session-token", kPodB, {1}},
                    HeaderCase{"Case082Garbage", "x-session-token", "%%%", {0, 1}},
                    HeaderCase{"Case082Unknown", "x-session-token", "L3BvZC1j", {0, 1}},
                    HeaderCase{"Case082Absent", "x-other", kPodB, {0, 1}},
                    HeaderCase{"Empty", "x-session-token", "", {0, 1}},
                    HeaderCase{"TooLong", "x-session-token", std::string(100000, 'A'), {0, 1}}),
    [](const auto& info) { return info.param.name; });

TEST(EncodedHeaderTest, Case083CustomHeader) {
  auto filter = epp::test::Make(kFilter, {{"encodedEndpointHeaderConfig.header", " X-Pod "}});
  Request by_default;
  by_default.Header("x-session-token", kPodB);
  EXPECT_THAT(filter.Filter(TwoPods(), by_default), ElementsAre(0, 1));
  Request custom;
  custom.Header("x-pod", kPodB);
  EXPECT_THAT(filter.Filter(TwoPods(), custom), ElementsAre(1));
}

TEST(EncodedHeaderTest, TokenOfTheFirstResponseLeadsBack) {
  for (const char* type : {kFilter, kScorer, kMulticluster}) {
    auto plugin = epp::test::Make(type);
    const Pool pool = TwoPods();
    Request first;
    plugin.PreRequest(Profiles{"p"}.Ok("p", {0}).Primary("p"), pool, first);
    Event headers;
    headers.Served(pool, 1);
    const Edits edits = plugin.OnHeaders(headers, first);
    EXPECT_THAT(edits.headers, ElementsAre(Pair("x-session-token", std::optional(kPodB))));
  }
}

TEST(EncodedHeaderTest, UnknownServerSetsNothing) {
  auto filter = epp::test::Make(kFilter);
  Request request;
  Event headers;
  EXPECT_THAT(filter.OnHeaders(headers, request).headers, IsEmpty());
}

TEST(EncodedHeaderTest, TargetOfTheNamedProfile) {
  auto filter = epp::test::Make(kFilter, {{"profileName", "prefill"}});
  const Pool pool = TwoPods();
  Request request;
  filter.PreRequest(
      Profiles{"decode", "prefill"}.Ok("decode", {0}).Ok("prefill", {1, 0}).Primary("decode"), pool,
      request);
  Event headers;
  headers.Served(pool, 0);
  EXPECT_THAT(filter.OnHeaders(headers, request).headers,
              ElementsAre(Pair("x-session-token", std::optional(kPodB))));

  Request unscheduled;
  filter.PreRequest(Profiles{"decode", "prefill"}.Ok("decode", {0}).Primary("decode"), pool,
                    unscheduled);
  EXPECT_THAT(filter.OnHeaders(headers, unscheduled).headers, IsEmpty());
}

// ---- session_id ----

// Requests of sessions, each from its filter to its pre-request hook.
class SessionIdTest : public testing::Test {
 protected:
  explicit SessionIdTest(const char* type = kFilter) : type_(type) { Restart({}); }

  void Restart(Params params) {
    params.Set("strategy", "session_id");
    plugin_ = std::make_unique<Instance>(*epp::test::Library::Linked().Find(type_), params, &host_);
    ASSERT_TRUE(plugin_->ok()) << plugin_->error();
  }
  // Candidates are rows; the request goes to pool row `picked`.
  std::vector<size_t> Send(const char* session, std::vector<size_t> rows, uint32_t picked) {
    Request request;
    request.Header("x-session-id", session);
    std::vector<size_t> kept = plugin_->Filter(Selection(pool_, std::move(rows)), request);
    plugin_->PreRequest(Profiles{"p"}.Ok("p", {picked}).Primary("p"), pool_, request);
    return kept;
  }
  std::vector<size_t> Look(const char* session) {
    Request request;
    request.Header("x-session-id", session);
    return plugin_->Filter(pool_, request);
  }

  const char* type_;
  Host host_;
  Pool pool_ = TwoPods();
  std::unique_ptr<Instance> plugin_;
};

TEST_F(SessionIdTest, BindsToWhatWasPicked) {
  EXPECT_THAT(Send("s", {0, 1}, 1), ElementsAre(0, 1));
  EXPECT_THAT(Look("s"), ElementsAre(1));
  EXPECT_THAT(Look(" s\t"), ElementsAre(1)) << "blanks at the ends do not count";
  EXPECT_THAT(Look("other"), ElementsAre(0, 1));
  EXPECT_THAT(Look("  "), ElementsAre(0, 1));
}

TEST_F(SessionIdTest, Case084MigratesWhenAbsent) {
  Send("s", {0, 1}, 0);
  EXPECT_THAT(Send("s", {1}, 1), ElementsAre(0)) << "everyone";
  EXPECT_THAT(Look("s"), ElementsAre(1));
}

TEST_F(SessionIdTest, Case085StaysWhenPresentButNotPicked) {
  Send("s", {0, 1}, 0);
  EXPECT_THAT(Send("s", {0, 1}, 1), ElementsAre(0));
  EXPECT_THAT(Look("s"), ElementsAre(0));
}

TEST_F(SessionIdTest, RequestThatDidNotLookDoesNotMove) {
  Send("s", {0, 1}, 0);
  Request request;
  request.Header("x-session-id", "s");
  plugin_->PreRequest(Profiles{"p"}.Ok("p", {1}).Primary("p"), pool_, request);
  EXPECT_THAT(Look("s"), ElementsAre(0));
}

TEST_F(SessionIdTest, PresentInOneProfileIsPresent) {
  Send("s", {0, 1}, 0);
  Request request;
  request.Header("x-session-id", "s");
  plugin_->Filter(Selection(pool_, {0}), request);
  plugin_->Filter(Selection(pool_, {1}), request);
  plugin_->PreRequest(Profiles{"p"}.Ok("p", {1}).Primary("p"), pool_, request);
  EXPECT_THAT(Look("s"), ElementsAre(0));
}

TEST_F(SessionIdTest, EndpointThatCameBackKeepsItsSessions) {
  Send("s", {0, 1}, 0);
  pool_.Replace(0);
  EXPECT_THAT(Look("s"), ElementsAre(0));
}

TEST_F(SessionIdTest, Expires) {
  Restart(
      {{"sessionIdConfig.evictionTtlSeconds", 60}, {"sessionIdConfig.evictionSweepSeconds", 5}});
  Send("s", {0, 1}, 0);
  host_.Advance(59'000'000'000);
  EXPECT_THAT(Look("s"), ElementsAre(0));
  host_.Advance(6'000'000'000);
  EXPECT_THAT(Look("s"), ElementsAre(0, 1));
}

TEST_F(SessionIdTest, ZeroTimesAreDefaults) {
  Restart({{"sessionIdConfig.evictionTtlSeconds", 0}, {"sessionIdConfig.evictionSweepSeconds", 0}});
  Send("s", {0, 1}, 0);
  host_.Advance(299'000'000'000);
  EXPECT_THAT(Look("s"), ElementsAre(0));
  host_.Advance(11'000'000'000);
  EXPECT_THAT(Look("s"), ElementsAre(0, 1));
}

TEST_F(SessionIdTest, WritesNothingToTheClient) {
  Request request;
  request.Header("x-session-id", "s");
  EXPECT_THAT(plugin_->PreRequest(Profiles{"p"}.Ok("p", {1}).Primary("p"), pool_, request).headers,
              IsEmpty());
  Event headers;
  headers.Served(pool_, 1);
  EXPECT_THAT(plugin_->OnHeaders(headers, request).headers, IsEmpty());
}

TEST_F(SessionIdTest, NamedProfile) {
  Restart({{"profileName", "prefill"}});
  Request request;
  request.Header("x-session-id", "s");
  plugin_->PreRequest(
      Profiles{"decode", "prefill"}.Ok("decode", {0}).Failed("prefill").Primary("decode"), pool_,
      request);
  EXPECT_THAT(Look("s"), ElementsAre(0, 1));
  plugin_->PreRequest(
      Profiles{"decode", "prefill"}.Ok("decode", {0}).Ok("prefill", {1}).Primary("decode"), pool_,
      request);
  EXPECT_THAT(Look("s"), ElementsAre(1));
}

TEST_F(SessionIdTest, FirstSourceThatIsNotBlank) {
  Restart({{"sessionIdConfig.sources",
            R"([{"attribute":"SessionIDDataKey"},{"header":"X-Chat"},
                {"attribute":"a","producer":"p"}])"}});
  const epp_str own = epp::Str(" s "), blank = epp::Str("  "), last = epp::Str("t");
  const auto send = [&](const epp_str* first, const char* chat, const epp_str* third,
                        uint32_t picked) {
    Request request;
    if (first) request.Set("SessionIDDataKey/session-id-producer", static_cast<const void*>(first));
    request.Header("x-chat", chat);
    if (third) request.Set("a/p", static_cast<const void*>(third));
    std::vector<size_t> kept = plugin_->Filter(pool_, request);
    plugin_->PreRequest(Profiles{"p"}.Ok("p", {picked}).Primary("p"), pool_, request);
    return kept;
  };
  EXPECT_THAT(send(&own, "t", nullptr, 0), ElementsAre(0, 1));
  EXPECT_THAT(send(&blank, "s", &last, 0), ElementsAre(0));
  EXPECT_THAT(send(nullptr, "", &last, 1), ElementsAre(0, 1));
  EXPECT_THAT(send(nullptr, "t", nullptr, 0), ElementsAre(1));
  EXPECT_THAT(send(nullptr, "", nullptr, 0), ElementsAre(0, 1));
}

TEST_F(SessionIdTest, OutlivesAReload) {
  Send("s", {0, 1}, 1);
  Instance next(plugin_->type(), {{"strategy", "session_id"}}, &host_);
  ASSERT_TRUE(epp::test::MoveState(*plugin_, next).ok());
  Request request;
  request.Header("x-session-id", "s");
  EXPECT_THAT(next.Filter(pool_, request), ElementsAre(1));
  EXPECT_EQ(next.Dump(), R"({"sessions":1})");
  EXPECT_FALSE(next.LoadState(2, "").ok());
  EXPECT_FALSE(next.LoadState(1, "short").ok());
  EXPECT_THAT(next.Filter(pool_, request), ElementsAre(1));
}

class SessionIdScorerTest : public SessionIdTest {
 protected:
  SessionIdScorerTest() : SessionIdTest(kScorer) {}
};

TEST_F(SessionIdScorerTest, BoundScoresOne) {
  const auto send = [&](uint32_t picked) {
    Request request;
    request.Header("x-session-id", "s");
    std::vector<double> scores = plugin_->Score(pool_, request);
    plugin_->PreRequest(Profiles{"p"}.Ok("p", {picked}).Primary("p"), pool_, request);
    return scores;
  };
  EXPECT_THAT(send(1), ElementsAre(0, 0));
  EXPECT_THAT(send(0), ElementsAre(0, 1));
  EXPECT_THAT(send(1), ElementsAre(0, 1));
}

// ---- parameters ----

struct BadCase {
  const char* name;
  Params params;
  const char* error;
};

void PrintTo(const BadCase& c, std::ostream* os) { *os << c.name; }

class SessionAffinityErrorTest : public testing::TestWithParam<BadCase> {};

TEST_P(SessionAffinityErrorTest, Refuses) {
  for (const char* type : {kFilter, kScorer, kMulticluster}) {
    auto plugin = epp::test::Make(type, GetParam().params);
    EXPECT_FALSE(plugin.ok());
    EXPECT_THAT(plugin.error(), HasSubstr(GetParam().error));
  }
}

Params Sources(const char* json) { return {{"sessionIdConfig.sources", json}}; }

INSTANTIATE_TEST_SUITE_P(
    Table, SessionAffinityErrorTest,
    testing::Values(
        BadCase{"Strategy", {{"strategy", "cookie"}}, "cookie"},
        BadCase{"Ttl", {{"sessionIdConfig.evictionTtlSeconds", -1}}, "evictionTtlSeconds"},
        BadCase{"Sweep", {{"sessionIdConfig.evictionSweepSeconds", -1}}, "evictionSweepSeconds"},
        BadCase{"BothKinds", Sources(R"([{"header":"a","attribute":"b"}])"), "want either"},
        BadCase{"NoKind", Sources(R"([{"header":" "}])"), "want either"},
        BadCase{"ProducerOfAHeader", Sources(R"([{"header":"a","producer":"p"}])"),
                "only an attribute"},
        BadCase{"UnknownField", Sources(R"([{"cookie":"a"}])"), "unknown field \"cookie\""},
        BadCase{"NotAList", Sources(R"({"header":"a"})"), "want a list"},
        BadCase{"CutOff", Sources(R"([{"header":"a")"), "sessionIdConfig.sources"}),
    [](const auto& info) { return info.param.name; });

TEST(SessionAffinityTest, NoSourcesMeansTheDefault) {
  for (const char* json : {"[]", "null"}) {
    EXPECT_TRUE(epp::test::Make(kFilter, Sources(json)).ok()) << json;
  }
}

TEST(SessionAffinityTest, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), IsEmpty());
  for (const char* type : {kFilter, kScorer, kMulticluster}) {
    const epp_plugin_type* const record = epp::test::Library::Linked().Find(type);
    ASSERT_NE(record, nullptr) << type;
    EXPECT_EQ(record->stability, EPP_STABILITY_ALPHA);
    EXPECT_EQ(epp::test::Make(type).Has(EPP_FILTER_ID), type != kScorer);
    EXPECT_EQ(epp::test::Make(type).Has(EPP_SCORER_ID), type == kScorer);
  }
}

}  // namespace
