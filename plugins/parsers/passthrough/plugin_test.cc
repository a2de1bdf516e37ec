#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

TEST(PassthroughParser, LooksAtNothing) {
  auto parser = epp::test::Make("passthrough-parser");
  const auto& table = parser.Table<epp_parser>(EPP_PARSER_ID);
  EXPECT_EQ(table.suffix_count, 0u);
  EXPECT_EQ(table.protocol_count, 0u);
  for (const char* body : {"", "not json", R"({"model":"m","stream":true})"}) {
    epp::test::Request request;
    request.Path("/any").Body(body);
    const auto p = parser.ParseRequest(request);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->api, EPP_API_NONE);
    EXPECT_EQ(p->flags, 0u);
    EXPECT_EQ(p->segment_count, 0u);
    EXPECT_EQ(p->model.size, 0u);
    epp::test::Event event;
    event.Bytes(R"({"usage":{"prompt_tokens":1}})");
    const auto u = parser.ParseResponse(event, request);
    ASSERT_TRUE(u);
    EXPECT_EQ(u->prompt_tokens, -1);
  }
}

}  // namespace
