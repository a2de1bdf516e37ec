#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "epp/testing.hpp"
#include "plugins/common/parser_testing.hpp"

namespace {

using epp::test::Describe;
using epp::test::Event;
using epp::test::Request;
using testing::StartsWith;

constexpr const char* kPath = "/inference/v1/generate";

TEST(VllmHttpRequest, TokensAndHead) {
  auto parser = epp::test::Make("vllmhttp-parser");
  for (const char* path : {kPath, "/inference/v1/generate/", "/x/inference/v1/generate"}) {
    Request request;
    request.Path(path).Body(
        R"({"token_ids":[1, 2.0,4294967295],"model":"m","stream":true,"cache_salt":"s",
            "sampling_params":{"max_tokens":7,"n":1},"features":null})");
    const auto p = parser.ParseRequest(request);
    ASSERT_TRUE(p) << parser.error();
    EXPECT_EQ(p->api, EPP_API_GENERATE);
    EXPECT_EQ(Describe(*p), "ids:[1, 2.0,4294967295]");
    EXPECT_EQ(p->max_output_tokens, 7);
    EXPECT_EQ(epp::View(p->model), "m");
    EXPECT_EQ(epp::View(p->cache_salt), "s");
    EXPECT_EQ(p->flags, EPP_PARSED_STREAM | EPP_PARSED_CAN_REWRITE | EPP_PARSED_MODEL_PRESENT);
  }
}

TEST(VllmHttpRequest, Features) {
  auto parser = epp::test::Make("vllmhttp-parser");
  Request request;
  request.Path(kPath).Body(
      R"({"token_ids":[1],"features":{"mm_hashes":{"image":["a"]},)"
      R"("mm_placeholders":{"image":[{"offset":0,"length":1}]},"kwargs_data":null}})");
  const auto p = parser.ParseRequest(request);
  ASSERT_TRUE(p) << parser.error();
  EXPECT_EQ(Describe(*p),
            R"(ids:[1]|json:{"mm_hashes":{"image":["a"]},)"
            R"("mm_placeholders":{"image":[{"offset":0,"length":1}]},"kwargs_data":null})");
}

struct Bad {
  const char* name;
  const char* path;
  const char* body;
  const char* error;
};
void PrintTo(const Bad& c, std::ostream* os) { *os << c.name; }

class BadRequest : public testing::TestWithParam<Bad> {};

TEST_P(BadRequest, IsRefused) {
  auto parser = epp::test::Make("vllmhttp-parser");
  Request request;
  request.Path(GetParam().path).Body(GetParam().body);
  EXPECT_FALSE(parser.ParseRequest(request));
  EXPECT_EQ(parser.status(), EPP_INVALID_ARGUMENT);
  EXPECT_THAT(parser.error(), StartsWith(GetParam().error));
}

constexpr const char* kNone = "invalid generate request: must have non-empty token_ids field";
constexpr const char* kTyped = "invalid generate request: \"";

INSTANTIATE_TEST_SUITE_P(
    Table, BadRequest,
    testing::Values(
        Bad{"OtherPath", "/generate", "{}", "unsupported path: /generate"},
        Bad{"NotJson", kPath, "{", "error unmarshaling request body: "},
        Bad{"NoTokens", kPath, "{}", kNone}, Bad{"Null", kPath, "null", kNone},
        Bad{"EmptyTokens", kPath, R"({"token_ids":[]})", kNone},
        Bad{"NegativeToken", kPath, R"({"token_ids":[1,2,-1]})",
            "invalid generate request: token_ids[2]: invalid value -1"},
        Bad{"FractionalToken", kPath, R"({"token_ids":[2.5]})",
            "invalid generate request: token_ids[0]: invalid value 2.5"},
        Bad{"HugeToken", kPath, R"({"token_ids":[4294967296]})",
            "invalid generate request: token_ids[0]: invalid value"},
        Bad{"TextToken", kPath, R"({"token_ids":["a"]})",
            "invalid generate request: token_ids[0]: invalid value"},
        Bad{"NestedToken", kPath, R"({"token_ids":[[1]]})",
            "invalid generate request: token_ids[0]: invalid value"},
        Bad{"TextTokens", kPath, R"({"token_ids":"a"})", kTyped},
        Bad{"TextFeatures", kPath, R"({"token_ids":[1],"features":"a"})", kTyped},
        Bad{"TextHashes", kPath, R"({"token_ids":[1],"features":{"mm_hashes":{"image":"a"}}})",
            kTyped},
        Bad{"FractionalOffset", kPath,
            R"({"token_ids":[1],"features":{"mm_placeholders":{"image":[{"offset":0.5}]}}})",
            kTyped}),
    [](const auto& info) { return info.param.name; });

TEST(VllmHttpResponse, ReadsAsOpenAi) {
  auto parser = epp::test::Make("vllmhttp-parser");
  Request request;
  Event event;
  event.Bytes(R"({"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}})");
  const auto u = parser.ParseResponse(event, request);
  ASSERT_TRUE(u);
  EXPECT_EQ(Describe(*u), "1/2/3 - 0");
}

}  // namespace
