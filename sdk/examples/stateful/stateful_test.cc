#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Event;
using epp::test::Host;
using epp::test::Instance;
using epp::test::Make;
using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A request that was sent to `row` and whose answer began after `ns`.
void Answer(Instance& scorer, Host& host, const Pool& pool, uint32_t row, uint64_t ns) {
  Request request;
  scorer.PreRequest(Profiles{"p"}.Ok("p", {row}).Primary("p"), pool, request);
  host.Advance(ns);
  Event first;
  scorer.OnBody(first.First().Served(pool, row), request);
  ASSERT_EQ(scorer.status(), EPP_OK) << scorer.error();
}

TEST(FirstTokenScorer, QuickEndpointsScoreHigher) {
  const Pool pool(3);
  Host host;
  auto scorer = Make("first-token-scorer", {}, &host);
  scorer.Upserted(pool);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(1, 1, 1));
  Answer(scorer, host, pool, 0, 4000);
  Answer(scorer, host, pool, 2, 1000);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(0.25, 1, 1));
}

TEST(FirstTokenScorer, TheAverageFollows) {
  const Pool pool(2);
  Host host;
  auto scorer = Make("first-token-scorer", {{"smoothing", 0.5}}, &host);
  scorer.Upserted(pool);
  Answer(scorer, host, pool, 0, 1000);
  Answer(scorer, host, pool, 1, 1000);
  Answer(scorer, host, pool, 1, 3000);
  EXPECT_THAT(scorer.Score(pool), ElementsAre(1, 0.5));
}

TEST(FirstTokenScorer, RemovedEndpointsAreForgotten) {
  const Pool pool(2);
  Host host;
  auto scorer = Make("first-token-scorer", {}, &host);
  scorer.Upserted(pool);
  Answer(scorer, host, pool, 0, 1000);
  Answer(scorer, host, pool, 1, 2000);
  scorer.Removed(pool.endpoint(1));
  scorer.Upserted(pool.endpoint(1));
  EXPECT_THAT(scorer.Score(pool), ElementsAre(1, 1));
}

TEST(FirstTokenScorer, AnUpgradeKnowsWhatItsPredecessorLearned) {
  const Pool pool(2);
  Host host;
  auto old = Make("first-token-scorer", {}, &host);
  old.Upserted(pool);
  Answer(old, host, pool, 0, 1000);
  Answer(old, host, pool, 1, 2000);
  auto next = Make("first-token-scorer", {}, &host);
  next.Upserted(pool);
  EXPECT_TRUE(epp::test::MoveState(old, next).ok());
  EXPECT_THAT(next.Score(pool), ElementsAre(1, 0.5));
}

TEST(FirstTokenScorer, ReadsVersion1) {
  const Pool pool(2);
  auto next = Make("first-token-scorer");
  next.Upserted(pool);
  const std::string id = std::to_string(pool.endpoint(1).id);
  EXPECT_TRUE(
      next.LoadState(1, std::to_string(pool.endpoint(0).id) + " 1000\n" + id + " 4000\n").ok());
  EXPECT_THAT(next.Score(pool), ElementsAre(1, 0.25));
}

TEST(FirstTokenScorer, WhatItCannotReadChangesNothing) {
  const Pool pool(1);
  auto next = Make("first-token-scorer");
  next.Upserted(pool);
  const std::string line = std::to_string(pool.endpoint(0).id) + " 1000 1\n";
  for (const std::string& bytes :
       {line + "x", line + line.substr(0, line.size() - 1), std::string("-1 2 3\n"),
        std::string("99999999999999999999 1 1\n")}) {
    EXPECT_FALSE(next.LoadState(2, bytes).ok()) << bytes;
  }
  EXPECT_THAT(std::string(next.LoadState(3, line).message()), HasSubstr("want 1 or 2"));
  EXPECT_EQ(next.SaveState(), "");
}

}  // namespace
