#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>

#include "epp/testing.hpp"
#include "plugins/common/scorer_attributes.hpp"

namespace {

using testing::Each;
using testing::ElementsAre;

constexpr const char* kType = "mm-embeddings-cache-scorer";

TEST(MmEmbeddingsCacheScorerTest, Case034) {
  auto scorer = epp::test::Make(kType);
  epp::test::Pool pool(3);
  pool.Set(epp::common::kEncoderMatchedSize, {80, 20, std::nullopt});
  epp::test::Request request;
  request.Set(epp::common::kEncoderRequestSize, 80 + 20);
  EXPECT_THAT(scorer.Score(pool, request), ElementsAre(0.8, 0.2, 0));
}

TEST(MmEmbeddingsCacheScorerTest, NothingToMatch) {
  auto scorer = epp::test::Make(kType);
  epp::test::Pool pool(2);
  pool.Set(epp::common::kEncoderMatchedSize, {1, 0});
  for (const int64_t total : {int64_t{0}, int64_t{-1}}) {
    epp::test::Request request;
    request.Set(epp::common::kEncoderRequestSize, total);
    EXPECT_THAT(scorer.Score(pool, request), Each(0));
  }
  EXPECT_THAT(scorer.Score(pool), Each(0)) << "no producer ran";
}

TEST(MmEmbeddingsCacheScorerTest, StaysInRange) {
  auto scorer = epp::test::Make(kType);
  epp::test::Pool pool(3);
  pool.Set(epp::common::kEncoderMatchedSize, {INT64_MAX, INT64_MIN, 3});
  epp::test::Request request;
  request.Set(epp::common::kEncoderRequestSize, 4);
  EXPECT_THAT(scorer.Score(pool, request), ElementsAre(1, 0, 0.75));
}

TEST(MmEmbeddingsCacheScorerTest, ReadsTheProducerThatTheConfigNames) {
  auto scorer = epp::test::Make(kType, {{"producerName", "mine"}});
  epp::test::Pool pool(1);
  pool.Set("MultiModalEncoderCacheMatchInfoKey.matchedSize/mine", {1});
  pool.Set("MultiModalEncoderCacheMatchInfoKey.matchedSize/mm-embeddings-cache-producer", {4});
  epp::test::Request request;
  request.Set("MultiModalEncoderCacheMatchInfoKey.requestSize/mine", 4);
  EXPECT_THAT(scorer.Score(pool, request), ElementsAre(0.25));
}

}  // namespace
