#include "tests/sim/api.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/sim/prompt.h"

namespace epp::sim {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(ApiTest, KnowsItsPaths) {
  EXPECT_EQ(ApiKindOfPath("/v1/completions"), ApiKind::kCompletions);
  EXPECT_EQ(ApiKindOfPath("/v1/chat/completions/"), ApiKind::kChat);
  EXPECT_EQ(ApiKindOfPath("/v1/messages"), ApiKind::kMessages);
  EXPECT_EQ(ApiKindOfPath("/v1/embeddings"), ApiKind::kEmbeddings);
  EXPECT_EQ(ApiKindOfPath("/inference/v1/generate"), ApiKind::kGenerate);
  for (const char* other : {"", "/", "/v1", "/v1/completionsx", "/metrics"}) {
    EXPECT_EQ(ApiKindOfPath(other), std::nullopt) << other;
  }
}

TEST(ApiTest, ReadsWhatTheEngineNeeds) {
  const auto request = ParseApiRequest(ApiKind::kCompletions, R"({
    "model": "m", "prompt": "hello", "max_tokens": 7, "min_tokens": 2, "ignore_eos": true,
    "stream": true, "stream_options": {"include_usage": true}, "cache_salt": "s", "temperature": 1,
    "kv_transfer_params": {"do_remote_prefill": true}})");
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->model, "m");
  EXPECT_THAT(request->prompts, ElementsAre("hello"));
  EXPECT_EQ(request->max_tokens, 7u);
  EXPECT_EQ(request->min_tokens, 2u);
  EXPECT_TRUE(request->ignore_eos && request->stream && request->include_usage);
  EXPECT_EQ(request->cache_salt, "s");
  EXPECT_TRUE(request->remote_prefill);
  EXPECT_FALSE(request->remote_decode);
}

TEST(ApiTest, PromptsAreTextTokensOrListsOfThem) {
  const auto prompts = [](const char* prompt) {
    return ParseApiRequest(ApiKind::kCompletions, absl::StrCat("{\"prompt\":", prompt, "}"))
        ->prompts;
  };
  EXPECT_THAT(prompts(R"("ab")"), ElementsAre("ab"));
  EXPECT_THAT(prompts("[97, 98]"), ElementsAre(std::string("a\0\0\0b\0\0\0", 8)));
  EXPECT_THAT(prompts(R"(["ab", "c"])"), ElementsAre("ab", "c"));
  EXPECT_THAT(prompts("[[97], [98]]"),
              ElementsAre(std::string("a\0\0\0", 4), std::string("b\0\0\0", 4)));
}

TEST(ApiTest, ALaterTurnStartsWithTheEarlierPromptAndAnswer) {
  const auto prompt = [](const json& messages) {
    const json body = {{"messages", messages}};
    return ParseApiRequest(ApiKind::kChat, body.dump())->prompts.front();
  };
  const json system = {{"role", "system"}, {"content", "be brief"}};
  const json question = {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "why"}}}}};
  const json answer = {{"role", "assistant"}, {"content", "because"}};
  const json more = {{"role", "user"}, {"content", "really"}};
  const std::string first = prompt(json::array({system, question}));
  const std::string second = prompt(json::array({system, question, answer, more}));
  EXPECT_TRUE(second.starts_with(first + "because")) << second;
}

struct BadRequest {
  const char* name;
  ApiKind kind;
  const char* body;
  const char* error;
};

void PrintTo(const BadRequest& c, std::ostream* os) { *os << c.name; }

class BadRequestTest : public testing::TestWithParam<BadRequest> {};

TEST_P(BadRequestTest, IsRefusedWithAReason) {
  const auto request = ParseApiRequest(GetParam().kind, GetParam().body);
  ASSERT_EQ(request.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(request.status().message()), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadRequestTest,
    testing::Values(
        BadRequest{"Empty", ApiKind::kChat, "", "not valid JSON"},
        BadRequest{"Cut", ApiKind::kChat, R"({"messages": [)", "not valid JSON"},
        BadRequest{"NotUtf8", ApiKind::kCompletions, "{\"prompt\": \"\xff\"}", "not valid JSON"},
        BadRequest{"List", ApiKind::kCompletions, "[]", "want a JSON object"},
        BadRequest{"NoPrompt", ApiKind::kCompletions, "{}", "prompt: missing"},
        BadRequest{"EmptyPrompt", ApiKind::kCompletions, R"({"prompt": ""})", "prompt: missing"},
        BadRequest{"MixedPrompt", ApiKind::kCompletions, R"({"prompt": ["a", 1]})", "prompt:"},
        BadRequest{"NegativeToken", ApiKind::kCompletions, R"({"prompt": [-1]})", "prompt:"},
        BadRequest{"NoMessages", ApiKind::kChat, R"({"messages": []})", "messages: missing"},
        BadRequest{"NoRole", ApiKind::kMessages, R"({"messages": [{"content": "x"}]})", "a role"},
        BadRequest{"MessageIsText", ApiKind::kChat, R"({"messages": ["x"]})", "a role"},
        BadRequest{"NoTokens", ApiKind::kGenerate, R"({"sampling_params": {}})", "token_ids:"},
        BadRequest{"ZeroTokens", ApiKind::kCompletions, R"({"prompt": "a", "max_tokens": 0})",
                   "max_tokens: got 0"},
        BadRequest{"TextTokens", ApiKind::kCompletions, R"({"prompt": "a", "max_tokens": "9"})",
                   "max_tokens: got \"9\""},
        BadRequest{"HugeTokens", ApiKind::kGenerate,
                   R"({"token_ids": [1], "sampling_params": {"max_tokens": 99999999999}})",
                   "max_tokens: got 99999999999"},
        BadRequest{"RemoteDecodeStream", ApiKind::kCompletions,
                   R"({"prompt": "a", "stream": true,
                       "kv_transfer_params": {"do_remote_decode": true}})",
                   "do_remote_decode"}),
    [](const auto& info) { return info.param.name; });

ApiAnswer Answer(ApiKind kind) {
  ApiAnswer answer;
  answer.request.kind = kind;
  answer.request.prompts = {"prompt"};
  answer.request.include_usage = true;
  answer.id = "id-sim-7";
  answer.server = "sim";
  answer.model = "m";
  answer.choices = {{.prompt_tokens = 20,
                     .cached_tokens = 16,
                     .output_tokens = 2,
                     .reached_limit = true,
                     .text = "the sun has "}};
  return answer;
}

TEST(ApiTest, PlainAnswersHaveTheirFamilysShape) {
  const json chat = json::parse(PlainBody(Answer(ApiKind::kChat)));
  EXPECT_EQ(chat["object"], "chat.completion");
  EXPECT_EQ(chat["id"], "id-sim-7");
  EXPECT_EQ(chat["system_fingerprint"], "sim");
  EXPECT_EQ(chat["choices"][0]["message"], (json{{"role", "assistant"}, {"content", "the sun "}}));
  EXPECT_EQ(chat["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(chat["usage"]["prompt_tokens"], 20);
  EXPECT_EQ(chat["usage"]["completion_tokens"], 2);
  EXPECT_EQ(chat["usage"]["total_tokens"], 22);
  EXPECT_EQ(chat["usage"]["prompt_tokens_details"]["cached_tokens"], 16);

  const json text = json::parse(PlainBody(Answer(ApiKind::kCompletions)));
  EXPECT_EQ(text["object"], "text_completion");
  EXPECT_EQ(text["choices"][0]["text"], "the sun ");

  const json message = json::parse(PlainBody(Answer(ApiKind::kMessages)));
  EXPECT_EQ(message["type"], "message");
  EXPECT_EQ(message["content"], json::array({{{"type", "text"}, {"text", "the sun "}}}));
  EXPECT_EQ(message["stop_reason"], "max_tokens");
  EXPECT_EQ(message["usage"]["input_tokens"], 20);
  EXPECT_EQ(message["usage"]["cache_read_input_tokens"], 16);

  const json vectors = json::parse(PlainBody(Answer(ApiKind::kEmbeddings)));
  EXPECT_EQ(vectors["data"][0]["embedding"].size(), 8u);

  const json tokens = json::parse(PlainBody(Answer(ApiKind::kGenerate)));
  EXPECT_EQ(BytesOfTokens(tokens["choices"][0]["token_ids"].get<std::vector<uint32_t>>()),
            "the sun ");
}

TEST(ApiTest, RemoteDecodeAnswersSayWhereTheCacheIs) {
  ApiAnswer answer = Answer(ApiKind::kCompletions);
  answer.request.remote_decode = true;
  const json body = json::parse(PlainBody(answer));
  EXPECT_EQ(body["choices"][0]["finish_reason"], "remote_decode");
  EXPECT_EQ(body["kv_transfer_params"]["do_remote_prefill"], true);
  EXPECT_EQ(body["kv_transfer_params"]["remote_block_ids"], json::array({"0"}));
}

// The JSON of all data lines, without [DONE].
std::vector<json> Events(const std::string& stream) {
  std::vector<json> events;
  for (size_t at = 0; (at = stream.find("data: {", at)) != std::string::npos;) {
    const size_t end = stream.find("\n\n", at);
    events.push_back(json::parse(stream.substr(at + 6, end - at - 6)));
    at = end;
  }
  return events;
}

TEST(ApiTest, ChatStreamsRoleTokensReasonAndUsage) {
  const ApiAnswer answer = Answer(ApiKind::kChat);
  const std::string stream =
      StreamStart(answer) + StreamToken(answer, 0) + StreamFinish(answer, 0) + StreamEnd(answer);
  EXPECT_TRUE(stream.ends_with("data: [DONE]\n\n"));
  const auto events = Events(stream);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0]["object"], "chat.completion.chunk");
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(events[1]["choices"][0]["delta"], (json{{"content", "sun "}}));
  EXPECT_EQ(events[1]["choices"][0]["finish_reason"], nullptr);
  EXPECT_EQ(events[2]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(events[3]["choices"], json::array());
  EXPECT_EQ(events[3]["usage"]["total_tokens"], 22);
}

TEST(ApiTest, UsageIsStreamedOnlyOnDemand) {
  ApiAnswer answer = Answer(ApiKind::kCompletions);
  answer.request.include_usage = false;
  EXPECT_EQ(StreamEnd(answer), "data: [DONE]\n\n");
}

TEST(ApiTest, MessagesStreamIsAnthropics) {
  const ApiAnswer answer = Answer(ApiKind::kMessages);
  std::vector<std::string> types;
  for (const json& event : Events(StreamStart(answer) + StreamToken(answer, 0) +
                                  StreamFinish(answer, 0) + StreamEnd(answer))) {
    types.push_back(event["type"]);
  }
  EXPECT_THAT(types, ElementsAre("message_start", "content_block_start", "content_block_delta",
                                 "content_block_stop", "message_delta", "message_stop"));
}

TEST(ResponsesTest, PlainAndStreamed) {
  ApiAnswer answer = Answer(ApiKind::kResponses);
  const json plain = json::parse(PlainBody(answer));
  EXPECT_EQ(plain["object"], "response");
  EXPECT_EQ(plain["output"][0]["content"][0]["type"], "output_text");
  EXPECT_EQ(plain["usage"]["input_tokens"], answer.choices[0].prompt_tokens);
  const std::string stream =
      StreamStart(answer) + StreamToken(answer, 0) + StreamFinish(answer, 0) + StreamEnd(answer);
  EXPECT_TRUE(stream.starts_with("event: response.created\ndata: {\"type\":\"response.created\""));
  EXPECT_THAT(stream, HasSubstr("event: response.output_text.delta\n"));
  const bool limit = answer.choices[0].reached_limit;
  EXPECT_THAT(stream,
              HasSubstr(limit ? "event: response.incomplete\n" : "event: response.completed\n"));
  for (const auto& [body, good] : {std::pair(R"({"input":"hi","max_output_tokens":3})", true),
                                   {R"({"input":[{"role":"user","content":"hi"}]})", true},
                                   {R"({"input":[]})", false}}) {
    EXPECT_EQ(ParseApiRequest(ApiKind::kResponses, body).ok(), good) << body;
  }
}

TEST(ApiTest, ErrorsHaveTheirFamilysShape) {
  const json openai = json::parse(ErrorBody(ApiKind::kChat, 404, "no"))["error"];
  EXPECT_EQ(openai["type"], "NotFoundError");
  EXPECT_EQ(openai["code"], 404);
  const json anthropic = json::parse(ErrorBody(ApiKind::kMessages, 400, "no"));
  EXPECT_EQ(anthropic["type"], "error");
  EXPECT_EQ(anthropic["error"]["type"], "invalid_request_error");
}

}  // namespace
}  // namespace epp::sim
