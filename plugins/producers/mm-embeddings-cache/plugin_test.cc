#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/scorer_attributes.hpp"

namespace {

using epp::test::Cell;
using epp::test::Instance;
using epp::test::Labels;
using epp::test::Make;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Produced;
using epp::test::Profiles;
using epp::test::Request;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kType = "mm-embeddings-cache-producer";

// A request with media of the given hashes.
class MediaRequest : public Request {
 public:
  explicit MediaRequest(std::vector<std::string> hashes, int32_t modality = EPP_MODALITY_IMAGE)
      : hashes_(std::move(hashes)) {
    Tokens({1, 2, 3});
    for (const std::string& hash : hashes_) {
      media_.push_back({modality, 0, 0, 1, epp::Str(hash)});
    }
    Attach();
  }
  MediaRequest& And(const std::string& hash, int32_t modality) {
    more_.push_back(std::make_unique<std::string>(hash));
    media_.push_back({modality, 0, 0, 1, epp::Str(*more_.back())});
    Attach();
    return *this;
  }

 private:
  void Attach() {
    tokenized().media = media_.data();
    tokenized().media_count = static_cast<uint32_t>(media_.size());
  }
  std::vector<std::string> hashes_;
  std::vector<std::unique_ptr<std::string>> more_;
  std::vector<epp_media> media_;
};

std::vector<Cell> Matched(const Produced& made) {
  return made.column(epp::common::kEncoderMatchedSize);
}
Cell Asked(const Produced& made) { return made.value(epp::common::kEncoderRequestSize); }

Profiles To(std::vector<uint32_t> rows) {
  return Profiles{"decode"}.Ok("decode", std::move(rows)).Primary("decode");
}

void Send(Instance& producer, const Pool& pool, std::vector<std::string> hashes,
          std::vector<uint32_t> rows) {
  MediaRequest request(std::move(hashes));
  producer.Produce(pool, request);
  producer.PreRequest(To(std::move(rows)), pool, request);
}

std::vector<Cell> Lookup(Instance& producer, const Pool& pool, std::vector<std::string> hashes) {
  MediaRequest request(std::move(hashes));
  return Matched(producer.Produce(pool, request));
}

TEST(MmEmbeddingsCacheTest, RemembersWhatWasSentWhere) {
  auto producer = Make(kType);
  const Pool pool(3);
  producer.Upserted(pool);
  Send(producer, pool, {"a", "b"}, {0});
  Send(producer, pool, {"b"}, {1});
  MediaRequest request({"a", "b", "c"});
  const Produced made = producer.Produce(pool, request);
  EXPECT_THAT(Matched(made), ElementsAre(2, 1, 0));
  EXPECT_EQ(Asked(made), Cell(3));
}

TEST(MmEmbeddingsCacheTest, AnItemCountsOnce) {
  auto producer = Make(kType);
  const Pool pool(1);
  producer.Upserted(pool);
  Send(producer, pool, {"a", "a", ""}, {0});
  MediaRequest request({"a", "", "b", "a"});
  const Produced made = producer.Produce(pool, request);
  EXPECT_THAT(Matched(made), ElementsAre(1));
  EXPECT_EQ(Asked(made), Cell(2));
}

TEST(MmEmbeddingsCacheTest, WithoutItemsNothingIsSaid) {
  auto producer = Make(kType);
  const Pool pool(2);
  producer.Upserted(pool);
  Request untokenized, text;
  text.Tokens({1, 2});
  MediaRequest nameless({"", ""});
  for (Request* request : std::initializer_list<Request*>{&untokenized, &text, &nameless}) {
    const Produced made = producer.Produce(pool, *request);
    EXPECT_THAT(Matched(made), Each(Cell()));
    EXPECT_EQ(Asked(made), Cell());
    producer.PreRequest(To({0}), pool, *request);
    EXPECT_EQ(producer.status(), EPP_OK);
  }
  EXPECT_THAT(producer.Dump(), HasSubstr("{\"items\":0,"));
}

// Every target may serve the request; and in disaggregated serving another endpoint encodes.
TEST(MmEmbeddingsCacheTest, AllPrimaryTargetsAndTheEncoder) {
  auto producer = Make(kType);
  const Pool pool(4);
  producer.Upserted(pool);
  MediaRequest request({"a"});
  producer.Produce(pool, request);
  Profiles profiles{"encode", "prefill", "decode"};
  profiles.Ok("encode", {0}).Ok("prefill", {1}).Ok("decode", {2, 3}).Primary("decode");
  producer.PreRequest(profiles, pool, request);
  EXPECT_THAT(Lookup(producer, pool, {"a"}), ElementsAre(1, 0, 1, 1));
}

TEST(MmEmbeddingsCacheTest, FailedProfilesDoNotCount) {
  auto producer = Make(kType);
  const Pool pool(2);
  producer.Upserted(pool);
  MediaRequest request({"a"});
  producer.Produce(pool, request);
  producer.PreRequest(
      Profiles{"encode", "decode"}.Failed("encode").Ok("decode", {1}).Primary("decode"), pool,
      request);
  EXPECT_THAT(Lookup(producer, pool, {"a"}), ElementsAre(0, 1));
}

TEST(MmEmbeddingsCacheTest, TheLeastRecentGoesFirst) {
  auto producer = Make(kType, {{"cacheSizeInMBPerServer", 5}});  // two items
  const Pool pool(1);
  producer.Upserted(pool);
  Send(producer, pool, {"a"}, {0});
  Send(producer, pool, {"b"}, {0});
  Lookup(producer, pool, {"a"});  // looking does not refresh
  Send(producer, pool, {"c"}, {0});
  EXPECT_THAT(Lookup(producer, pool, {"a"}), ElementsAre(0));
  EXPECT_THAT(Lookup(producer, pool, {"b", "c"}), ElementsAre(2));
  Send(producer, pool, {"b"}, {0});  // sending does
  Send(producer, pool, {"d"}, {0});
  EXPECT_THAT(Lookup(producer, pool, {"b"}), ElementsAre(1));
  EXPECT_THAT(Lookup(producer, pool, {"c"}), ElementsAre(0));
}

TEST(MmEmbeddingsCacheTest, Capacity) {
  const auto items = [](const Params& params) {
    auto producer = Make(kType, params);
    const Pool pool(1);
    producer.Upserted(pool);
    std::vector<std::string> hashes;
    for (int i = 0; i < 2100; ++i) hashes.push_back(std::to_string(i));
    Send(producer, pool, hashes, {0});
    return Lookup(producer, pool, hashes)[0].i64();
  };
  EXPECT_EQ(items({}), 2048);
  EXPECT_EQ(items({{"cacheSizeInMBPerServer", 0}}), 2048);
  EXPECT_EQ(items({{"cacheSizeInMBPerServer", -3}}), 2048);
  EXPECT_EQ(items({{"cacheSizeInMBPerServer", 1}}), 1);
  EXPECT_EQ(items({{"cacheSizeInMB", 2000}}), 1000) << "as it is often written";
  EXPECT_EQ(items({{"cacheSizeInMB", 2000}, {"cacheSizeInMBPerServer", 100}}), 50);
}

TEST(MmEmbeddingsCacheTest, EndpointsLeave) {
  auto producer = Make(kType);
  Pool pool(2);
  producer.Upserted(pool);
  Send(producer, pool, {"a"}, {0, 1});
  producer.Removed(pool.endpoint(0));
  EXPECT_THAT(Lookup(producer, pool, {"a"}), ElementsAre(0, 1));
  pool.Replace(0);
  producer.Upserted(pool.endpoint(0));
  EXPECT_THAT(Lookup(producer, pool, {"a"}), ElementsAre(0, 1));
}

TEST(MmEmbeddingsCacheTest, Metrics) {
  epp::test::Host host;
  auto producer = Make(kType, {}, &host, "mm");
  const Pool pool(2);
  producer.Upserted(pool);
  MediaRequest first({"a", "b"});
  first.And("song", EPP_MODALITY_AUDIO);
  producer.Produce(pool, first);
  producer.PreRequest(To({1}), pool, first);
  MediaRequest second({"a", "c"});
  second.And("song", EPP_MODALITY_AUDIO).And("film", EPP_MODALITY_VIDEO);
  producer.Produce(pool, second);
  const auto labels = [](const char* modality, const char* pod) {
    Labels out{{"plugin_type", kType}, {"plugin_name", "mm"}, {"modality", modality}};
    if (pod != nullptr) out["pod"] = pod;
    return out;
  };
  const auto queries = [&](const char* modality) {
    return host.Metric("llm_d_epp_encoder_cache_queries_total", labels(modality, nullptr));
  };
  const auto hits = [&](const char* modality, const char* pod) {
    return host.Metric("llm_d_epp_encoder_cache_hits_total", labels(modality, pod));
  };
  EXPECT_EQ(queries("image"), 4);
  EXPECT_EQ(queries("audio"), 2);
  EXPECT_EQ(queries("video"), 1);
  EXPECT_EQ(hits("image", "default/pod-1"), 1);
  EXPECT_EQ(hits("audio", "default/pod-1"), 1);
  EXPECT_EQ(hits("video", "default/pod-1"), 0);
  EXPECT_EQ(hits("image", "default/pod-0"), 0);
  EXPECT_THAT(host.Observations("llm_d_epp_encoder_cache_hit_ratio",
                                {{"plugin_type", kType}, {"plugin_name", "mm"}}),
              ElementsAre(0, 0, 0, 0.5));
}

TEST(MmEmbeddingsCacheTest, WhatWasLearnedOutlivesAReload) {
  auto old = Make(kType);
  auto next = Make(kType, {{"cacheSizeInMBPerServer", 4}});  // two items
  const Pool pool(2);
  old.Upserted(pool);
  next.Upserted(pool);
  Send(old, pool, {"a"}, {0});
  Send(old, pool, {"b"}, {0});
  Send(old, pool, {"c"}, {0, 1});
  ASSERT_TRUE(epp::test::MoveState(old, next).ok());
  EXPECT_THAT(Lookup(next, pool, {"a", "b", "c"}), ElementsAre(2, 1));
  EXPECT_THAT(Lookup(next, pool, {"a"}), ElementsAre(0, 0)) << "the newest stay";
  const std::string good = old.SaveState();
  EXPECT_EQ(next.LoadState(2, good).message(), "the index has version 2, want 1");
  EXPECT_EQ(next.LoadState(1, good.substr(0, good.size() - 1)).message(), "the index is malformed");
  EXPECT_EQ(Make(kType).SaveState(), "");
}

TEST(MmEmbeddingsCacheTest, Dump) {
  auto producer = Make(kType);
  const Pool pool(2);
  producer.Upserted(pool);
  Send(producer, pool, {"a", "b"}, {1});
  const std::string dump = producer.Dump();
  EXPECT_THAT(dump, HasSubstr("{\"items\":2,\"bytes\":"));
  EXPECT_THAT(dump, HasSubstr(R"("total":2,"truncated":false,"endpoints":[{"endpoint":)"
                              R"("default/pod-1","items":2},{"endpoint":"default/pod-0",)"));
}

TEST(MmEmbeddingsCacheTest, WorkersAtOnce) {
  constexpr uint32_t kWorkers = 4;
  epp::test::Host host(kWorkers);
  auto producer = Make(kType, {{"cacheSizeInMBPerServer", 16}}, &host);
  const Pool pool(3);
  producer.Upserted(pool);
  std::vector<std::thread> threads;
  for (uint32_t w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&, w] {
      for (uint32_t i = 0; i < 100; ++i) {
        MediaRequest request({std::to_string(i % 7), std::to_string(w)});
        request.Worker(w);
        producer.Produce(pool, request);
        producer.PreRequest(To({(i + w) % 3}), pool, request);
      }
    });
  }
  for (int i = 0; i < 30; ++i) {
    producer.Removed(pool.endpoint(2));
    producer.Upserted(pool.endpoint(2));
    producer.SaveState();
  }
  for (std::thread& t : threads) t.join();
  Send(producer, pool, {"last"}, {0, 1, 2});
  EXPECT_THAT(Lookup(producer, pool, {"last"}), Each(Cell(1)));
}

}  // namespace
