#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Instance;
using epp::test::Make;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using epp::test::Selection;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "no-hit-lru-scorer";

Pool Cold(size_t n) {
  Pool pool(n);
  pool.Set(epp::attr::kPrefixMatchBlocks, std::vector<int64_t>(n, 0));
  return pool;
}

Profiles Default(uint32_t row) {
  return Profiles{"default"}.Ok("default", {row}).Primary("default");
}

// One request that goes to `row`, whatever it scored.
void Send(Instance& scorer, const Pool& pool, uint32_t row) {
  Request request;
  scorer.Score(pool, request);
  scorer.PreRequest(Default(row), pool, request);
}

TEST(NoHitLruScorerTest, Case026NobodyWasUsed) {
  auto scorer = Make(kType);
  const Pool pool = Cold(3);
  scorer.Upserted(pool);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(1, 0.5, 0));
}

TEST(NoHitLruScorerTest, Case027Warm) {
  auto scorer = Make(kType);
  Pool pool(3);
  pool.Set(epp::attr::kPrefixMatchBlocks, {1, 0, std::nullopt});
  EXPECT_THAT(scorer.Score(pool), Each(0.5));
}

TEST(NoHitLruScorerTest, Case028OneCandidate) {
  auto scorer = Make(kType);
  EXPECT_THAT(scorer.Score(Cold(1)), ElementsAre(1));
  EXPECT_THAT(scorer.Score(Cold(0)), ElementsAre());
}

TEST(NoHitLruScorerTest, Case029And030TheLongestWait) {
  auto scorer = Make(kType);
  const Pool pool = Cold(3);
  scorer.Upserted(pool);
  Send(scorer, pool, 0);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(0, 1, 0.5));
  Send(scorer, pool, 1);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(0.5, 0, 1));
  Send(scorer, pool, 2);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(1, 0.5, 0));
}

TEST(NoHitLruScorerTest, Case031WarmRequestsDoNotCount) {
  auto scorer = Make(kType);
  const Pool pool = Cold(3);
  scorer.Upserted(pool);
  Send(scorer, pool, 0);
  Pool warm(3);
  warm.Set(epp::attr::kPrefixMatchBlocks, {0, 4, 0});
  Send(scorer, warm, 1);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(0, 1, 0.5));
}

// Rows: p-a, p-b, d-a, d-b. The name of the first profile does not matter.
TEST(NoHitLruScorerTest, Case032BothTargetsCount) {
  for (const char* first : {"prefill", "stage-one"}) {
    auto scorer = Make(kType);
    const Pool pool = Cold(4);
    scorer.Upserted(pool);
    Request request;
    scorer.Score(Selection(pool, {0, 1}), request);
    scorer.Score(Selection(pool, {2, 3}), request);
    Profiles profiles{first, "decode"};
    profiles.Ok(first, {0}).Ok("decode", {2}).Primary("decode");
    scorer.PreRequest(profiles, pool, request);
    EXPECT_THAT(scorer.Score(Selection(pool, {0, 1})), ElementsAre(0, 1)) << first;
    EXPECT_THAT(scorer.Score(Selection(pool, {2, 3})), ElementsAre(0, 1)) << first;
  }
}

TEST(NoHitLruScorerTest, EachProfileIsColdByItself) {
  auto scorer = Make(kType);
  Pool pool(4);
  pool.Set(epp::attr::kPrefixMatchBlocks, {0, 0, 5, 0});
  scorer.Upserted(pool);
  Request request;
  EXPECT_THAT(scorer.Score(Selection(pool, {0, 1}), request), ElementsAre(1, 0));
  EXPECT_THAT(scorer.Score(Selection(pool, {2, 3}), request), Each(0.5));
  Profiles profiles{"prefill", "decode"};
  profiles.Ok("prefill", {0}).Ok("decode", {2}).Primary("decode");
  scorer.PreRequest(profiles, pool, request);
  const Pool cold = Cold(4);
  EXPECT_THAT(scorer.Score(Selection(cold, {0, 1})), ElementsAre(0, 1));
  EXPECT_THAT(scorer.Score(Selection(cold, {2, 3})), ElementsAre(1, 0)) << "decode was warm";
}

TEST(NoHitLruScorerTest, OthersDoNotCrowdOutTheOrder) {
  auto scorer = Make(kType);
  const Pool pool = Cold(10);
  scorer.Upserted(pool);
  for (uint32_t i = 0; i < 10; ++i) Send(scorer, pool, i);
  EXPECT_THAT(scorer.Score(Selection(pool, {7, 8, 9})), ElementsAre(1, 0.5, 0));
  EXPECT_THAT(scorer.Score(Selection(pool, {9, 7, 8})), ElementsAre(0, 1, 0.5));
}

TEST(NoHitLruScorerTest, EndpointsThatLeftAreForgotten) {
  auto scorer = Make(kType);
  Pool pool = Cold(3);
  scorer.Upserted(pool);
  for (const uint32_t i : {0, 1, 2}) Send(scorer, pool, i);
  scorer.Removed(pool.endpoint(0));
  EXPECT_THAT(scorer.Dump(), HasSubstr(R"(["default/pod-1","default/pod-2"],"total":2)"));
  pool.Replace(0);  // a new endpoint in the same slot
  scorer.Upserted(pool.endpoint(0));
  EXPECT_THAT(scorer.Score(pool), ElementsAre(1, 0.5, 0));
}

TEST(NoHitLruScorerTest, FailedProfilesAndForeignTargetsDoNotCount) {
  auto scorer = Make(kType);
  const Pool pool = Cold(3);
  scorer.Upserted(pool);
  Request request;
  scorer.Score(Selection(pool, {0, 1}), request);
  Profiles profiles{"a", "encode"};
  profiles.Failed("a").Ok("encode", {2}).Primary("encode");
  scorer.PreRequest(profiles, pool, request);
  Request unscored;
  scorer.PreRequest(Default(0), pool, unscored);
  EXPECT_THAT(scorer.Dump(), HasSubstr("\"total\":0"));
}

TEST(NoHitLruScorerTest, Case033Dump) {
  auto scorer = Make(kType);
  const Pool pool = Cold(105);
  scorer.Upserted(pool);
  Send(scorer, pool, 0);
  Send(scorer, pool, 1);
  EXPECT_EQ(scorer.Dump(),
            R"({"endpoints":["default/pod-0","default/pod-1"],"total":2,"truncated":false})");
  for (uint32_t i = 0; i < 105; ++i) Send(scorer, pool, i);
  const std::string dump = scorer.Dump();
  EXPECT_THAT(dump, HasSubstr(R"({"endpoints":["default/pod-0",)"));
  EXPECT_THAT(dump, HasSubstr(R"("default/pod-99"],"total":105,"truncated":true})"));
}

TEST(NoHitLruScorerTest, LruSize) {
  auto scorer = Make(kType, {{"lruSize", 2}});
  const Pool pool = Cold(3);
  scorer.Upserted(pool);
  for (const uint32_t i : {0, 1, 2}) Send(scorer, pool, i);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(1, 0.5, 0)) << "0 counts as never used again";
  EXPECT_THAT(scorer.Dump(), HasSubstr("\"total\":2"));
  auto fallback = Make(kType, {{"lruSize", 0}});
  fallback.Upserted(pool);
  for (const uint32_t i : {0, 1, 2}) Send(fallback, pool, i);
  EXPECT_THAT(fallback.Dump(), HasSubstr("\"total\":3"));
}

TEST(NoHitLruScorerTest, Parameters) {
  EXPECT_TRUE(Make(kType, {{"prefixPluginType", "x"}, {"prefixPluginName", "y"}}).ok());
  EXPECT_FALSE(Make(kType, {{"lruSiz", 1}}).ok());
  auto scorer = Make(kType, {{"prefixMatchInfoProducerName", "mine"}});
  Pool pool(2);
  pool.Set("PrefixCacheMatchInfoDataKey.matchBlocks/mine", {1, 0});
  EXPECT_THAT(scorer.Score(pool), Each(0.5));
}

TEST(NoHitLruScorerTest, TheOrderOutlivesAReload) {
  auto old = Make(kType);
  auto next = Make(kType, {{"lruSize", 2}});
  const Pool pool = Cold(3);
  old.Upserted(pool);
  next.Upserted(pool);
  for (const uint32_t i : {2, 0, 1}) Send(old, pool, i);
  ASSERT_TRUE(epp::test::MoveState(old, next).ok());
  EXPECT_THAT(next.Dump(), HasSubstr(R"(["default/pod-0","default/pod-1"],"total":2)"));
  EXPECT_EQ(next.LoadState(2, old.SaveState()).message(), "the list has version 2, want 1");
  const std::string good = old.SaveState();
  for (size_t n = 1; n < good.size(); ++n) {
    EXPECT_EQ(next.LoadState(1, good.substr(0, n)).message(), "the list is malformed") << n;
  }
  EXPECT_FALSE(next.LoadState(1, good + "x").ok());
  EXPECT_THAT(next.Dump(), HasSubstr("\"total\":2"));
  EXPECT_EQ(Make(kType).SaveState(), "");
}

TEST(NoHitLruScorerTest, WorkersAtOnce) {
  constexpr uint32_t kWorkers = 4;
  epp::test::Host host(kWorkers);
  auto scorer = Make(kType, {{"lruSize", 3}}, &host);
  const Pool pool = Cold(5);
  scorer.Upserted(pool);
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      for (uint32_t i = 0; i < 100; ++i) {
        Request request;
        request.Worker(w);
        scorer.Score(pool, request);
        scorer.PreRequest(Default((i + w) % 5), pool, request);
      }
    });
  }
  for (uint32_t i = 0; i < 50; ++i) {
    scorer.Removed(pool.endpoint(4));
    scorer.Upserted(pool.endpoint(4));
    scorer.SaveState();
  }
  for (std::thread& t : threads) t.join();
  for (const uint32_t i : {0, 1, 2}) Send(scorer, pool, i);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(0.5, 0.25, 0, 1, 0.75));
}

}  // namespace
