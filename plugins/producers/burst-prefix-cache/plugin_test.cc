#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Cell;
using epp::test::FakeTimers;
using epp::test::Host;
using epp::test::Instance;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kMs = 1'000'000;

class Burst : public ::testing::Test {
 protected:
  void Make(const Params& params = {{"blockSizeTokens", 4}}) {
    producer_ = std::make_unique<Instance>(
        *epp::test::Library::Linked().Find("burst-prefix-cache-producer"), params, &host_);
    ASSERT_TRUE(producer_->ok()) << producer_->error();
  }
  Instance::Operation& Start(uint32_t first_token, size_t tokens = 8) {
    std::vector<uint32_t> ids(tokens);
    std::iota(ids.begin(), ids.end(), first_token);
    Request& request = requests_.emplace_back();
    request.Model("m").TargetModel("m").Tokens(ids);
    return operations_.emplace_back(*producer_, pool_, request);
  }
  static std::vector<Cell> Match(Instance::Operation& operation) {
    return operation.Finish().column(epp::attr::kPrefixMatchBlocks);
  }
  ~Burst() override {
    operations_.clear();
    timers_.Stop();
  }

  Host host_;
  FakeTimers timers_{host_};
  Pool pool_{3};
  std::unique_ptr<Instance> producer_;
  std::deque<Request> requests_;
  std::deque<Instance::Operation> operations_;
};

TEST_F(Burst, SharersGoTogether) {
  Make();
  auto& a = Start(1);
  auto& b = Start(100);
  auto& c = Start(1);
  auto& lone = Start(500, 9);
  EXPECT_EQ(timers_.size(), 1u);
  timers_.Advance(99 * kMs);
  EXPECT_FALSE(a.completed());
  auto& d = Start(100);
  timers_.Advance(1 * kMs);
  for (auto* operation : {&a, &b, &c, &d, &lone}) EXPECT_TRUE(operation->completed());
  EXPECT_THAT(Match(a), ElementsAre(2, 0, 0));
  EXPECT_THAT(Match(c), ElementsAre(2, 0, 0));
  EXPECT_THAT(Match(b), ElementsAre(0, 2, 0));
  EXPECT_THAT(Match(d), ElementsAre(0, 2, 0));
  const auto out = lone.Finish();
  EXPECT_THAT(out.column(epp::attr::kPrefixMatchBlocks), ElementsAre(0, 0, 0));
  EXPECT_EQ(out.value(epp::attr::kPrefixTotalBlocks), Cell(3));
  EXPECT_EQ(out.value(epp::attr::kPrefixBlockSize), Cell(4));
}

TEST_F(Burst, NextBatchBeginsAnew) {
  Make();
  auto& a = Start(1);
  timers_.Advance(100 * kMs);
  auto& b = Start(1);
  EXPECT_TRUE(a.completed());
  EXPECT_FALSE(b.completed());
  timers_.Advance(100 * kMs);
  EXPECT_THAT(Match(b), ElementsAre(0, 0, 0));
}

TEST_F(Burst, FullBatchIsAnError) {
  Make({{"maxBatchSize", 2}});
  Start(1);
  Start(1);
  EXPECT_FALSE(Start(1).pending());
  EXPECT_EQ(producer_->status(), EPP_RESOURCE_EXHAUSTED);
  EXPECT_THAT(producer_->error(), HasSubstr("full"));
}

TEST_F(Burst, WhoLeavesDoesNotCount) {
  Make();
  auto& a = Start(1);
  Start(1).Cancel();
  timers_.Advance(100 * kMs);
  EXPECT_THAT(Match(a), ElementsAre(0, 0, 0));
}

TEST_F(Burst, LeastRunningEndpointOfTheFirstRequest) {
  pool_.Set(epp::attr::kRunningRequestsSize, {5, 5, 1});
  Make();
  auto& a = Start(1);
  Start(1);
  timers_.Advance(100 * kMs);
  EXPECT_THAT(Match(a), ElementsAre(0, 0, 2));
}

TEST_F(Burst, NothingToCompareIsDoneAtOnce) {
  Make();
  auto& empty = Start(1, 0);
  EXPECT_FALSE(empty.pending());
  EXPECT_EQ(empty.Finish().value(epp::attr::kPrefixTotalBlocks), Cell(0));
  EXPECT_EQ(timers_.size(), 0u);
}

TEST_F(Burst, LimitOfTokens) {
  Make({{"blockSizeTokens", 4}, {"maxPrefixTokensToMatch", 11}});
  auto& a = Start(1, 100);
  timers_.Advance(100 * kMs);
  EXPECT_EQ(a.Finish().value(epp::attr::kPrefixTotalBlocks), Cell(2));
}

TEST_F(Burst, Timeout) {
  Make({{"windowDurationMs", 250}});
  const auto& table = producer_->Table<epp_async_producer>(EPP_ASYNC_PRODUCER_ID);
  EXPECT_EQ(table.timeout_ns(producer_->Self()), 550 * kMs);
}

TEST(BurstCreate, Refused) {
  const std::pair<Params, const char*> cases[] = {
      {{{"windowDurationMs", 0}}, "windowDurationMs"},
      {{{"windowDurationMs", 10001}}, "windowDurationMs"},
      {{{"maxPerReplica", 0}}, "maxPerReplica"},
      {{{"maxPerReplica", -2}}, "maxPerReplica"},
      {{{"blockSizeTokens", 0}}, "blockSizeTokens"},
      {{{"maxPrefixTokensToMatch", 63}}, "maxPrefixTokensToMatch"},
      {{{"minColocateBlocks", -1}}, "minColocateBlocks"},
      {{{"maxBatchSize", 0}}, "maxBatchSize"},
      {{{"balanceBy", "luck"}}, "balanceBy"}};
  for (const auto& [params, name] : cases) {
    const auto producer = epp::test::Make("burst-prefix-cache-producer", params);
    EXPECT_FALSE(producer.ok()) << name;
    EXPECT_THAT(producer.error(), HasSubstr(name));
  }
}

TEST(BurstCreate, NoTimers) {
  auto producer = epp::test::Make("burst-prefix-cache-producer");
  Pool pool(1);
  Request request;
  request.Tokens({1, 2, 3});
  producer.Produce(pool, request);
  EXPECT_EQ(producer.status(), EPP_UNAVAILABLE);
}

TEST(BurstCreate, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), testing::IsEmpty());
}

}  // namespace
