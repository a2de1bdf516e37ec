#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/parser_testing.hpp"

namespace {

using epp::test::Describe;
using epp::test::Event;
using epp::test::Request;
using testing::StartsWith;

epp::test::Instance Parser() { return epp::test::Make("anthropic-parser"); }

struct Good {
  const char* name;
  const char* body;
  const char* segments;
};
void PrintTo(const Good& c, std::ostream* os) { *os << c.name; }

class GoodRequest : public testing::TestWithParam<Good> {};

TEST_P(GoodRequest, IsUnderstood) {
  auto parser = Parser();
  Request request;
  request.Path("/v1/messages").Body(GetParam().body);
  const auto parsed = parser.ParseRequest(request);
  ASSERT_TRUE(parsed) << parser.error();
  EXPECT_EQ(parsed->api, EPP_API_MESSAGES);
  EXPECT_EQ(parsed->prompt_count, 1u);
  EXPECT_TRUE(parsed->flags & EPP_PARSED_CAN_REWRITE);
  EXPECT_EQ(Describe(*parsed), GetParam().segments);
}

INSTANTIATE_TEST_SUITE_P(
    Table, GoodRequest,
    testing::Values(
        Good{"Text", R"({"messages":[{"role":"user","content":"hi"}]})", "role:user|text:hi"},
        Good{"Blocks",
             R"({"messages":[{"content":[{"type":"text","text":"a\tb"},{"type":"thinking",
             "thinking":"hm"},{"type":"redacted_thinking","data":"x"}],"role":"u"}]})",
             R"(role:u|text~:a\tb|text:hm)"},
        Good{"SystemComesFirst", R"({"messages":[{"role":"u"}],"system":"s"})", "text:s|role:u"},
        Good{"SystemBlocks",
             R"({"system":[{"type":"text","text":"s"},{"type":"image","source":{"url":"x"}}],
             "messages":[{"role":"u","content":null}]})",
             "text:s|role:u"},
        Good{"ToolsComeFirst",
             R"({"messages":[{"role":"u"}],"system":"s","tools":[{"name":"t","description":null,
"input_schema":{"z":1,"a":2},"strict":true}]})",
             "json:[{\"name\":\"t\",\"description\":null,\n\"input_schema\":{\"z\":1,\"a\":2},"
             "\"strict\":true}]|text:s|role:u"},
        Good{"ToolUseKeepsItsBytes",
             R"({"messages":[{"role":"a","content":[{"type":"tool_use","id":"i","name":"n",
             "input":{ "z" : 1.0, "a":2}}]}]})",
             R"(role:a|text:i|text:n|json:{ "z" : 1.0, "a":2})"},
        Good{"ToolResult",
             R"({"messages":[{"role":"u","content":[{"tool_use_id":"i","content":[{"type":"text",
             "text":"r"},{"type":"image","source":{"type":"base64","data":"QQ==",
             "media_type":"image/png"}}],"type":"tool_result"},
             {"type":"tool_result","content":"s"}]}]})",
             "role:u|text:r|image64:QQ==|text:s"},
        Good{"ContentOfAnotherBlockIsNone",
             R"({"messages":[{"role":"u","content":[{"type":"text","content":"r","text":"t"}]}]})",
             "role:u|text:t"},
        Good{"ImageUrl",
             R"({"messages":[{},{"content":[{"type":"image","source":{"type":"url","url":"h"}},
             {"type":"image"}]}]})",
             "role:|role@1:|image@1:h"}),
    [](const auto& info) { return info.param.name; });

struct Bad {
  const char* name;
  const char* path;
  const char* body;
  const char* error;
};
void PrintTo(const Bad& c, std::ostream* os) { *os << c.name; }

class BadRequest : public testing::TestWithParam<Bad> {};

TEST_P(BadRequest, IsRefused) {
  auto parser = Parser();
  Request request;
  request.Path(GetParam().path).Body(GetParam().body);
  EXPECT_FALSE(parser.ParseRequest(request));
  EXPECT_EQ(parser.status(), EPP_INVALID_ARGUMENT);
  EXPECT_THAT(parser.error(), StartsWith(GetParam().error));
}

constexpr const char* kPath = "/v1/messages";
constexpr const char* kTyped = "error parsing messages request: ";
constexpr const char* kNone = "invalid messages request: must have at least one message";

INSTANTIATE_TEST_SUITE_P(
    Table, BadRequest,
    testing::Values(
        Bad{"OtherPath", "/v1/complete", "{}", "unsupported API endpoint: /v1/complete"},
        Bad{"NoPath", "", "{}", "unsupported API endpoint: "},
        Bad{"HostilePath", "/a\xff\n", "{}", "unsupported API endpoint: /a??"},
        Bad{"NotJson", kPath, "{", "error unmarshaling request body: "},
        Bad{"Array", kPath, "[]", "error unmarshaling request body: "},
        Bad{"BadToolInput", kPath, R"({"messages":[{"content":[{"input":{"a":01}}]}]})",
            "error unmarshaling request body: "},
        Bad{"Null", kPath, "null", kNone}, Bad{"NoMessages", kPath, "{}", kNone},
        Bad{"EmptyMessages", kPath, R"({"messages":[]})", kNone},
        Bad{"TextMessages", kPath, R"({"messages":"x"})", kTyped},
        Bad{"NumberRole", kPath, R"({"messages":[{"role":1}]})", kTyped},
        Bad{"NumberContent", kPath, R"({"messages":[{"content":1}]})", kTyped},
        Bad{"NumberSystem", kPath, R"({"messages":[{}],"system":1})", kTyped},
        Bad{"NumberText", kPath, R"({"messages":[{"content":[{"text":1}]}]})", kTyped},
        Bad{"TextSource", kPath, R"({"messages":[{"content":[{"source":"x"}]}]})", kTyped},
        Bad{"TextTools", kPath, R"({"messages":[{}],"tools":"x"})", kTyped},
        Bad{"TextTool", kPath, R"({"messages":[{}],"tools":["x"]})", kTyped},
        Bad{"NumberToolName", kPath, R"({"messages":[{}],"tools":[{"name":1}]})", kTyped},
        Bad{"TextStrict", kPath, R"({"messages":[{}],"tools":[{"strict":"x"}]})", kTyped},
        Bad{"NumberSalt", kPath, R"({"messages":[{}],"cache_salt":1})", kTyped}),
    [](const auto& info) { return info.param.name; });

TEST(AnthropicRequest, Head) {
  auto parser = Parser();
  Request request;
  request.Path("/v1/messages/")
      .Body(R"({"model":"m","messages":[{}],"stream":true,"max_tokens":9,"cache_salt":"s"})");
  const auto p = parser.ParseRequest(request);
  ASSERT_TRUE(p) << parser.error();
  EXPECT_EQ(epp::View(p->model), "m");
  EXPECT_EQ(epp::View(p->cache_salt), "s");
  EXPECT_EQ(p->max_output_tokens, 9);
  EXPECT_TRUE(p->flags & EPP_PARSED_STREAM);
}

TEST(AnthropicRequest, CountTokensIsNotLookedAt) {
  auto parser = Parser();
  for (const char* body : {"", "not json", R"({"model":"m"})"}) {
    Request request;
    request.Path("/v1/messages/count_tokens").Body(body);
    const auto p = parser.ParseRequest(request);
    ASSERT_TRUE(p);
    EXPECT_EQ(p->api, EPP_API_NONE);
    EXPECT_EQ(p->flags, EPP_PARSED_SKIP_RESPONSE);
    EXPECT_EQ(p->model.size, 0u);
  }
}

struct Reply {
  const char* name;
  bool sse;
  std::vector<std::string> chunks;
  std::vector<std::string> usage;  // one a chunk; "error" for a refusal
};
void PrintTo(const Reply& c, std::ostream* os) { *os << c.name; }

class ReplyTest : public testing::TestWithParam<Reply> {};

TEST_P(ReplyTest, UsageOfEachChunk) {
  auto parser = Parser();
  Request request;
  std::vector<std::string> usage;
  for (const std::string& chunk : GetParam().chunks) {
    Event event;
    event.Bytes(chunk);
    if (GetParam().sse) event.Sse();
    const auto u = parser.ParseResponse(event, request);
    usage.push_back(u ? Describe(*u) : "error");
  }
  EXPECT_EQ(usage, GetParam().usage);
}

const std::string kStart =
    R"(data: {"type":"message_start","message":{"usage":{"input_tokens":1000,)"
    R"("cache_read_input_tokens":800,"output_tokens":1}}})";
const std::string kDelta =
    R"(data: {"type":"message_delta","delta":{},"usage":{"output_tokens":200}})";

INSTANTIATE_TEST_SUITE_P(
    Table, ReplyTest,
    testing::Values(
        Reply{"Json",
              false,
              {R"({"usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":4}})"},
              {"10/5/15 4 0"}},
        Reply{"StringsDoNotCount",
              false,
              {R"({"usage":{"input_tokens":"10","output_tokens":5}})"},
              {"-/5/5 - 0"}},
        Reply{"NoUsage", false, {"{}"}, {"-/-/- - 0"}},
        Reply{"NotJson", false, {R"({"usage":)"}, {"error"}},
        Reply{"StartThenDelta",
              true,
              {"event: message_start\n" + kStart + "\n\n", kDelta + "\n\n"},
              {"1000/-/1000 800 0", "-/200/200 - 0"}},
        Reply{"BothInOneChunk",
              true,
              {kStart + "\r\n\r\n" + kDelta + "\r\n\r\n"},
              {"1000/200/1200 800 0"}},
        Reply{"Split",
              true,
              {kStart.substr(0, 40), kStart.substr(40) + "\n\n"},
              {"-/-/- - 0", "1000/-/1000 800 0"}},
        Reply{"OtherEvents",
              true,
              {R"(data: {"type":"content_block_delta","usage":{"output_tokens":7}})"},
              {"-/-/- - 0"}},
        Reply{"Broken",
              true,
              {R"(data: {"type":"message_delta","usage":{"output_tokens":)"},
              {"-/-/- - 0"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
