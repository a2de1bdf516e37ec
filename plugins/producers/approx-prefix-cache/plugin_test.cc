#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Cell;
using epp::test::Instance;
using epp::test::Labels;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Produced;
using epp::test::Profiles;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "approx-prefix-cache-producer";
constexpr size_t kBlock = 64;  // the smallest block

// Each unit stands for a whole block of the smallest size.
using Units = std::vector<uint32_t>;

std::vector<uint32_t> Tokens(const Units& units) {
  std::vector<uint32_t> out;
  for (const uint32_t u : units) out.insert(out.end(), kBlock, u);
  return out;
}

// A request with several prompts, and the memory of its tokens.
struct Prompts {
  explicit Prompts(const std::vector<Units>& prompts) {
    for (const Units& p : prompts) {
      const std::vector<uint32_t> more = Tokens(p);
      tokens.insert(tokens.end(), more.begin(), more.end());
      offsets.push_back(tokens.size());
    }
    raw.struct_size = sizeof(raw);
    raw.prompt_count = static_cast<uint32_t>(prompts.size());
    raw.tokens = tokens.data();
    raw.offsets = offsets.data();
    request.TargetModel("m").Set(epp::attr::kTokenizedPrompt, Cell(static_cast<const void*>(&raw)));
  }
  explicit Prompts(const Units& prompt) : Prompts(std::vector<Units>{prompt}) {}

  std::vector<uint32_t> tokens;
  std::vector<uint64_t> offsets{0};
  epp_tokenized_prompt raw{};
  Request request;
};

void Send(Instance& producer, const Pool& pool, const Units& prompt, uint32_t row) {
  Prompts p(prompt);
  producer.Produce(pool, p.request);
  producer.PreRequest(Profiles{"default"}.Ok("default", {row}).Primary("default"), pool, p.request);
}

struct Match {
  std::vector<Cell> blocks;
  int64_t total;
  int64_t block_tokens;
};

Match Query(Instance& producer, const Pool& pool, Request& request) {
  const Produced out = producer.Produce(pool, request);
  return {out.column(epp::attr::kPrefixMatchBlocks), out.value(epp::attr::kPrefixTotalBlocks).i64(),
          out.value(epp::attr::kPrefixBlockSize).i64()};
}

Match Query(Instance& producer, const Pool& pool, const Units& prompt) {
  Prompts p(prompt);
  return Query(producer, pool, p.request);
}

TEST(ApproxPrefixTest, Case121PrimaryAndPrefillAreRecorded) {
  auto producer = epp::test::Make(kType);
  const Pool pool(3);
  producer.Upserted(pool);
  Prompts p(Units{1, 2});
  EXPECT_THAT(Query(producer, pool, p.request).blocks, ElementsAre(0, 0, 0));
  producer.PreRequest(Profiles{"decode", "prefill", "encode"}
                          .Ok("decode", {0, 1})
                          .Ok("prefill", {2})
                          .Ok("encode", {1})
                          .Primary("decode"),
                      pool, p.request);
  const Match match = Query(producer, pool, Units{1, 3});
  EXPECT_THAT(match.blocks, ElementsAre(1, 0, 1));
  EXPECT_EQ(match.total, 2);
  EXPECT_EQ(match.block_tokens, 64);
}

TEST(ApproxPrefixTest, Case122CapacityEvictsTheOldest) {
  auto producer = epp::test::Make(kType, {{"lruCapacityPerServer", 2}});
  const Pool pool(1);
  producer.Upserted(pool);
  for (const uint32_t u : {1u, 2u, 3u}) Send(producer, pool, {u}, 0);
  EXPECT_THAT(Query(producer, pool, Units{1}).blocks, ElementsAre(0));
  EXPECT_THAT(Query(producer, pool, Units{2}).blocks, ElementsAre(1));
  EXPECT_THAT(Query(producer, pool, Units{3}).blocks, ElementsAre(1));
}

TEST(ApproxPrefixTest, ReportedCacheSizeIsTheCapacity) {
  for (const bool auto_tune : {true, false}) {
    auto producer = epp::test::Make(kType, {{"autoTune", auto_tune}});
    Pool pool(1);
    pool.Set(epp::attr::kCacheNumBlocks, {2});
    producer.Upserted(pool);
    for (const uint32_t u : {1u, 2u, 3u}) Send(producer, pool, {u}, 0);
    EXPECT_THAT(Query(producer, pool, Units{1}).blocks, ElementsAre(auto_tune ? 0 : 1));
  }
}

TEST(ApproxPrefixTest, Case123And124BlockSize) {
  struct Case {
    Params params;
    Cell reported;
    int64_t block_tokens;
    int64_t total;  // of 192 tokens
  };
  const Case cases[] = {
      {{}, 128, 128, 2},
      {{}, 16, 64, 3},
      {{}, std::nullopt, 64, 3},
      {{{"autoTune", false}, {"blockSizeTokens", 32}}, 128, 64, 3},
      {{{"autoTune", false}, {"blockSizeTokens", 100}}, 128, 100, 2},
      {{{"autoTune", false}, {"blockSize", 96}}, std::nullopt, 96, 2},
      {{{"autoTune", false}, {"blockSizeTokens", 100}, {"blockSize", 96}}, std::nullopt, 100, 2},
  };
  for (const Case& c : cases) {
    auto producer = epp::test::Make(kType, c.params);
    ASSERT_TRUE(producer.ok()) << producer.error();
    Pool pool(2);
    pool.Set(epp::attr::kCacheBlockSize, {c.reported, 256});
    const Match match = Query(producer, pool, Units{1, 2, 3});
    EXPECT_EQ(match.block_tokens, c.block_tokens);
    EXPECT_EQ(match.total, c.total) << c.block_tokens;
  }
}

TEST(ApproxPrefixTest, Case125Limits) {
  const auto total = [](int64_t tokens, int64_t blocks) {
    auto producer = epp::test::Make(
        kType, {{"maxPrefixTokensToMatch", tokens}, {"maxPrefixBlocksToMatch", blocks}});
    return Query(producer, Pool(1), Units{1, 2, 3, 4}).total;
  };
  EXPECT_EQ(total(2 * kBlock, 3), 2);
  EXPECT_EQ(total(0, 3), 3);
  EXPECT_EQ(total(0, 0), 4);
  EXPECT_EQ(total(kBlock - 1, 3), 0) << "less than a block: nothing to match";
}

TEST(ApproxPrefixTest, Case126Parameters) {
  const auto ok = [](const Params& p) { return epp::test::Make(kType, p).ok(); };
  EXPECT_TRUE(ok({{"autoTune", false}, {"blockSize", 24}}));
  EXPECT_FALSE(ok({{"unknownField", 1}}));
  EXPECT_FALSE(ok({{"autoTune", false}, {"blockSizeTokens", 0}}));
  EXPECT_TRUE(ok({{"autoTune", true}, {"blockSizeTokens", 0}}));
  EXPECT_FALSE(ok({{"maxPrefixTokensToMatch", -1}}));
  EXPECT_FALSE(ok({{"maxIndexBytes", 1000}}));
  EXPECT_TRUE(ok({{"lruCapacityPerServer", 0}}));
}

TEST(ApproxPrefixTest, Case127PromptsMatchOnTheirOwn) {
  auto producer = epp::test::Make(kType);
  const Pool pool(1);
  producer.Upserted(pool);
  Prompts sent(std::vector<Units>{{1, 2}, {3, 4}});
  producer.Produce(pool, sent.request);
  producer.PreRequest(Profiles{"default"}.Ok("default", {0}).Primary("default"), pool,
                      sent.request);
  Prompts query(std::vector<Units>{{1, 2}, {}, {5, 6}});
  const Match match = Query(producer, pool, query.request);
  EXPECT_THAT(match.blocks, ElementsAre(2));
  EXPECT_EQ(match.total, 4);
}

TEST(ApproxPrefixTest, ModelAndSaltSeparate) {
  auto producer = epp::test::Make(kType);
  const Pool pool(1);
  producer.Upserted(pool);
  Send(producer, pool, {1}, 0);
  Prompts other(Units{1});
  other.request.TargetModel("other");
  EXPECT_THAT(Query(producer, pool, other.request).blocks, ElementsAre(0));
  Prompts salted(Units{1});
  salted.raw.cache_salt = epp::Str("salt");
  EXPECT_THAT(Query(producer, pool, salted.request).blocks, ElementsAre(0));
  EXPECT_THAT(Query(producer, pool, Units{1}).blocks, ElementsAre(1));
}

TEST(ApproxPrefixTest, NothingToHash) {
  auto producer = epp::test::Make(kType);
  const Pool pool(2);
  producer.Upserted(pool);
  Prompts empty(std::vector<Units>{});
  Request unknown;
  for (Request* r : {&empty.request, &unknown}) {
    const Match match = Query(producer, pool, *r);
    EXPECT_THAT(match.blocks, ElementsAre(0, 0));
    EXPECT_EQ(match.total, 0);
    EXPECT_EQ(match.block_tokens, 64);
    producer.PreRequest(Profiles{"default"}.Ok("default", {0}).Primary("default"), pool, *r);
    EXPECT_EQ(producer.status(), EPP_OK);
  }
}

TEST(ApproxPrefixTest, FailedProfilesAreNotRecorded) {
  auto producer = epp::test::Make(kType);
  const Pool pool(1);
  producer.Upserted(pool);
  Prompts p(Units{1});
  producer.Produce(pool, p.request);
  producer.PreRequest(Profiles{"decode", "prefill"}.Failed("decode").Skipped("prefill"), pool,
                      p.request);
  EXPECT_THAT(Query(producer, pool, Units{1}).blocks, ElementsAre(0));
}

TEST(ApproxPrefixTest, EndpointThatTookTheSlotStartsCold) {
  auto producer = epp::test::Make(kType);
  Pool pool(2);
  producer.Upserted(pool);
  Send(producer, pool, {1}, 0);
  Send(producer, pool, {1}, 1);
  producer.Removed(pool.endpoint(0));
  EXPECT_THAT(Query(producer, pool, Units{1}).blocks, ElementsAre(0, 1));
  pool.Replace(0);
  EXPECT_THAT(Query(producer, pool, Units{1}).blocks, ElementsAre(0, 1));
  producer.Upserted(pool.endpoint(0));
  Send(producer, pool, {1}, 0);
  EXPECT_THAT(Query(producer, pool, Units{1}).blocks, ElementsAre(1, 1));
}

TEST(ApproxPrefixTest, Metrics) {
  epp::test::Host host;
  auto producer = epp::test::Make(kType, {}, &host, "prefix");
  const Pool pool(1);
  producer.Upserted(pool);
  Send(producer, pool, {1, 2}, 0);
  Send(producer, pool, {1, 3}, 0);
  const Labels labels{{"plugin_name", "prefix"}, {"plugin_type", kType}};
  const Labels own{{"plugin", "prefix"}};
  EXPECT_EQ(host.Metric("llm_d_epp_prefix_indexer_size", labels), 3);
  EXPECT_THAT(host.Observations("llm_d_epp_prefix_indexer_hit_ratio", labels), ElementsAre(0, 0.5));
  EXPECT_THAT(host.Observations("llm_d_epp_prefix_indexer_hit_bytes", labels), ElementsAre(0, 256));
  EXPECT_EQ(host.Metric("epp_prefix_index_blocks", own), 3);
  EXPECT_GT(host.Metric("epp_prefix_index_bytes", own), 0);
  EXPECT_EQ(host.Metric("epp_prefix_index_limit_bytes", own), 256 << 20);
  EXPECT_EQ(host.Metric("epp_prefix_index_evictions_total", own), 0);
}

TEST(ApproxPrefixTest, CountsEvictions) {
  epp::test::Host host;
  auto producer = epp::test::Make(kType, {{"lruCapacityPerServer", 2}}, &host, "prefix");
  const Pool pool(1);
  producer.Upserted(pool);
  for (const uint32_t u : {1u, 2u, 3u, 4u}) Send(producer, pool, {u}, 0);
  EXPECT_EQ(host.Metric("epp_prefix_index_evictions_total", {{"plugin", "prefix"}}), 2);
}

TEST(ApproxPrefixTest, DumpShowsTheFullestFirst) {
  auto producer = epp::test::Make(kType);
  const Pool pool(105);
  producer.Upserted(pool);
  Send(producer, pool, {1, 2}, 42);
  Send(producer, pool, {1}, 7);
  const std::string dump = producer.Dump();
  EXPECT_THAT(dump, HasSubstr("\"blocks\":3,"));
  EXPECT_THAT(dump, HasSubstr("\"total\":105,\"truncated\":true"));
  EXPECT_THAT(dump, HasSubstr(R"("endpoints":[{"endpoint":"default/pod-42","blocks":2},)"
                              R"({"endpoint":"default/pod-7","blocks":1},)"));
}

TEST(ApproxPrefixTest, WarnsAboutSmallBlocks) {
  epp::test::Host host;
  auto quiet = epp::test::Make(kType, {}, &host);
  EXPECT_TRUE(host.logs().empty());
  auto warned = epp::test::Make(kType, {{"blockSizeTokens", 5}}, &host);
  ASSERT_EQ(host.logs().size(), 1u);
  EXPECT_EQ(host.logs()[0].level, EPP_LOG_WARN);
}

TEST(ApproxPrefixStateTest, TheSuccessorMatchesWhatTheOldOneSent) {
  auto old = epp::test::Make(kType);
  auto next = epp::test::Make(kType, {{"lruCapacityPerServer", 500}});
  Pool pool(2);
  for (Instance* i : {&old, &next}) i->Upserted(pool);
  Send(old, pool, {1, 2, 3}, 1);
  ASSERT_TRUE(epp::test::MoveState(old, next).ok());
  EXPECT_THAT(Query(next, pool, {1, 2, 3, 4}).blocks, ElementsAre(0, 3));
  EXPECT_EQ(next.host().Metric("epp_prefix_index_blocks", {{"plugin", "under-test"}}), 3);
}

TEST(ApproxPrefixStateTest, AnEmptyIndexIsNothing) {
  auto old = epp::test::Make(kType);
  EXPECT_EQ(old.SaveState(), "");
  EXPECT_EQ(old.status(), EPP_OK);
}

struct RefusedState {
  const char* name;
  Params params;
  uint32_t version;
  size_t bytes;  // of them
  const char* error;
};
void PrintTo(const RefusedState& r, std::ostream* os) { *os << r.name; }
class ApproxPrefixRefusedStateTest : public testing::TestWithParam<RefusedState> {};

TEST_P(ApproxPrefixRefusedStateTest, LeavesTheInstanceEmpty) {
  auto old = epp::test::Make(kType);
  auto next = epp::test::Make(kType, GetParam().params);
  Pool pool(1);
  for (Instance* i : {&old, &next}) i->Upserted(pool);
  Send(old, pool, {1, 2, 3}, 0);
  const std::string bytes = old.SaveState().substr(0, GetParam().bytes);
  EXPECT_EQ(next.LoadState(GetParam().version, bytes).message(), GetParam().error);
  EXPECT_THAT(Query(next, pool, {1, 2, 3}).blocks, ElementsAre(0));
}

INSTANTIATE_TEST_SUITE_P(
    Table, ApproxPrefixRefusedStateTest,
    testing::Values(
        RefusedState{"BlockSize",
                     {{"blockSizeTokens", 128}},
                     1,
                     1000,
                     "the index was made with blocks of 64 tokens unless reported, this instance "
                     "has blocks of 128 tokens unless reported: its hashes mean nothing here"},
        RefusedState{"AutoTune",
                     {{"autoTune", false}},
                     1,
                     1000,
                     "the index was made with blocks of 64 tokens unless reported, this instance "
                     "has blocks of 64 tokens: its hashes mean nothing here"},
        RefusedState{"Version", {}, 2, 1000, "the index has version 2, want 1"},
        RefusedState{"Nothing", {}, 1, 0, "the index is cut off"},
        RefusedState{"HalfAHeader", {}, 1, 10, "the index is cut off"},
        RefusedState{"HalfAnEndpoint", {}, 1, 30, "the index is malformed"},
        RefusedState{"HalfAHash", {}, 1, 45, "the index is malformed"}),
    [](const auto& info) { return info.param.name; });

TEST(ApproxPrefixCacheProducer, TheMulticlusterTypeIsTheSameUnderItsOwnName) {
  const auto& module = epp::test::Library::Linked().module();
  ASSERT_EQ(module.type_count, 2u);
  EXPECT_STREQ(module.types[1]->name, "multicluster-approx-prefix-cache-producer");
  EXPECT_EQ(module.types[1]->stability, EPP_STABILITY_ALPHA);
  EXPECT_EQ(module.types[1]->param_count, module.types[0]->param_count);
  epp::test::Host host;
  Instance producer(*module.types[1], {}, &host);
  ASSERT_TRUE(producer.ok()) << producer.error();
  EXPECT_FALSE(epp::test::Make("multicluster-approx-prefix-cache-producer",
                               {{"autoTune", false}, {"blockSizeTokens", 0}})
                   .ok());
}

}  // namespace
