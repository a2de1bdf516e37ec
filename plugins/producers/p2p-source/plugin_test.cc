#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"

namespace {

using epp::test::Cell;
using epp::test::Edits;
using epp::test::Profiles;
using testing::ElementsAre;
using testing::Pair;

constexpr const char* kType = "p2p-source-producer";
constexpr const char* kHeader = "x-kv-cache-source-host-port";

struct World {
  World(std::vector<Cell> blocks, std::vector<Cell> queue = {},
        const epp::test::Params& params = {})
      : pool(blocks.size()), plugin(epp::test::Make(kType, params)) {
    pool.Set(epp::attr::kPrefixMatchBlocks, blocks);
    if (!queue.empty()) pool.Set(epp::attr::kWaitingQueueSize, queue);
    request.Set(epp::attr::kPrefixBlockSize, 16).Header(kHeader, "6.6.6.6:66");
    EXPECT_TRUE(plugin.ok()) << plugin.error();
  }
  // Row of the source and its tokens, -1 for none.
  std::pair<int64_t, int64_t> Source(const std::string& id = "request-1") {
    request.RequestId(id);
    const auto made = plugin.Produce(pool, request);
    EXPECT_EQ(plugin.status(), EPP_OK);
    if (!made.value("best-match.endpoint").has()) return {-1, -1};
    for (size_t i = 0; i < pool.size(); ++i) {
      if (static_cast<int64_t>(pool.endpoint(i).id) == made.value("best-match.endpoint").i64()) {
        return {static_cast<int64_t>(i), made.value("best-match.tokens").i64()};
      }
    }
    return {-2, -2};
  }
  // The header as it is sent on; "" when it is only removed.
  std::string Header(Profiles profiles) {
    const Edits edits = plugin.PreRequest(profiles, pool, request);
    EXPECT_EQ(edits.headers.size(), 1u);
    const auto it = edits.headers.find(kHeader);
    return it == edits.headers.end() ? "unchanged" : it->second.value_or("");
  }

  epp::test::Pool pool;
  epp::test::Request request;
  epp::test::Instance plugin;
};

Profiles Decode(uint32_t row) { return Profiles{"decode"}.Ok("decode", {row}).Primary("decode"); }

TEST(P2pSource, Case137TheLongestPrefix) { EXPECT_THAT(World({1, 3}).Source(), Pair(1, 48)); }

TEST(P2pSource, Case138FarLongerBeatsTheQueue) {
  World world({5, 3}, {20, 0});
  for (int i = 0; i < 50; ++i) EXPECT_EQ(world.Source("r" + std::to_string(i)).first, 0);
}

TEST(P2pSource, Case139AmongNearEqualsTheQueueCounts) {
  World world({4, 3}, {20, 0});
  int first = 0;
  for (int i = 0; i < 1000; ++i) first += world.Source("r" + std::to_string(i)).first == 0;
  EXPECT_GT(first, 10);
  EXPECT_LT(first, 100);
}

TEST(P2pSource, Case140OnlyTheCpuTierCanBeFetched) {
  World world({10, 3});
  world.pool.Set(epp::common::kPrefixCpuBlocks, {0, 3});
  EXPECT_THAT(world.Source(), Pair(1, 48));
  World none({10, 3});
  none.pool.Set(epp::common::kPrefixCpuBlocks, {0, 0});
  EXPECT_THAT(none.Source(), Pair(-1, -1));
}

TEST(P2pSource, Case141LittleToGain) {
  World world({2, 1}, {}, {{"minCachedTokenDelta", 17}});
  world.pool.Set(epp::common::kPrefixCpuBlocks, {2, 0});
  EXPECT_THAT(world.Source(), Pair(0, 32));
  EXPECT_EQ(world.Header(Decode(1)), "");
  World enough({2, 1}, {0, 9}, {{"minCachedTokenDelta", 16}});
  enough.pool.Set(epp::common::kPrefixCpuBlocks, {2, 0});
  EXPECT_THAT(enough.Source(), Pair(0, 32));
  EXPECT_EQ(enough.Header(Decode(1)), "10.0.0.1:8000");
}

TEST(P2pSource, Case142ThePrefillEndpointComputes) {
  World same({4, 0, 0});
  same.Source();
  EXPECT_EQ(
      same.Header(
          Profiles{"decode", "prefill"}.Ok("decode", {1}).Ok("prefill", {0}).Primary("decode")),
      "");
  World third({0, 1, 4});
  third.Source();
  EXPECT_EQ(
      third.Header(
          Profiles{"decode", "prefill"}.Ok("decode", {2}).Ok("prefill", {1}).Primary("decode")),
      "10.0.0.3:8000");
  World skipped({0, 1, 4});
  skipped.Source();
  EXPECT_EQ(
      skipped.Header(
          Profiles{"decode", "prefill"}.Ok("decode", {2}).Skipped("prefill").Primary("decode")),
      "");
}

TEST(P2pSource, Case143TheClientsHeaderGoesAndIpv6) {
  World none({0, 0});
  none.Source();
  EXPECT_EQ(none.Header(Decode(0)), "");
  World v6({0, 2});
  v6.pool.Address(1, "fd00::2").Port(1, 8080);
  v6.Source();
  EXPECT_EQ(v6.Header(Decode(0)), "[fd00::2]:8080");
}

TEST(P2pSource, CachedBlocksComeBeforeMatchedOnes) {
  World world({9, 1});
  world.pool.Set(epp::common::kPrefixCachedBlocks, {1, 8});
  EXPECT_THAT(world.Source(), Pair(1, 128));
}

TEST(P2pSource, HostileNumbers) {
  World world({INT64_MAX, INT64_MIN});
  world.request.Set(epp::attr::kPrefixBlockSize, INT64_MAX);
  EXPECT_THAT(world.Source(), Pair(-1, -1));
  World queue({1, 1}, {INT64_MIN, INT64_MAX});
  EXPECT_GE(queue.Source().first, 0);
  World empty({});
  EXPECT_THAT(empty.Source(), Pair(-1, -1));
}

TEST(P2pSource, Declarations) {
  EXPECT_TRUE(epp::test::Lint(epp::test::Library::Linked().module()).empty());
}

}  // namespace
