#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Cell;
using epp::test::Event;
using epp::test::Instance;
using epp::test::Labels;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Produced;
using epp::test::Profiles;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "inflight-load-producer";
const Params kWithOutput{{"addEstimatedOutputTokens", true}};

// The prompt, and the prefix match of each endpoint (none: no prefix producer).
void Prompt(Request* request, Pool* pool, size_t tokens, const std::vector<int64_t>& match = {},
            int64_t total = 0) {
  request->Tokens(std::vector<uint32_t>(tokens, 7));
  if (match.empty()) return;
  pool->Set(epp::attr::kPrefixMatchBlocks, match);
  request->Set(epp::attr::kPrefixTotalBlocks, total).Set(epp::attr::kPrefixBlockSize, 4);
}

struct Loads {
  std::vector<Cell> requests;
  std::vector<Cell> tokens;
};

Loads Read(Instance& producer, const Pool& pool) {
  Request request;
  const Produced out = producer.Produce(pool, request);
  return {out.column(epp::attr::kInflightRequests), out.column(epp::attr::kInflightTokens)};
}

void First(Instance& producer, Request& request) {
  Event event;
  event.First();
  producer.OnBody(event, request);
}

void End(Instance& producer, Request& request) {
  Event event;
  event.Last();
  producer.OnBody(event, request);
}

TEST(InflightLoadTest, Case111OutputIsHeldToTheEnd) {
  auto producer = epp::test::Make(kType, kWithOutput);
  Pool pool(1);
  producer.Upserted(pool);
  Request request;
  Prompt(&request, &pool, 8, {1}, 2);
  producer.Produce(pool, request);
  producer.PreRequest(Profiles{"decode"}.Ok("decode", {0}).Primary("decode"), pool, request);
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(16));
  First(producer, request);
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(16));
  End(producer, request);
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(0));
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(0));
}

TEST(InflightLoadTest, Case112UncachedTokens) {
  auto producer = epp::test::Make(kType);
  Pool pool(2);
  Request request;
  Prompt(&request, &pool, 5, {1, 0}, 2);
  EXPECT_THAT(producer.Produce(pool, request).column(epp::attr::kUncachedRequestTokens),
              ElementsAre(4, 8));
}

TEST(InflightLoadTest, UncachedTokensWithoutPrefixInformation) {
  auto producer = epp::test::Make(kType);
  Pool pool(1);
  Request request;
  Prompt(&request, &pool, 5);
  EXPECT_THAT(producer.Produce(pool, request).column(epp::attr::kUncachedRequestTokens),
              ElementsAre(5));
  Request unknown;
  EXPECT_THAT(producer.Produce(pool, unknown).column(epp::attr::kUncachedRequestTokens),
              ElementsAre(0));
}

TEST(InflightLoadTest, Case113EveryProfileCounts) {
  auto producer = epp::test::Make(kType, kWithOutput);
  Pool pool(2);
  producer.Upserted(pool);
  Request request;
  Prompt(&request, &pool, 8, {2, 0}, 2);
  producer.PreRequest(
      Profiles{"prefill", "decode"}.Ok("prefill", {0}).Ok("decode", {1, 0}).Primary("decode"), pool,
      request);
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(12, 20));
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(1, 1));
}

TEST(InflightLoadTest, Case114BothProfilesOnOneEndpoint) {
  auto producer = epp::test::Make(kType, kWithOutput);
  Pool pool(1);
  producer.Upserted(pool);
  Request request;
  Prompt(&request, &pool, 4);
  producer.PreRequest(
      Profiles{"prefill", "decode"}.Ok("prefill", {0}).Ok("decode", {0}).Primary("decode"), pool,
      request);
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(2));
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(20));
  First(producer, request);
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(1));
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(10));
  End(producer, request);
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(0));
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(0));
}

TEST(InflightLoadTest, Case115PromptTokensEndWithTheFirstChunk) {
  auto producer = epp::test::Make(kType);
  Pool pool(1);
  producer.Upserted(pool);
  Request request;
  Prompt(&request, &pool, 4);
  producer.PreRequest(Profiles{"decode"}.Ok("decode", {0}).Primary("decode"), pool, request);
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(4));
  First(producer, request);
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(1));
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(0));
  End(producer, request);
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(0));
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(0));
}

TEST(InflightLoadTest, Case116PrefillEndsWithTheFirstChunk) {
  auto producer = epp::test::Make(kType);
  Pool pool(2);
  producer.Upserted(pool);
  Request request;
  Prompt(&request, &pool, 4);
  producer.PreRequest(
      Profiles{"prefill", "decode"}.Ok("prefill", {0}).Ok("decode", {1}).Primary("decode"), pool,
      request);
  First(producer, request);
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(0, 1));
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(0, 0));
}

TEST(InflightLoadTest, Case117EndWithoutFirstChunk) {
  for (const Params& params : {Params{}, kWithOutput}) {
    auto producer = epp::test::Make(kType, params);
    Pool pool(1);
    producer.Upserted(pool);
    Request request;
    Prompt(&request, &pool, 4);
    producer.PreRequest(Profiles{"decode"}.Ok("decode", {0}).Primary("decode"), pool, request);
    End(producer, request);
    EXPECT_THAT(Read(producer, pool).requests, ElementsAre(0));
    EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(0));
  }
}

TEST(InflightLoadTest, OneChunkThatIsFirstAndLast) {
  auto producer = epp::test::Make(kType);
  Pool pool(1);
  producer.Upserted(pool);
  Request request, other;
  for (Request* r : {&request, &other}) {
    Prompt(r, &pool, 4);
    producer.PreRequest(Profiles{"decode"}.Ok("decode", {0}).Primary("decode"), pool, *r);
  }
  Event event;
  event.First().Last();
  producer.OnBody(event, request);
  producer.OnBody(event, request);  // released once
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(1));
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(4));
}

TEST(InflightLoadTest, ClientAndOperatorLimitTheOutput) {
  const Params params{{"addEstimatedOutputTokens", true}, {"maxEstimatedOutputTokens", 30}};
  auto producer = epp::test::Make(kType, params);
  Pool pool(1);
  Request request;
  Prompt(&request, &pool, 100);
  EXPECT_THAT(producer.Produce(pool, request).column(epp::attr::kUncachedRequestTokens),
              ElementsAre(130));
  request.MaxOutputTokens(20);
  EXPECT_THAT(producer.Produce(pool, request).column(epp::attr::kUncachedRequestTokens),
              ElementsAre(120));
}

// A request of the endpoint that left must not be taken off the one that came.
TEST(InflightLoadTest, EndpointLeavesAndComesBack) {
  auto producer = epp::test::Make(kType);
  Pool pool(1);
  producer.Upserted(pool);
  Request old_request;
  Prompt(&old_request, &pool, 4);
  const Profiles profiles = Profiles{"decode"}.Ok("decode", {0}).Primary("decode");
  producer.PreRequest(profiles, pool, old_request);
  producer.Removed(pool.endpoint(0));
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(0));
  pool.Replace(0);
  producer.Upserted(pool);
  Request new_request;
  Prompt(&new_request, &pool, 4);
  producer.PreRequest(profiles, pool, new_request);
  End(producer, old_request);
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(1));
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(4));
  End(producer, new_request);
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(0));
}

TEST(InflightLoadTest, LateRemovalOfTheFormerEndpoint) {
  auto producer = epp::test::Make(kType);
  Pool pool(1);
  producer.Upserted(pool);
  Pool former(1);  // another id in the same slot
  former.Replace(0);
  Request request;
  producer.PreRequest(Profiles{"decode"}.Ok("decode", {0}).Primary("decode"), pool, request);
  producer.Removed(former.endpoint(0));
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(1));
  producer.Upserted(pool);  // an update keeps the counters
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(1));
}

TEST(InflightLoadTest, FailedProfilesDoNotCount) {
  auto producer = epp::test::Make(kType);
  Pool pool(1);
  producer.Upserted(pool);
  Request request;
  producer.PreRequest(Profiles{"a", "b", "c"}.Failed("a").Skipped("b").Ok("c", {0}).Primary("c"),
                      pool, request);
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(1));
}

TEST(InflightLoadTest, HooksWithoutPreRequestDoNothing) {
  auto producer = epp::test::Make(kType);
  Request request;
  First(producer, request);
  End(producer, request);
  EXPECT_EQ(producer.status(), EPP_OK);
  EXPECT_EQ(producer.Wants(), EPP_WANT_FIRST | EPP_WANT_END);
}

TEST(InflightLoadTest, Gauges) {
  epp::test::Host host;
  auto producer = epp::test::Make(kType, {}, &host, "load");
  Pool pool;
  pool.Add("ns/pod-a");
  producer.Upserted(pool);
  Request request;
  Prompt(&request, &pool, 6);
  request.FairnessId("tenant").Priority(-2);
  const Profiles profiles = Profiles{"decode"}.Ok("decode", {0}).Primary("decode");
  producer.PreRequest(profiles, pool, request);
  const Labels labels{{"endpoint_name", "pod-a"},
                      {"namespace", "ns"},
                      {"producer_name", "load"},
                      {"fairness_id", "tenant"},
                      {"priority", "-2"}};
  EXPECT_EQ(host.Metric("llm_d_epp_inflight_requests", labels), 1);
  EXPECT_EQ(host.Metric("llm_d_epp_inflight_tokens", labels), 6);
  First(producer, request);
  EXPECT_EQ(host.Metric("llm_d_epp_inflight_requests", labels), 1);
  EXPECT_EQ(host.Metric("llm_d_epp_inflight_tokens", labels), 0);
  End(producer, request);
  EXPECT_EQ(host.Metric("llm_d_epp_inflight_requests", labels), 0);
}

// Clients choose fairness ids; they must not make series without end.
TEST(InflightLoadTest, GaugeSeriesAreBounded) {
  epp::test::Host host;
  auto producer = epp::test::Make(kType, {}, &host, "load");
  Pool pool(1);
  producer.Upserted(pool);
  const Profiles profiles = Profiles{"decode"}.Ok("decode", {0}).Primary("decode");
  std::vector<std::unique_ptr<Request>> held;
  for (int i = 0; i < 1100; ++i) {
    Request& request = *held.emplace_back(std::make_unique<Request>());
    request.FairnessId("tenant-" + std::to_string(i));
    producer.PreRequest(profiles, pool, request);
  }
  const Labels other{{"endpoint_name", "pod-0"},
                     {"namespace", "default"},
                     {"producer_name", "load"},
                     {"fairness_id", "other"},
                     {"priority", "0"}};
  EXPECT_GT(host.Metric("llm_d_epp_inflight_requests", other), 100);
  for (const auto& request : held) End(producer, *request);
  EXPECT_EQ(host.Metric("llm_d_epp_inflight_requests", other), 0);
  Request request;
  request.FairnessId("late");
  producer.PreRequest(profiles, pool, request);
  Labels late = other;
  late["fairness_id"] = "late";
  EXPECT_EQ(host.Metric("llm_d_epp_inflight_requests", late), 1);
}

TEST(InflightLoadTest, DumpShowsTheBusiestFirst) {
  auto producer = epp::test::Make(kType);
  Pool pool(105);
  producer.Upserted(pool);
  Request request;
  Prompt(&request, &pool, 3);
  producer.PreRequest(Profiles{"decode"}.Ok("decode", {42}).Primary("decode"), pool, request);
  const std::string dump = producer.Dump();
  EXPECT_THAT(dump, HasSubstr(R"({"endpoints":[{"endpoint":"default/pod-42","requests":1,)"
                              R"("tokens":3},)"));
  EXPECT_THAT(dump, HasSubstr(R"("total":105,"truncated":true})"));
}

TEST(InflightLoadTest, Parameters) {
  const auto ok = [](const Params& p) { return epp::test::Make(kType, p).ok(); };
  EXPECT_FALSE(ok({{"outputRatio", -0.5}}));
  EXPECT_FALSE(ok({{"maxEstimatedOutputTokens", -1}}));
  EXPECT_TRUE(ok({{"syncCrossReplicaState", false}, {"outputRatio", 0}}));
}

TEST(InflightLoadTest, CountsAreExactUnderConcurrency) {
  constexpr uint32_t kWorkers = 4;
  epp::test::Host host(kWorkers);
  auto producer = epp::test::Make(kType, kWithOutput, &host);
  Pool pool(3);
  producer.Upserted(pool);
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      for (uint32_t i = 0; i < 200; ++i) {
        Request request;
        request.Worker(w).FairnessId("t" + std::to_string(i % 3)).Tokens({1, 2, 3, 4});
        producer.Produce(pool, request);
        producer.PreRequest(
            Profiles{"prefill", "decode"}.Ok("prefill", {i % 3}).Ok("decode", {w % 3}), pool,
            request);
        if (i % 2 == 0) First(producer, request);
        End(producer, request);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_THAT(Read(producer, pool).requests, ElementsAre(0, 0, 0));
  EXPECT_THAT(Read(producer, pool).tokens, ElementsAre(0, 0, 0));
}

// Requests that began on one instance end there, whatever took its place meanwhile.
TEST(InflightLoadStateTest, CountsStayWholeAcrossInstances) {
  epp::test::Host host;
  auto old = epp::test::Make(kType, {}, &host, "load");
  auto next = epp::test::Make(kType, {}, &host, "load");
  auto last = epp::test::Make(kType, {}, &host, "load");
  Pool pool;
  pool.Add("ns/pod-a");
  pool.Add("ns/pod-b");
  for (Instance* i : {&old, &next, &last}) i->Upserted(pool);
  const Labels labels{{"endpoint_name", "pod-a"},
                      {"namespace", "ns"},
                      {"producer_name", "load"},
                      {"fairness_id", "tenant"},
                      {"priority", "0"}};
  const auto gauge = [&] { return host.Metric("llm_d_epp_inflight_requests", labels); };
  const Profiles profiles = Profiles{"decode"}.Ok("decode", {0}).Primary("decode");
  const auto begin = [&](Instance& on, Request& request) {
    Prompt(&request, &pool, 6);
    request.FairnessId("tenant");
    on.PreRequest(profiles, pool, request);
  };
  const auto move_all = [&] {
    EXPECT_TRUE(epp::test::MoveState(old, next).ok());
    EXPECT_TRUE(epp::test::MoveState(next, last).ok());
  };
  Request a, b, c;
  begin(old, a);
  begin(old, b);
  EXPECT_TRUE(epp::test::MoveState(old, next).ok());
  begin(next, c);
  move_all();
  EXPECT_THAT(Read(last, pool).requests, ElementsAre(3, 0));
  EXPECT_THAT(Read(last, pool).tokens, ElementsAre(18, 0));
  EXPECT_EQ(gauge(), 3);
  Request d;
  begin(last, d);
  EXPECT_EQ(gauge(), 4);
  End(old, a);
  move_all();
  EXPECT_THAT(Read(last, pool).requests, ElementsAre(3, 0));
  EXPECT_EQ(gauge(), 3);
  End(next, c);
  End(old, b);
  move_all();
  EXPECT_THAT(Read(last, pool).requests, ElementsAre(1, 0));
  EXPECT_EQ(gauge(), 1);
  End(last, d);
  EXPECT_THAT(Read(last, pool).requests, ElementsAre(0, 0));
  EXPECT_THAT(Read(last, pool).tokens, ElementsAre(0, 0));
  EXPECT_EQ(gauge(), 0);
  EXPECT_EQ(last.SaveState(), "");
}

TEST(InflightLoadStateTest, EndpointsThatChangedAreLeftOut) {
  auto old = epp::test::Make(kType);
  auto next = epp::test::Make(kType);
  Pool pool(1);
  Pool later(1);
  later.Replace(0);  // another endpoint in the same slot
  old.Upserted(pool);
  next.Upserted(later);
  Request request;
  old.PreRequest(Profiles{"decode"}.Ok("decode", {0}).Primary("decode"), pool, request);
  ASSERT_TRUE(epp::test::MoveState(old, next).ok());
  EXPECT_THAT(Read(next, later).requests, ElementsAre(0));
  next.Removed(later.endpoint(0));
  next.Upserted(pool);
  ASSERT_TRUE(epp::test::MoveState(old, next).ok());
  EXPECT_THAT(Read(next, pool).requests, ElementsAre(1));
  next.Removed(pool.endpoint(0));
  next.Upserted(pool);
  EXPECT_THAT(Read(next, pool).requests, ElementsAre(0));
}

TEST(InflightLoadStateTest, MalformedBytesChangeNothing) {
  auto old = epp::test::Make(kType);
  auto next = epp::test::Make(kType);
  Pool pool(1);
  for (Instance* i : {&old, &next}) i->Upserted(pool);
  Request request;
  old.PreRequest(Profiles{"decode"}.Ok("decode", {0}).Primary("decode"), pool, request);
  ASSERT_TRUE(epp::test::MoveState(old, next).ok());
  const std::string good = old.SaveState();
  EXPECT_EQ(next.LoadState(7, good).message(), "the counts have version 7, want 1");
  const size_t counts_only = 4 + 28;
  for (size_t n = 1; n < good.size(); ++n) {
    if (n == counts_only) continue;
    EXPECT_EQ(next.LoadState(1, good.substr(0, n)).message(), "the counts are malformed") << n;
  }
  std::string negative = good;
  negative[4 + 12 + 7] = '\xff';
  EXPECT_FALSE(next.LoadState(1, negative).ok());
  std::string many = good;
  many[3] = '\x7f';
  EXPECT_FALSE(next.LoadState(1, many).ok());
  EXPECT_THAT(Read(next, pool).requests, ElementsAre(1));
}

}  // namespace
