// Compatibility within the major, in both directions: libraries built with the headers of an older
// minor on this host, and today's libraries on a host of that minor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "tests/abi/old_host.h"

namespace {

using epp::abi::OldAbi;
using epp::abi::OldHost;
using epp::test::Cell;
using epp::test::Host;
using epp::test::Instance;
using epp::test::Library;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Today's header is at least as new.
const OldAbi& Old() {
  static const auto& abi = *new OldAbi(EPP_OLD_LAYOUT);
  return abi;
}

std::string Golden(const std::string& name) { return std::string(EPP_GOLDEN) + "/" + name + ".so"; }

// ---- Old libraries on this host ---------------------------------------------------------------

TEST(OldOnNew, Records) {
  for (const char* name : {"golden-filter", "golden-scorer", "golden-picker", "golden-scraper"}) {
    const Library library(Golden(name));
    ASSERT_TRUE(library.ok()) << library.error();
    EXPECT_EQ(library.module().abi_minor, Old().minor);
    EXPECT_THAT(epp::test::Lint(library.module()), ::testing::IsEmpty()) << name;
  }
}

TEST(OldOnNew, Scorer) {
  const Library library(Golden("golden-scorer"));
  Pool pool(3);
  pool.Set(epp::attr::kWaitingQueueSize, {0, 5, 10});
  Host host;
  EXPECT_THAT(library.Make("golden-scorer", {}, &host).Score(pool), ElementsAre(0.5, 0.25, 0));
  pool.Set(epp::attr::kKvCacheUsage, {0.5, 0.0, 1.0});
  EXPECT_THAT(library.Make("golden-scorer", {{"mode", "inverse"}}).Score(pool),
              ElementsAre(0.25, 0.25, 1));
  EXPECT_THAT(library.Make("golden-scorer", {{"mode", "inverse"}, {"cacheWeight", 0}}).error(),
              HasSubstr("needs a cacheWeight"));
  auto limited = library.Make("golden-scorer", {{"limit", 2}});
  limited.Score(pool);
  EXPECT_EQ(limited.status(), EPP_RESOURCE_EXHAUSTED);
}

TEST(OldOnNew, Filter) {
  const Library library(Golden("golden-filter"));
  Pool pool(3);
  pool.Label(0, "zone", "a").Label(1, "zone", "b");
  auto filter = library.Make("golden-filter");
  EXPECT_THAT(filter.Filter(pool), ElementsAre(0, 1, 2));
  Request request;
  request.Header("x-zone", "b");
  EXPECT_THAT(filter.Filter(pool, request), ElementsAre(1));
  EXPECT_THAT(filter.Filter(pool, request), ElementsAre(1));  // with the state of the first call
}

TEST(OldOnNew, Picker) {
  const Library library(Golden("golden-picker"));
  EXPECT_THAT(library.Make("golden-picker").Pick(Pool(3), {0.5, 0.9, 0.5}), ElementsAre(1, 0, 2));
  EXPECT_EQ(library.Make("golden-picker", {{"shuffle", true}}).Pick(Pool(3), {0.5, 0.9, 0.5})[0],
            1u);
}

TEST(OldOnNew, Scraper) {
  const Library library(Golden("golden-scraper"));
  auto scraper = library.Make("golden-scraper", {{"path", "/load"}});
  EXPECT_EQ(epp::View(scraper.Plan()->path), "/load");
  EXPECT_EQ(scraper.Ready().code(), EPP_UNAVAILABLE);
  const auto written = scraper.Scrape("# x\nvllm:num_requests_waiting{a=\"b\"} 7\n");
  EXPECT_EQ(written.value(epp::attr::kWaitingQueueSize), Cell(7));
  EXPECT_TRUE(scraper.Ready().ok());
  EXPECT_EQ(scraper.Dump(), "{\"pages\":1}");
  auto next = library.Make("golden-scraper");
  EXPECT_TRUE(epp::test::MoveState(scraper, next).ok());
  EXPECT_EQ(next.Dump(), "{\"pages\":1}");
  scraper.Scrape("nothing");
  EXPECT_EQ(scraper.error(), "no known line");
}

// ---- Today's libraries on an old host ---------------------------------------------------------

void Print(std::ostream& out, const std::map<std::string, Cell>& cells) {
  for (const auto& [key, cell] : cells) out << ' ' << key << '=' << ::testing::PrintToString(cell);
}

// Calls what the type has, and says what came of it.
std::string Drive(const epp_plugin_type& type, Host& host) {
  Instance instance(type, {}, &host);
  std::ostringstream out;
  out.precision(17);
  const auto note = [&](const char* what) {
    out << '\n' << what << ' ' << instance.status() << ' ' << instance.error() << ':';
  };
  note("create");
  if (!instance.ok()) return out.str();
  for (const uint32_t n : {0u, 1u, 65u}) {
    Pool pool(n);
    std::vector<Cell> numbers, shares;
    std::vector<double> totals;
    for (uint32_t i = 0; i < n; ++i) {
      numbers.emplace_back(i % 7 == 3 ? Cell() : Cell(static_cast<int64_t>(i * 13 % 11)));
      shares.emplace_back(static_cast<double>(i % 10) / 10);
      totals.push_back(static_cast<double>(i * 7 % 5) / 5);
      pool.Label(i, "zone", i % 2 ? "a" : "b");
    }
    pool.Set(epp::attr::kWaitingQueueSize, numbers).Set(epp::attr::kRunningRequestsSize, numbers);
    pool.Set(epp::attr::kKvCacheUsage, shares);
    Request request;
    request.Header("x-zone", "a");
    if (instance.Has(EPP_POOL_EVENTS_ID)) instance.Upserted(pool);
    if (instance.Has(EPP_PRODUCER_ID)) {
      const auto made = instance.Produce(pool, request);
      note("produce");
      for (const auto& [key, cells] : made.columns) {
        out << ' ' << key << '=' << ::testing::PrintToString(cells);
      }
      Print(out, made.request);
    }
    if (instance.Has(EPP_FILTER_ID)) {
      const auto kept = instance.Filter(pool, request);
      note("filter");
      out << ::testing::PrintToString(kept);
    }
    if (instance.Has(EPP_SCORER_ID)) {
      const auto scores = instance.Score(pool, request);
      note("score");
      for (const double score : scores) out << ' ' << score;
    }
    if (n > 0 && instance.Has(EPP_PICKER_ID)) {
      const auto picks = instance.Pick(pool, totals, request);
      note("pick");
      out << ::testing::PrintToString(picks);
    }
    if (n > 0 && instance.Has(EPP_PRE_REQUEST_ID)) {
      instance.PreRequest(Profiles{"p"}.Ok("p", {0}).Primary("p"), pool, request);
      note("pre-request");
    }
    if (n > 0 && instance.Has(EPP_RESPONSE_ID) && instance.Has(EPP_PRE_REQUEST_ID)) {
      host.Advance(1000);
      epp::test::Event end;
      instance.OnBody(end.Status(200).First().Last().Usage(3, 4).Served(pool, 0), request);
      note("body");
    }
  }
  if (instance.Has(EPP_SOURCE_ID)) {
    const auto plan = instance.Plan();
    note("plan");
    if (plan) out << epp::View(plan->path) << ' ' << epp::View(plan->payload);
  }
  if (instance.Has(EPP_SCRAPER_ID)) {
    for (const char* page : {"", "vllm:num_requests_waiting{a=\"b\"} 7\n", "tern 1\nqueue 3\n"}) {
      const auto written = instance.Scrape(page);
      note("scrape");
      Print(out, written.request);
    }
  }
  return out.str();
}

std::vector<std::string> Subjects() {
  std::vector<std::string> out;
  for (const char* folder : {EPP_GOLDEN, EPP_CURRENT, EPP_SHIPPED}) {
    std::error_code missing;
    for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
      if (entry.path().extension() == ".so") out.push_back(entry.path().string());
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

TEST(NewOnOld, SameResultsWithOldStructs) {
  size_t driven = 0;
  for (const std::string& path : Subjects()) {
    SCOPED_TRACE(path);
    const Library library(path);
    ASSERT_TRUE(library.ok()) << library.error();
    if (library.module().abi_min_minor > Old().minor) continue;  // an old host refuses it
    for (const epp_plugin_type* type :
         std::span(library.module().types, library.module().type_count)) {
      SCOPED_TRACE(type->name);
      Host now, then;
      const OldHost old(*type, Old());
      EXPECT_EQ(Drive(*type, now), Drive(old.type(), then));
      ++driven;
    }
  }
  EXPECT_GE(driven, 8u);
}

// That the wall is there: a plugin that does not ask would not pass the test above.
TEST(NewOnOldDeathTest, YoungerFieldsCannotBeRead) {
  epp_call call{};
  call.struct_size = sizeof(call);
  const size_t old_size = offsetof(epp_call, keep);
  const epp::abi::Cut<epp_call> cut(&call, old_size);
  const epp_call* p = cut.get();
  EXPECT_EQ(p->struct_size, old_size);
  EXPECT_TRUE(EPP_HAS(p, epp_call, alloc));
  EXPECT_FALSE(EPP_HAS(p, epp_call, keep));
  EXPECT_DEATH(
      {
        const volatile auto* unasked = &p->keep;
        static_cast<void>(*unasked);
      },
      "");
}

}  // namespace
