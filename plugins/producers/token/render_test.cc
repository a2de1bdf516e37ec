#include "plugins/producers/token/render.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace token_producer {
namespace {

using nlohmann::ordered_json;

TEST(PythonJson, AsPythonWritesIt) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "{}"},
      {"null", "{}"},
      {"{}", "{}"},
      {R"({"b":1,"a":[1,2,{"c":null}]})", R"({"b": 1, "a": [1, 2, {"c": null}]})"},
      {R"(["x\n\u00e9é😀/\/\"\u0001"])", R"(["x\n\u00e9\u00e9\ud83d\ude00//\"\u0001"])"},
      {"[true,false]", "[true, false]"},
      {"[1.0,-0.5,1e5,1e16,1.5e-7,0.0001,100,-0,12345678901234567890]",
       "[1.0, -0.5, 100000.0, 1e+16, 1.5e-07, 0.0001, 100, -0, 12345678901234567890]"},
      {"[1e400,-1e400,0.0,123.456,2.5E3]", "[Infinity, -Infinity, 0.0, 123.456, 2500.0]"},
  };
  for (const auto& [json, want] : cases) {
    std::string out;
    EXPECT_TRUE(AppendPythonJson(json, out)) << json;
    EXPECT_EQ(out, want) << json;
  }
}

TEST(PythonJson, Refused) {
  for (const std::string& json : {std::string("{"), std::string("[1,]"), std::string("1 2"),
                                  std::string(1000, '[') + std::string(1000, ']')}) {
    std::string out;
    EXPECT_FALSE(AppendPythonJson(json, out)) << json.substr(0, 20);
  }
}

TEST(WithModel, ReplacesOrInserts) {
  epp_parsed parsed{};
  parsed.model_offset = 9;
  parsed.model_size = 3;
  parsed.member_count = 2;
  EXPECT_EQ(WithModel(R"({"model":"m","prompt":"p"})", parsed, "\"real\""),
            R"({"model":"real","prompt":"p"})");
  parsed.model_offset = 1;
  parsed.model_size = 0;
  parsed.member_count = 1;
  EXPECT_EQ(WithModel(R"({"prompt":"p"})", parsed, "\"real\""), R"({"model":"real","prompt":"p"})");
  parsed.member_count = 0;
  EXPECT_EQ(WithModel("{}", parsed, "\"real\""), R"({"model":"real"})");
}

TEST(ListContent, Found) {
  EXPECT_TRUE(HasListContent(R"({"messages":[{"content":"a"},{"content":[{}]}]})"));
  for (const char* body : {"", "{}", R"({"messages":[]})", R"({"messages":[{"content":"[1]"}]})",
                           R"({"messages":[{"content":[]}]})", R"({"content":[1]})",
                           R"({"messages":[1,{"content":null}]})"}) {
    EXPECT_FALSE(HasListContent(body)) << body;
  }
}

struct Messages {
  const char* name;
  const char* body;
  const char* want;  // without model
};

class ChatOfMessages : public ::testing::TestWithParam<Messages> {};

TEST_P(ChatOfMessages, IsRebuilt) {
  std::string out;
  const epp::Status status = ChatFromMessages(GetParam().body, "\"m\"", out);
  ASSERT_TRUE(status.ok()) << status.message();
  const auto made = ordered_json::parse(out, nullptr, false);
  ASSERT_FALSE(made.is_discarded()) << out;
  auto want = ordered_json::parse(GetParam().want);
  want["model"] = "m";
  EXPECT_EQ(nlohmann::json(made), nlohmann::json(want)) << out;
}

INSTANTIATE_TEST_SUITE_P(
    All, ChatOfMessages,
    ::testing::Values(
        Messages{"Empty", "{}", R"({"messages":[]})"},
        Messages{
            "Text", R"({"messages":[{"role":"user","content":"a\n\"b"}],"system":"s"})",
            R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"a\n\"b"}]})"},
        Messages{"SystemBlocksWithoutBilling",
                 R"({"system":[{"type":"text","text":"x-anthropic-billing-header: 1"},
                     {"type":"text","text":"a"},{"type":"text","text":"b"}],"messages":[]})",
                 R"({"messages":[{"role":"system","content":"ab"}]})"},
        Messages{"OneTextBlock",
                 R"({"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]})",
                 R"({"messages":[{"role":"user","content":"hi"}]})"},
        Messages{"Images", R"({"messages":[{"role":"user","content":[
                     {"type":"image","source":{"type":"url","url":"http://x/a.png"}},
                     {"type":"text","text":"what"},
                     {"type":"image","source":{"type":"base64","data":"QQ=="}},
                     {"type":"image","source":{"type":"base64","media_type":"image/png","data":"QQ=="}},
                     {"type":"image"}]}]})",
                 R"({"messages":[{"role":"user","content":[
                     {"type":"image_url","image_url":{"url":"http://x/a.png"}},
                     {"type":"text","text":"what"},
                     {"type":"image_url","image_url":{"url":"data:image/jpeg;base64,QQ=="}},
                     {"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}}]}]})"},
        Messages{"ThinkingAndToolUse", R"({"messages":[{"role":"assistant","content":[
                     {"type":"thinking","thinking":"hm"},{"type":"text","text":"ok"},
                     {"type":"tool_use","id":"t1","name":"f","input":{"a":[1,"é"]}},
                     {"type":"tool_use","name":"g","input":{}}]}]})",
                 R"({"messages":[{"role":"assistant","content":"ok","reasoning":"hm","tool_calls":[
                     {"id":"t1","type":"function","function":{"name":"f",
                      "arguments":"{\"a\": [1, \"\\u00e9\"]}"}},
                     {"id":"call_0000000000","type":"function",
                      "function":{"name":"g","arguments":"{}"}}]}]})"},
        Messages{"ToolResult", R"({"messages":[{"role":"user","content":[
                     {"type":"tool_result","tool_use_id":"t1","content":[
                       {"type":"text","text":"a"},{"type":"text","text":"b"},
                       {"type":"image","source":{"type":"url","url":"u"}}]},
                     {"type":"tool_result","tool_use_id":"t2","content":"plain"},
                     {"type":"text","text":"go on"}]}]})",
                 R"({"messages":[{"role":"tool","tool_call_id":"t1","content":"a\nb"},
                     {"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]},
                     {"role":"tool","tool_call_id":"t2","content":"plain"},
                     {"role":"user","content":"go on"}]})"},
        Messages{"Tools", R"({"messages":[],"tools":[
                     {"name":"f","description":"d","input_schema":{"type":"object","z":1,"a":2}},
                     {"name":"g","input_schema":{}},{"name":"h"}]})",
                 R"({"messages":[],"tools":[
                     {"type":"function","function":{"name":"f","description":"d",
                      "parameters":{"type":"object","z":1,"a":2}}},
                     {"type":"function","function":{"name":"g","parameters":{"type":"object"}}},
                     {"type":"function","function":{"name":"h","parameters":{"type":"object"}}}]})"}),
    [](const auto& info) { return info.param.name; });

TEST(ChatOfMessages, KeepsTheOrderOfASchema) {
  std::string out;
  ASSERT_TRUE(
      ChatFromMessages(R"({"tools":[{"name":"f","input_schema":{"z":1, "a":2}}]})", "\"m\"", out)
          .ok());
  EXPECT_NE(out.find(R"("parameters":{"z":1, "a":2})"), std::string::npos) << out;
}

TEST(ChatOfMessages, WhatIsNoJsonIsRefused) {
  for (const char* body :
       {"", "[", R"({"messages":[{]})",
        R"({"messages":[{"role":"assistant","content":[{"type":"tool_use","input":[}]}]})"}) {
    std::string out;
    EXPECT_FALSE(ChatFromMessages(body, "\"m\"", out).ok()) << body;
  }
}

}  // namespace
}  // namespace token_producer
