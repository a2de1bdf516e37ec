// Every interface of epp/plugin.hpp, reached through the C tables by epp/testing.hpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"
#include "everything.h"

namespace {

using epp::sdk_test::Everything;
using epp::test::Cell;
using epp::test::Event;
using epp::test::Make;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

Pool MakePool() {
  Pool pool(3);
  pool.Set(epp::attr::kWaitingQueueSize, {2, std::nullopt, 7})
      .Set(epp::attr::kKvCacheUsage, {0.5, 0, 1})
      .SetLists(epp::attr::kActiveModels, {{"a", "b"}, {}, {"b"}})
      .Label(2, "zone", "z9");
  return pool;
}

TEST(Interfaces, AreListedAndAnswered) {
  const epp_plugin_type& type = epp::detail::Type<Everything>::kRecord;
  auto instance = Make<Everything>();
  ASSERT_TRUE(instance.ok()) << instance.error();
  EXPECT_EQ(type.interface_count, 19u);
  for (uint32_t i = 0; i < type.interface_count; ++i) {
    EXPECT_TRUE(instance.Has(type.interfaces[i])) << type.interfaces[i];
    EXPECT_FALSE(instance.Has((std::string(type.interfaces[i]) + "0").c_str()));
  }
  for (const char* id : {"", "epp.filter", "epp.filter/2", "EPP.FILTER/1", "epp.unheard-of/1"}) {
    EXPECT_FALSE(instance.Has(id)) << id;
  }
}

TEST(Interfaces, RecordStatesWhatTheClassDeclares) {
  const epp_plugin_type& type = epp::detail::Type<Everything>::kRecord;
  EXPECT_EQ(type.struct_size, sizeof(epp_plugin_type));
  EXPECT_STREQ(type.name, "everything");
  EXPECT_STREQ(type.deprecated, "something else");
  EXPECT_EQ(type.stability, EPP_STABILITY_ALPHA);
  EXPECT_EQ(type.param_count, 8u);
  EXPECT_EQ(type.consumes_count, 6u);
  EXPECT_EQ(type.produces_count, 7u);
  ASSERT_EQ(type.alias_count, 2u);
  EXPECT_STREQ(type.aliases[1], "every");
  EXPECT_EQ(type.params[Everything::kMode]->choice_count, 2u);
  EXPECT_FALSE(type.params[Everything::kNames]->default_value.present);
}

TEST(Interfaces, FilterScorePick) {
  const Pool pool = MakePool();
  auto instance = Make<Everything>();
  EXPECT_THAT(instance.Filter(pool), ElementsAre(0));
  Request request;
  instance.host().Symbol("b");
  request.Model("x").TargetModel("b");
  EXPECT_THAT(instance.Score(pool, request), ElementsAre(100.5, 1.0, 110.0));
  EXPECT_THAT(instance.Score({pool, {2, 0}}, request), ElementsAre(110.0, 100.5));
  EXPECT_THAT(instance.Pick(pool, {0.1, 0.9, 0.3}), ElementsAre(1));
  EXPECT_EQ(instance.host().Metric("calls_total", {{"kind", "scored"}}), 2);
}

TEST(Interfaces, NoCandidates) {
  const Pool pool(0);
  auto instance = Make<Everything>();
  EXPECT_TRUE(instance.Filter(pool).empty());
  EXPECT_TRUE(instance.Score(pool).empty());
  EXPECT_EQ(instance.status(), EPP_OK);
}

TEST(Interfaces, ProfileHandlerRounds) {
  const Pool pool(2);
  auto instance = Make<Everything>();
  Request request;
  {
    Profiles profiles{"prefill", "decode"};
    const auto schedule = instance.Schedule(profiles, {{"decode", {1, 0}}}, pool, request);
    EXPECT_THAT(schedule.rounds, ElementsAre(ElementsAre("decode")));
    EXPECT_THAT(schedule.skipped, ElementsAre("prefill"));
    EXPECT_EQ(schedule.primary, "decode");
  }
  {
    Profiles profiles{"prefill", "decode"};
    const auto schedule = instance.Schedule(profiles, {{"prefill", {0}}}, pool, request);
    EXPECT_THAT(schedule.rounds, ElementsAre(ElementsAre("decode"), ElementsAre("prefill")));
    EXPECT_EQ(schedule.primary, "prefill");
  }
  {
    Profiles profiles{"prefill", "decode"};
    EXPECT_EQ(instance.Schedule(profiles, {}, pool, request).primary, "");
    EXPECT_EQ(instance.status(), EPP_UNAVAILABLE);
  }
  EXPECT_TRUE(instance.Check({"a", "b"}).ok());
  EXPECT_EQ(instance.Check({"a"}).message(), "want two profiles");
}

TEST(Interfaces, ProducerWritesColumnsOfEveryType) {
  const Pool pool = MakePool();
  auto instance = Make<Everything>();
  Request request;
  const auto out = instance.Produce(pool, request);
  EXPECT_THAT(out.column("load"), ElementsAre(4, std::nullopt, 14));
  EXPECT_THAT(out.column("share"), ElementsAre(0.25, 0.25, 0.25));
  EXPECT_THAT(out.column("hot"), ElementsAre(false, false, true));
  EXPECT_THAT(out.column("zone"), ElementsAre("", "", "z9"));
  EXPECT_THAT(out.column("models"),
              ElementsAre(Cell::Texts{"m0"}, Cell::Texts{"m1"}, Cell::Texts{"m2"}));
  EXPECT_EQ(out.value("total"), Cell(9));
  EXPECT_FALSE(out.value("unknown").has());
}

TEST(Interfaces, GatesBeforeScheduling) {
  const Pool pool = MakePool();
  auto instance = Make<Everything>();
  Request request;
  instance.RequestHeader(request);
  EXPECT_EQ(instance.status(), EPP_OK);
  EXPECT_THAT(instance.Screen(pool, request), ElementsAre(1, 2));
  EXPECT_TRUE(instance.Admit(pool, request).ok());
  const epp::Status denied = instance.Admit(pool, request.Priority(-1));
  EXPECT_EQ(denied.code(), EPP_RESOURCE_EXHAUSTED);
  EXPECT_EQ(denied.message(), "3 endpoints are busy");
  instance.RequestHeader(request.Header("x-refuse", "1"));
  EXPECT_EQ(instance.status(), EPP_UNAUTHENTICATED);
}

TEST(Interfaces, HooksShareTheStateOfOneRequest) {
  const Pool pool = MakePool();
  auto instance = Make<Everything>();
  Request request;
  request.Body("{}");
  instance.Produce(pool, request);
  const auto edits = instance.PreRequest(Profiles{"p"}.Ok("p", {2, 0}).Primary("p"), pool, request);
  EXPECT_THAT(edits.headers,
              ElementsAre(Pair("x-old", std::nullopt), Pair("x-target", "10.0.0.3:8000")));
  EXPECT_THAT(edits.numbers, ElementsAre(Pair("ns/cost", 2.5)));
  EXPECT_THAT(edits.texts, ElementsAre(Pair("ns/who", "me")));

  EXPECT_EQ(instance.Wants(), EPP_WANT_HEADERS | EPP_WANT_END | EPP_WANT_USAGE);
  Event head;
  EXPECT_EQ(instance.OnHeaders(head.Status(201), request).headers.at("x-status"), "201");
  Event end;
  const auto last = instance.OnBody(end.Usage(10, 32).Served(pool, 2).Last(), request);
  EXPECT_EQ(instance.status(), EPP_OK) << instance.error();
  EXPECT_EQ(last.numbers.at("ns/hooks"), 2);
  EXPECT_EQ(last.numbers.at("ns/tokens"), 32);
}

TEST(Interfaces, ParserGetsAPaddedBody) {
  auto instance = Make<Everything>();
  Request request;
  request.Body("{\"prompt\":\"hi\"}");
  const auto parsed = instance.ParseRequest(request);
  ASSERT_TRUE(parsed) << instance.error();
  EXPECT_EQ(epp::View(parsed->segments[0].bytes), "{\"prompt\":\"hi\"}");
  EXPECT_EQ(parsed->max_output_tokens, -1);
  Request wrong;
  EXPECT_FALSE(instance.ParseRequest(wrong));
  EXPECT_EQ(instance.error(), "not an object");
  Event event;
  EXPECT_EQ(instance.ParseResponse(event.Bytes("12345"), request)->completion_tokens, 5);
  const auto& table = instance.Table<epp_parser>(EPP_PARSER_ID);
  EXPECT_STREQ(table.suffixes[0], "v1/completions");
  EXPECT_STREQ(table.protocols[0], "http");
}

TEST(Interfaces, SourceAndScraper) {
  auto instance = Make<Everything>();
  EXPECT_EQ(epp::View(instance.Plan()->path), "/metrics");
  EXPECT_STREQ(instance.Table<epp_scraper>(EPP_SCRAPER_ID).payload, "text");
  const auto page = instance.Scrape("12345");
  EXPECT_EQ(instance.status(), EPP_OK);
  EXPECT_EQ(page.value("load"), Cell(5));
  EXPECT_EQ(page.value("share"), Cell(0.75));
  EXPECT_EQ(page.value("hot"), Cell(1));
  EXPECT_EQ(page.value("zone"), Cell("z1"));
  EXPECT_EQ(page.value("models"), Cell(Cell::Texts{"a", "b"}));
  EXPECT_FALSE(instance.Scrape("").value("share").has());
  EXPECT_EQ(instance.error(), "empty page");
}

TEST(Interfaces, PoolEventsReadinessDumpService) {
  const Pool pool(2);
  auto instance = Make<Everything>();
  EXPECT_EQ(instance.Ready().code(), EPP_UNAVAILABLE);
  instance.Upserted(pool);
  EXPECT_TRUE(instance.Ready().ok());
  instance.Removed(pool.endpoint(0));
  EXPECT_THAT(instance.Dump(), HasSubstr("\"live\":1"));
  EXPECT_TRUE(instance.Start().ok());
  instance.Drain(5);
  EXPECT_THAT(instance.Dump(), HasSubstr("\"live\":106"));
  instance.Stop();
  EXPECT_THAT(instance.Dump(), HasSubstr("\"live\":0"));
}

TEST(Interfaces, StateMovesToTheSuccessor) {
  const Pool pool(3);
  auto old = Make<Everything>();
  auto next = Make<Everything>();
  auto last = Make<Everything>();
  EXPECT_EQ(next.StateTable().version, 2u);
  EXPECT_EQ(next.StateTable().flags, EPP_STATE_FOLLOWS);
  old.Upserted(pool);
  EXPECT_TRUE(epp::test::MoveState(old, next).ok());
  EXPECT_THAT(next.Dump(), HasSubstr("\"live\":0,\"inherited\":3"));
  next.Upserted(pool.endpoint(0));
  EXPECT_TRUE(epp::test::MoveState(next, last).ok());
  EXPECT_THAT(last.Dump(), HasSubstr("\"live\":0,\"inherited\":4"));

  for (size_t i = 0; i < 3; ++i) old.Removed(pool.endpoint(i));
  EXPECT_TRUE(epp::test::MoveState(old, next).ok());
  EXPECT_TRUE(epp::test::MoveState(next, last).ok());
  EXPECT_THAT(last.Dump(), HasSubstr("\"live\":0,\"inherited\":1"));
}

TEST(Interfaces, StateIsRefused) {
  auto old = Make<Everything>();
  auto next = Make<Everything>();
  EXPECT_EQ(next.LoadState(1, "xx").message(), "version 2 only");
  EXPECT_EQ(next.LoadState(2, "xyz").code(), EPP_INTERNAL);
  EXPECT_THAT(next.Dump(), HasSubstr("\"inherited\":0"));
  EXPECT_TRUE(old.Start().ok());
  old.Upserted(Pool(1).endpoint(0));
  EXPECT_EQ(epp::test::MoveState(old, next).message(), "started");
}

TEST(Interfaces, ParametersAreDecodedAndDefaulted) {
  EXPECT_THAT(
      Make<Everything>().Dump(),
      HasSubstr("\"flag\":true,\"count\":3,\"window\":250000000,\"names\":0,\"rules\":\"\""));
  auto set = Make<Everything>({{"flag", false},
                               {"count", 10},
                               {"ratio", 1},
                               {"mode", "slow"},
                               {"window", "1m"},
                               {"names", std::vector<std::string>{"a", "b"}},
                               {"rules", "[1]"}});
  ASSERT_TRUE(set.ok()) << set.error();
  EXPECT_THAT(set.Dump(), HasSubstr("\"flag\":false,\"count\":10,\"window\":60000000000,"
                                    "\"names\":2,\"rules\":\"[1]\""));
}

struct Refused {
  const char* name;
  epp::test::Params params;
  const char* error;
};
void PrintTo(const Refused& r, std::ostream* os) { *os << r.name; }
class ParameterTest : public ::testing::TestWithParam<Refused> {};

TEST_P(ParameterTest, IsRefused) {
  auto instance = Make<Everything>(GetParam().params);
  EXPECT_FALSE(instance.ok());
  EXPECT_EQ(instance.status(), EPP_INVALID_ARGUMENT);
  EXPECT_EQ(instance.error(), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ParameterTest,
    ::testing::Values(
        Refused{"Unknown", {{"cuont", 1}}, "unknown parameter \"cuont\""},
        Refused{"BelowMin", {{"count", -1}}, "parameter \"count\" is -1, want [0, 10]"},
        Refused{"AboveMax", {{"ratio", 1.5}}, "parameter \"ratio\" is 1.5, want [0, 1]"},
        Refused{
            "DurationAboveMax", {{"window", "61s"}}, "parameter \"window\" is 61, want [0, 60]"},
        Refused{"DurationText",
                {{"window", "5 apples"}},
                "parameter \"window\" has the wrong type, want a duration"},
        Refused{"WrongType",
                {{"count", 1.5}},
                "parameter \"count\" has the wrong type, want an integer"},
        Refused{"Choice",
                {{"mode", "up"}},
                "parameter \"mode\" is \"up\", which is not one of its choices"},
        Refused{"AllTogether",
                {{"count", 11}, {"x", 1}},
                "parameter \"count\" is 11, want [0, 10]; unknown parameter \"x\""},
        Refused{"ByTheTypeItself", {{"mode", "slow"}, {"count", 0}}, "slow needs a count"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
