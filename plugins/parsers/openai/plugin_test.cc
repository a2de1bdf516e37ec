#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/parser_testing.hpp"

namespace {

using epp::test::Describe;
using epp::test::Event;
using epp::test::Request;
using testing::HasSubstr;
using testing::StartsWith;

epp::test::Instance Parser() { return epp::test::Make("openai-parser"); }

// ---- requests that are understood ----

struct Good {
  const char* name;
  const char* path;
  const char* body;
  int32_t api;
  const char* segments;
  int64_t max_tokens = -1;
  uint32_t prompts = 1;
};
void PrintTo(const Good& c, std::ostream* os) { *os << c.name; }

class GoodRequest : public testing::TestWithParam<Good> {};

TEST_P(GoodRequest, IsUnderstood) {
  const Good& c = GetParam();
  auto parser = Parser();
  Request request;
  request.Path(c.path).Body(c.body);
  const auto parsed = parser.ParseRequest(request);
  ASSERT_TRUE(parsed) << parser.error();
  EXPECT_EQ(parsed->api, c.api);
  EXPECT_EQ(Describe(*parsed), c.segments);
  EXPECT_EQ(parsed->max_output_tokens, c.max_tokens);
  EXPECT_EQ(parsed->prompt_count, c.prompts);
  EXPECT_TRUE(parsed->flags & EPP_PARSED_CAN_REWRITE);
  EXPECT_FALSE(parsed->flags & EPP_PARSED_SKIP_RESPONSE);
}

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kText = "/v1/completions";

INSTANTIATE_TEST_SUITE_P(
    Table, GoodRequest,
    testing::Values(
        Good{"CompletionText", kText, R"({"prompt":"hello"})", EPP_API_COMPLETIONS, "text:hello"},
        Good{"CompletionEscapedText", kText, R"({"prompt":"a\nb"})", EPP_API_COMPLETIONS,
             R"(text~:a\nb)"},
        Good{"CompletionTexts", kText, R"({"prompt":["a","","c"]})", EPP_API_COMPLETIONS,
             "text:a|text.1:|text.2:c", -1, 3},
        Good{"CompletionTokenIds", kText, R"({"prompt":[1, 2,3.0]})", EPP_API_COMPLETIONS,
             "ids:[1, 2,3.0]"},
        Good{"CompletionRender", "/v1/completions/render", R"({"prompt":"x","max_tokens":7})",
             EPP_API_COMPLETIONS, "text:x", 7},
        Good{"NoKnownPathIsCompletions", "", R"({"prompt":"x"})", EPP_API_COMPLETIONS, "text:x"},
        Good{"LastPromptWins", kText, R"({"prompt":["a","b"],"prompt":"c"})", EPP_API_COMPLETIONS,
             "text:c"},
        Good{"EscapedKey", kText, R"({"prom\u0070t":"x"})", EPP_API_COMPLETIONS, "text:x"},
        Good{"ChatText", kChat,
             R"({"messages":[{"role":"system","content":"s"},{"content":"hi","role":"user"}]})",
             EPP_API_CHAT, "role:system|text:s|role@1:user|text@1:hi"},
        Good{"ChatWithoutContent", kChat,
             R"({"messages":[{"role":"a","content":null},{},null,{"role":null}]})", EPP_API_CHAT,
             "role:a|role@1:|role@2:|role@3:"},
        Good{"ChatBlocks", kChat,
             R"({"messages":[{"role":"u","content":[{"type":"text","text":"t"},
             {"image_url":{"url":"http://i","detail":"low"},"type":"image_url"},
             {"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}},
             {"type":"video_url","video_url":{"url":"http://v"}},{"type":"other","text":"no"}]}]})",
             EPP_API_CHAT, "role:u|text:t|image:http://i|audio64:QQ==|format:wav|video:http://v"},
        Good{"ChatToolsComeFirst", kChat,
             R"({"messages":[{"role":"u","content":"x"}],"tools":[{"a": 1}] })", EPP_API_CHAT,
             R"(json:[{"a": 1}]|role:u|text:x)"},
        Good{"ChatEmptyToolsAreNone", kChat,
             R"({"tools":[ ],"messages":[{"role":"u","content":"x"}]})", EPP_API_CHAT,
             "role:u|text:x"},
        Good{"ChatLastMessagesWin", kChat,
             R"({"messages":[{"role":"u","content":"x"}],"messages":[{"role":"v"}]})", EPP_API_CHAT,
             "role:v"},
        Good{"ChatLastContentWins", kChat,
             R"({"messages":[{"content":"x","role":"u","content":"y"}]})", EPP_API_CHAT,
             "role:u|text:y"},
        Good{"ChatTrailingSlash", "/v1/chat/completions/render/", R"({"messages":[{"role":"u"}]})",
             EPP_API_CHAT, "role:u"},
        Good{"ChatLimitPrefersNewName", kChat,
             R"({"max_tokens":50,"max_completion_tokens":100,"messages":[{}]})", EPP_API_CHAT,
             "role:", 100},
        Good{"ChatLimitFallsBack", kChat,
             R"({"max_tokens":5e1,"max_completion_tokens":-1,"messages":[{}]})", EPP_API_CHAT,
             "role:", 50},
        Good{"ZeroLimitIsALimit", kText, R"({"prompt":"x","max_tokens":0})", EPP_API_COMPLETIONS,
             "text:x", 0},
        Good{"NegativeLimitIsNone", kText, R"({"prompt":"x","max_tokens":-5})", EPP_API_COMPLETIONS,
             "text:x"},
        Good{"FractionalLimitIsNone", kText, R"({"prompt":"x","max_tokens":1.5})",
             EPP_API_COMPLETIONS, "text:x"},
        Good{"HugeLimitIsNone", kText, R"({"prompt":"x","max_tokens":1e400})", EPP_API_COMPLETIONS,
             "text:x"},
        Good{"TextLimitIsNone", kText, R"({"prompt":"x","max_tokens":"7"})", EPP_API_COMPLETIONS,
             "text:x"},
        Good{"Responses", "/v1/responses",
             R"({"input":[{"role":"u"}],"instructions":"i","tools":null,"max_output_tokens":3})",
             EPP_API_RESPONSES, R"(json:"i"|json@2:[{"role":"u"}])", 3},
        Good{"Conversations", "/v1/conversations",
             R"({"items":[{"type":"m","role":null,"content":[1]}],"metadata":{}})",
             EPP_API_CONVERSATIONS, R"(json:[{"type":"m","role":null,"content":[1]}])"},
        Good{"EmbeddingsText", "/v1/embeddings", R"({"input":"x"})", EPP_API_EMBEDDINGS,
             R"(json:"x")"},
        Good{"EmbeddingsTexts", "/v1/embeddings", R"({"input":["x","y"]})", EPP_API_EMBEDDINGS,
             R"(json:["x","y"])"},
        Good{"EmbeddingsTokenIds", "/v1/embeddings", R"({"input":[4294967295]})",
             EPP_API_EMBEDDINGS, "ids:[4294967295]"},
        Good{"Images", "/v1/images/generations", R"({"prompt":"cat","n":1,"size":"1x1"})",
             EPP_API_IMAGES, "text:cat"}),
    [](const auto& info) { return info.param.name; });

// ---- requests that are refused ----

struct Bad {
  const char* name;
  const char* path;
  std::string body;
  const char* error;  // the beginning of it
};
void PrintTo(const Bad& c, std::ostream* os) { *os << c.name; }

class BadRequest : public testing::TestWithParam<Bad> {};

TEST_P(BadRequest, IsRefused) {
  const Bad& c = GetParam();
  auto parser = Parser();
  Request request;
  request.Path(c.path).Body(c.body);
  EXPECT_FALSE(parser.ParseRequest(request));
  EXPECT_EQ(parser.status(), EPP_INVALID_ARGUMENT);
  EXPECT_THAT(parser.error(), StartsWith(c.error));
  EXPECT_LT(parser.error().size(), 250u);
  for (const char ch : parser.error()) EXPECT_TRUE(ch >= 0x20 && ch < 0x7f) << parser.error();
}

constexpr const char* kNotJson = "error unmarshaling request bodyMap: ";
constexpr const char* kNoPrompt = "invalid completions request: must have prompt field";
constexpr const char* kNoMessages =
    "invalid chat completions request: must have valid messages field";
constexpr const char* kNoInput = "invalid embeddings request: must have input field";
constexpr const char* kNoItems = "invalid conversations request: must have items field";
constexpr const char* kNoImage = "invalid images generations request: must have prompt field";

INSTANTIATE_TEST_SUITE_P(
    Json, BadRequest,
    testing::Values(
        Bad{"Empty", kText, "", kNotJson}, Bad{"Blank", kText, " \n", kNotJson},
        Bad{"Word", kText, "no healthy upstream", kNotJson}, Bad{"Number", kText, "1", kNotJson},
        Bad{"Array", kText, "[]", kNotJson}, Bad{"Open", kText, "{", kNotJson},
        Bad{"OpenInner", kText, R"({"a":[)", kNotJson},
        Bad{"OpenInnerClosed", kText, R"({"a":[})", kNotJson},
        Bad{"OpenString", kText, R"({"prompt":"x)", kNotJson},
        Bad{"Trailing", kText, R"({"prompt":"x"} x)", kNotJson},
        Bad{"TrailingBrace", kText, R"({"prompt":"x"}})", kNotJson},
        Bad{"TrailingObject", kText, R"({"prompt":"x"}{"a":1})", kNotJson},
        Bad{"NoColon", kText, R"({"prompt" "x"})", kNotJson},
        Bad{"NoComma", kText, R"({"prompt":"x" "a":1})", kNotJson},
        Bad{"StringAsKeyAndValue", kText, R"({"prompt":"x":"y"})", kNotJson},
        Bad{"SkippedStringAsKeyAndValue", kText, R"({"prompt":"x","a":"b":{"c":1}})", kNotJson},
        Bad{"ContentAsKeyAndValue", kChat, R"({"messages":[{"content":"x":"y"}]})", kNotJson},
        Bad{"TrailingComma", kText, R"({"prompt":"x",})", kNotJson},
        Bad{"NoValue", kText, R"({"prompt":})", kNotJson},
        Bad{"BadLiteral", kText, R"({"prompt":"x","a":tru})", kNotJson},
        Bad{"BadNumber", kText, R"({"prompt":"x","a":01})", kNotJson},
        Bad{"BadEscape", kText, R"({"prompt":"\x"})", kNotJson},
        Bad{"BadUnicodeEscape", kText, R"({"prompt":"\u12g4"})", kNotJson},
        Bad{"BadEscapeInUnknownField", kText, R"({"prompt":"x","a":{"b":["\q"]}})", kNotJson},
        Bad{"ControlCharacter", kText, "{\"prompt\":\"a\nb\"}", kNotJson},
        Bad{"BadUtf8", kText, "{\"prompt\":\"a\xff\"}", kNotJson},
        Bad{"TooDeep", kText,
            R"({"prompt":"x","a":)" + std::string(100000, '[') + std::string(100000, ']') + "}",
            kNotJson},
        Bad{"SyntaxOutranksType", kText, R"({"prompt":7,"a":nul})", kNotJson}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Fields, BadRequest,
    testing::Values(
        Bad{"Null", kText, "null", kNoPrompt}, Bad{"NoPrompt", kText, "{}", kNoPrompt},
        Bad{"EmptyPrompt", kText, R"({"prompt":""})", kNoPrompt},
        Bad{"NullPrompt", kText, R"({"prompt":null})", kNoPrompt},
        Bad{"EmptyPromptArray", kText, R"({"prompt":[]})", kNoPrompt},
        Bad{"MixedPrompt", kText, R"({"prompt":["a",1]})", kNoPrompt},
        Bad{"NestedPrompt", kText, R"({"prompt":[[1]]})", kNoPrompt},
        Bad{"ObjectPrompt", kText, R"({"prompt":{}})", kNoPrompt},
        Bad{"NegativeTokenId", kText, R"({"prompt":[1,-1]})", kNoPrompt},
        Bad{"FractionalTokenId", kText, R"({"prompt":[1.5]})", kNoPrompt},
        Bad{"HugeTokenId", kText, R"({"prompt":[4294967296]})", kNoPrompt},
        Bad{"NumberSalt", kText, R"({"prompt":"x","cache_salt":1})", kNoPrompt},
        Bad{"NoMessages", kChat, R"({"model":"m"})", kNoMessages},
        Bad{"EmptyMessages", kChat, R"({"messages":[]})", kNoMessages},
        Bad{"TextMessages", kChat, R"({"messages":"x"})", kNoMessages},
        Bad{"TextMessage", kChat, R"({"messages":["x"]})", kNoMessages},
        Bad{"NumberRole", kChat, R"({"messages":[{"role":1}]})", kNoMessages},
        Bad{"NumberContent", kChat, R"({"messages":[{"content":1}]})", kNoMessages},
        Bad{"ObjectContent", kChat, R"({"messages":[{"content":{}}]})", kNoMessages},
        Bad{"TextBlock", kChat, R"({"messages":[{"content":["x"]}]})", kNoMessages},
        Bad{"TextImage", kChat,
            R"({"messages":[{"content":[{"type":"image_url","image_url":"http://i"}]}]})",
            kNoMessages},
        Bad{"TextTools", kChat, R"({"messages":[{}],"tools":"x"})", kNoMessages},
        Bad{"TextToolCalls", kChat, R"({"messages":[{"tool_calls":"x"}]})", kNoMessages},
        Bad{"TextKwargs", kChat, R"({"messages":[{}],"chat_template_kwargs":"x"})", kNoMessages},
        Bad{"TextFlag", kChat, R"({"messages":[{}],"add_generation_prompt":"x"})", kNoMessages},
        Bad{"NoInput", "/v1/responses", R"({"input":null})",
            "invalid responses request: must have input field"},
        Bad{"NoItems", "/v1/conversations", R"({"items":[]})", kNoItems},
        Bad{"TextItem", "/v1/conversations", R"({"items":["x"]})", kNoItems},
        Bad{"NumberItemRole", "/v1/conversations", R"({"items":[{"role":1}]})", kNoItems},
        Bad{"NullEmbeddings", "/v1/embeddings", R"({"input":null})", kNoInput},
        Bad{"EmptyEmbeddings", "/v1/embeddings", R"({"input":""})", kNoInput},
        Bad{"NoImagePrompt", "/v1/images/generations", R"({"model":"m"})", kNoImage},
        Bad{"ImagePrompts", "/v1/images/generations", R"({"prompt":["a"]})", kNoImage},
        Bad{"FractionalN", "/v1/images/generations", R"({"prompt":"a","n":1.0})", kNoImage}),
    [](const auto& info) { return info.param.name; });

TEST(OpenAiRequest, ErrorSaysWhereAndNotWhat) {
  auto parser = Parser();
  Request request;
  request.Path(kChat).Body(R"({"messages":[{"role":"u","content":"secret"}],"tools":"secret"})");
  EXPECT_FALSE(parser.ParseRequest(request));
  EXPECT_EQ(parser.error(), std::string(kNoMessages) + " (\"tools\" at byte 54: want an array)");
  Request broken;
  broken.Path(kText).Body(R"({"prompt":"secret\x"})");
  EXPECT_FALSE(parser.ParseRequest(broken));
  EXPECT_EQ(parser.error(), std::string(kNotJson) + "bad escape at byte 17");
}

// ---- model, stream, salt ----

struct Head {
  const char* name;
  const char* body;
  const char* model;
  const char* rewritten;  // with the model replaced, or inserted, as the host does it
  bool stream;
  uint64_t members;
};
void PrintTo(const Head& c, std::ostream* os) { *os << c.name; }

class HeadTest : public testing::TestWithParam<Head> {};

TEST_P(HeadTest, CanBeRewritten) {
  const Head& c = GetParam();
  auto parser = Parser();
  Request request;
  request.Body(c.body);
  const auto p = parser.ParseRequest(request);
  ASSERT_TRUE(p) << parser.error();
  EXPECT_EQ(epp::View(p->model), c.model);
  EXPECT_EQ((p->flags & EPP_PARSED_STREAM) != 0, c.stream);
  EXPECT_EQ(p->member_count, c.members);
  std::string body = c.body;
  const bool present = p->flags & EPP_PARSED_MODEL_PRESENT;
  body.replace(p->model_offset, p->model_size, present ? "\"T\"" : "\"model\":\"T\",");
  EXPECT_EQ(body, c.rewritten);
}

INSTANTIATE_TEST_SUITE_P(
    Table, HeadTest,
    testing::Values(
        Head{"Plain", R"({"model":"m","prompt":"x","stream":true})", "m",
             R"({"model":"T","prompt":"x","stream":true})", true, 3},
        Head{"Spaces", R"( { "prompt" : "x" , "model" : "m" } )", "m",
             R"( { "prompt" : "x" , "model" : "T" } )", false, 2},
        Head{"Escaped", R"({"model":"a\/b\u00e9","prompt":"x"})", "a/b\xc3\xa9",
             R"({"model":"T","prompt":"x"})", false, 2},
        Head{"Absent", R"( {"prompt":"x"})", "", R"( {"model":"T","prompt":"x"})", false, 1},
        Head{"NotText", R"({"model":{"a":[1]},"prompt":"x","stream":"true"})", "",
             R"({"model":"T","prompt":"x","stream":"true"})", false, 3},
        Head{"LastWins", R"({"model":"a","prompt":"x","model":"bc","stream":true,"stream":1})",
             "bc", R"({"model":"a","prompt":"x","model":"T","stream":true,"stream":1})", false, 5},
        Head{"OnlyTopLevel", R"({"a":{"model":"n"},"prompt":"x"})", "",
             R"({"model":"T","a":{"model":"n"},"prompt":"x"})", false, 2}),
    [](const auto& info) { return info.param.name; });

TEST(OpenAiRequest, SaltIsUnescaped) {
  auto parser = Parser();
  Request request;
  request.Body(R"({"prompt":"x","cache_salt":"a\u0062"})");
  const auto p = parser.ParseRequest(request);
  ASSERT_TRUE(p);
  EXPECT_EQ(epp::View(p->cache_salt), "ab");
}

TEST(OpenAiRequest, NestingWithinTheLimitPasses) {
  auto parser = Parser();
  Request request;
  request.Body(R"({"prompt":"x","a":)" + std::string(500, '[') + std::string(500, ']') + "}");
  EXPECT_TRUE(parser.ParseRequest(request)) << parser.error();
}

TEST(OpenAiRequest, ManyMessagesAndHugeBodies) {
  auto parser = Parser();
  std::string body = R"({"messages":[)";
  for (int i = 0; i < 3000; ++i) {
    body +=
        (i ? "," : "") + std::string(R"({"role":"u","content":")") + std::string(700, 'x') + "\"}";
  }
  body += "]}";
  for (int round = 0; round < 2; ++round) {
    Request request;
    request.Path(kChat).Body(body);
    const auto p = parser.ParseRequest(request);
    ASSERT_TRUE(p) << parser.error();
    EXPECT_EQ(p->segment_count, 6000u);
    EXPECT_EQ(p->segments[5999].message, 2999u);
  }
}

// Every worker has its own parser; one instance serves them all at once.
TEST(OpenAiRequest, WorkersDoNotShare) {
  epp::test::Host host(4);
  auto parser = epp::test::Make("openai-parser", {}, &host);
  std::vector<std::thread> threads;
  std::array<int, 4> good{};
  for (uint32_t worker = 0; worker < 4; ++worker) {
    threads.emplace_back([&, worker] {
      for (size_t i = 0; i < 200; ++i) {
        const std::string text(1 + i * 37 * (worker + 1) % 5000, static_cast<char>('a' + worker));
        Request request;
        request.Worker(worker).Body("{\"prompt\":\"" + text + "\"}");
        const auto p = parser.ParseRequest(request);
        good[worker] += p && epp::View(p->segments[0].bytes) == text;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_THAT(good, testing::Each(200));
}

// Documents with one byte changed are accepted exactly when an independent parser accepts them.
TEST(OpenAiRequest, AcceptsWhatIsJson) {
  auto parser = Parser();
  const std::string base =
      R"({"prompt":"x\n\u00e9","a":[1,-2.5,0.1,{"b":null,"c":[],"d":{}},true,false],"model":"m"})";
  constexpr std::string_view kBytes = "{}[]\",:\\ u01-.tfnx\n";
  std::mt19937 random(20240601);
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string body = base;
    const size_t at = random() % body.size();
    const char byte = kBytes[random() % kBytes.size()];
    switch (random() % 3) {
      case 0:
        body[at] = byte;
        break;
      case 1:
        body.insert(at, 1, byte);
        break;
      default:
        body.erase(at, 1);
    }
    Request request;
    request.Body(body);
    const bool ours = parser.ParseRequest(request).has_value();
    const bool json = ours || !parser.error().starts_with(kNotJson);
    EXPECT_EQ(json, nlohmann::json::accept(body)) << body << "\n" << parser.error();
    accepted += json;
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_LT(accepted, 19000);
}

// ---- responses ----

struct Reply {
  const char* name;
  bool sse;
  std::vector<std::string> chunks;
  std::vector<std::string> usage;  // one a chunk, as Describe writes it; "error" for a refusal
};
void PrintTo(const Reply& c, std::ostream* os) { *os << c.name; }

class ReplyTest : public testing::TestWithParam<Reply> {};

TEST_P(ReplyTest, UsageOfEachChunk) {
  const Reply& c = GetParam();
  auto parser = Parser();
  Request request;
  std::vector<std::string> usage;
  for (size_t i = 0; i < c.chunks.size(); ++i) {
    Event event;
    event.Bytes(c.chunks[i]);
    if (c.sse) event.Sse();
    if (i + 1 == c.chunks.size()) event.Last();
    const auto u = parser.ParseResponse(event, request);
    usage.push_back(u ? Describe(*u) : "error");
  }
  EXPECT_EQ(usage, c.usage);
}

const std::string kUsage =
    R"(data: {"usage":{"prompt_tokens":5,"completion_tokens":10,"total_tokens":15}})";
const std::string kToken = R"(data: {"choices":[{"delta":{"content":"x"}}],"usage":null})";

INSTANTIATE_TEST_SUITE_P(
    Json, ReplyTest,
    testing::Values(
        Reply{"Cached",
              false,
              {R"({"id":"1","usage":{"prompt_tokens":11,"completion_tokens":100,
                "total_tokens":111,"prompt_tokens_details":{"cached_tokens":10}}})"},
              {"11/100/111 10 0"}},
        Reply{"OtherNames",
              false,
              {R"({"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3,
                "input_tokens_details":{"cached_tokens":4},
                "prompt_tokens_details":{"cached_tokens":5}}})"},
              {"1/2/3 4 0"}},
        Reply{"Strings",
              false,
              {R"({"usage":{"prompt_tokens":"11","completion_tokens":"12.0","total_tokens":"x"}})"},
              {"11/12/0 - 0"}},
        Reply{"MalformedFields",
              false,
              {R"({"usage":{"prompt_tokens":[],"completion_tokens":{},"total_tokens":true,
                "prompt_tokens_details":7}})"},
              {"0/0/0 - 0"}},
        Reply{"HugeNumbers",
              false,
              {R"({"usage":{"prompt_tokens":1e999,"completion_tokens":-4,"total_tokens":1e3}})"},
              {"0/0/1000 - 0"}},
        Reply{"None", false, {R"({"choices":[]})"}, {"-/-/- - 0"}},
        Reply{"Null", false, {R"({"usage":null})"}, {"-/-/- - 0"}},
        Reply{"NestedIsNotIt", false, {R"({"a":{"usage":{"prompt_tokens":1}}})"}, {"-/-/- - 0"}},
        Reply{"NoObject", false, {R"({"usage":7})"}, {"error"}},
        Reply{"NoJson", false, {R"({"usage":{})"}, {"error"}},
        Reply{"Trailing", false, {R"({"usage":{}} x)"}, {"error"}},
        Reply{"Empty", false, {""}, {"-/-/- - 0"}}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Sse, ReplyTest,
    testing::Values(
        Reply{"UsageThenDone",
              true,
              {kUsage + "\n\n", "data: [DONE]\n\n"},
              {"5/10/15 - 1", "-/-/- - 0"}},
        Reply{"UsageWithoutLineFeed",
              true,
              {kUsage, "\n\ndata: [DONE]"},
              {"5/10/15 - 1", "-/-/- - 0"}},
        Reply{"EventsAdd",
              true,
              {kToken + "\n\n" + kToken + "\n\n", kToken + "\n\ndata: [DONE]\n\n"},
              {"-/-/- - 2", "-/-/- - 1"}},
        Reply{"EventCutBehindItsPrefix",
              true,
              {"data: ", "{\"a\":1}\n\n"},
              {"-/-/- - 1", "-/-/- - 0"}},
        Reply{"EventCutInItsPrefix", true, {"da", "ta: {\"a\":1}\n\n"}, {"-/-/- - 0", "-/-/- - 1"}},
        Reply{"DataWithinAnEventIsNoEvent",
              true,
              {"data: {\"a\":\"", "data: x\"}\n"},
              {"-/-/- - 1", "-/-/- - 0"}},
        Reply{"CarriageReturnTerminator",
              true,
              {kToken + "\r\n\r\ndata: [DONE]\r\n\r\n"},
              {"-/-/- - 1"}},
        Reply{"CutTerminatorCounts", true, {"data: [DO", "NE]\n\n"}, {"-/-/- - 1", "-/-/- - 0"}},
        Reply{
            "OtherLinesDoNotCount", true, {"event: x\n: ping\ndata:{}\nid: 1\n\n"}, {"-/-/- - 0"}},
        Reply{"UsageSplit",
              true,
              {kUsage.substr(0, 30), kUsage.substr(30) + "\n\n"},
              {"-/-/- - 1", "5/10/15 - 0"}},
        Reply{"UsageSplitInItsPrefix",
              true,
              {"dat", kUsage.substr(3) + "\n\n"},
              {"-/-/- - 0", "5/10/15 - 1"}},
        Reply{"UsageSplitManyTimes",
              true,
              {kUsage.substr(0, 9), kUsage.substr(9, 20), kUsage.substr(29)},
              {"-/-/- - 1", "-/-/- - 0", "5/10/15 - 0"}},
        Reply{"StrictTypes", true, {R"(data: {"usage":{"prompt_tokens":"5"}})"}, {"-/-/- - 1"}},
        Reply{"NoAliases", true, {R"(data: {"usage":{"input_tokens":5}})"}, {"-/-/- - 1"}},
        Reply{"SecondLineWhenTheFirstIsBroken",
              true,
              {"data: {\"usage\":{\"prompt_tokens\":x}}\n" + kUsage + "\n"},
              {"5/10/15 - 2"}},
        Reply{"FirstLineWins",
              true,
              {kUsage + "\n" + R"(data: {"usage":{"prompt_tokens":9}})" + "\n"},
              {"5/10/15 - 2"}},
        Reply{"UsageInTheTextOnly",
              true,
              {R"(data: {"choices":[{"delta":{"content":"usage"}}]})"},
              {"-/-/- - 1"}},
        Reply{"ResponseCompleted",
              true,
              {R"(data: {"type":"response.completed","response":{"usage":{"input_tokens":3,
"output_tokens":"4","total_tokens":7}}})"},
              {"-/-/- - 1"}},
        Reply{"ResponseCompletedOnOneLine",
              true,
              {R"(data: {"response":{"usage":{"input_tokens":3,"output_tokens":"4",)"
               R"("total_tokens":7}},"type":"response.completed"})"},
              {"3/4/7 - 1"}},
        Reply{"ResponseOfAnotherType",
              true,
              {R"(data: {"type":"response.created","response":{"usage":{"input_tokens":3}}})"},
              {"-/-/- - 1"}}),
    [](const auto& info) { return info.param.name; });

TEST(OpenAiResponse, VeryLongSplitLineIsDropped) {
  auto parser = Parser();
  Request request;
  const auto feed = [&](const std::string& bytes) {
    Event event;
    event.Bytes(bytes).Sse();
    return Describe(*parser.ParseResponse(event, request));
  };
  EXPECT_EQ(feed("data: {\"a\":\"" + std::string(200000, 'x')), "-/-/- - 1");
  EXPECT_EQ(feed(std::string(200000, 'x')), "-/-/- - 0");
  EXPECT_EQ(feed("\",\"usage\":{\"prompt_tokens\":1}}\n"), "-/-/- - 0");
  EXPECT_EQ(feed(kUsage + "\n"), "5/10/15 - 1");
}

TEST(OpenAiParser, ClaimsItsPaths) {
  auto parser = Parser();
  const auto& table = parser.Table<epp_parser>(EPP_PARSER_ID);
  std::vector<std::string> suffixes(table.suffixes, table.suffixes + table.suffix_count);
  EXPECT_THAT(suffixes,
              testing::UnorderedElementsAre("chat/completions", "completions", "embeddings",
                                            "responses", "conversations", "chat/completions/render",
                                            "completions/render", "images/generations"));
  EXPECT_EQ(table.protocol_count, 2u);
}

}  // namespace
