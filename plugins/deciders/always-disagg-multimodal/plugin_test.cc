#include <gtest/gtest.h>

#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Pool;
using epp::test::Request;
using epp::test::Selection;

// Case 92: images, audio and video against text only.
TEST(AlwaysDisaggMultimodalDecider, Case092MediaOfAnyKind) {
  const Pool pool(1);
  auto decider = epp::test::Make("always-disagg-multimodal-decider");
  for (const int32_t modality : {EPP_MODALITY_IMAGE, EPP_MODALITY_AUDIO, EPP_MODALITY_VIDEO}) {
    Request request;
    request.Tokens({1, 2, 3});
    const std::vector<epp_media> media{{modality, 0, 1, 1, {}}};
    request.tokenized().media = media.data();
    request.tokenized().media_count = 1;
    EXPECT_TRUE(decider.Decide(pool, request)) << modality;
    EXPECT_TRUE(decider.Decide(Selection(pool, {}), request)) << modality;
  }
  Request text;
  text.Tokens({1, 2, 3});
  EXPECT_FALSE(decider.Decide(pool, text));
  Request not_tokenized;
  EXPECT_FALSE(decider.Decide(pool, not_tokenized));
  EXPECT_EQ(decider.status(), EPP_OK);
}

}  // namespace
