// The vLLM back-end on a fake host: what is sent, and what is made of the answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::FakeHttp;
using epp::test::FakeTimers;
using epp::test::Host;
using epp::test::Instance;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kSecond = 1'000'000'000;

class Vllm : public ::testing::Test {
 protected:
  // Answers the warm-up when `warm`; the requests of a test then begin at 1.
  void Make(Params params = {{"modelName", "real"}, {"vllm.url", "http://v:8000/"}},
            bool warm = true) {
    producer_ = std::make_unique<Instance>(*epp::test::Library::Linked().Find("token-producer"),
                                           params, &host_);
    ASSERT_TRUE(producer_->ok()) << producer_->error();
    ASSERT_EQ(http_.size(), 1u);
    if (warm) http_.Answer(0, 200, "[]");
  }
  // A request whose body begins with {"model":"m".
  void Body(int32_t api, std::string body) {
    request_.Api(api).Body(body).Prompt("text");
    epp_parsed parsed{};
    parsed.struct_size = sizeof(parsed);
    parsed.api = api;
    parsed.flags = EPP_PARSED_CAN_REWRITE | EPP_PARSED_MODEL_PRESENT;
    parsed.model_offset = 9;
    parsed.model_size = 3;
    parsed.member_count = 2;
    parsed.max_output_tokens = -1;
    parsed.cache_salt = epp::Str("salt");
    request_.Parsed(parsed);
  }
  // The prompt that an answer makes; null on error or without a value.
  const epp_tokenized_prompt* Answered(int status, std::string_view body) {
    operation_ = std::make_unique<Instance::Operation>(*producer_, pool_, request_);
    if (!operation_->pending()) return nullptr;
    http_.Answer(http_.size() - 1, status, body);
    EXPECT_TRUE(operation_->completed());
    const auto out = operation_->Finish();
    if (producer_->status() != EPP_OK) return nullptr;
    return static_cast<const epp_tokenized_prompt*>(
        out.value(epp::attr::kTokenizedPrompt).opaque());
  }
  ~Vllm() override {
    operation_.reset();
    http_.Stop();
    timers_.Stop();
  }

  Host host_;
  FakeHttp http_{host_};
  FakeTimers timers_{host_};
  Pool pool_{1};
  Request request_;
  std::unique_ptr<Instance> producer_;
  std::unique_ptr<Instance::Operation> operation_;
};

TEST_F(Vllm, Completions) {
  Make();
  Body(EPP_API_COMPLETIONS, R"({"model":"m","prompt":["a","b"]})");
  const auto* t = Answered(200, R"([{"token_ids":[1,2,3]},{"token_ids":[4],"x":{}}])");
  ASSERT_NE(t, nullptr) << producer_->error();
  const FakeHttp::Sent sent = http_.sent(1);
  EXPECT_EQ(sent.method, "POST");
  EXPECT_EQ(sent.url, "http://v:8000/v1/completions/render");
  EXPECT_EQ(sent.body, R"({"model":"real","prompt":["a","b"]})");
  EXPECT_EQ(sent.timeout_ns, 5 * kSecond);
  EXPECT_EQ(t->prompt_count, 2u);
  EXPECT_EQ(t->estimated, 0u);
  EXPECT_EQ(epp::View(t->cache_salt), "salt");
  EXPECT_THAT(std::vector(t->offsets, t->offsets + 3), ElementsAre(0u, 3u, 4u));
  EXPECT_THAT(std::vector(t->tokens, t->tokens + 4), ElementsAre(1u, 2u, 3u, 4u));
}

TEST_F(Vllm, ChatWithFeatures) {
  Make({{"modelName", "real"}, {"vllm.mmTimeout", "7s"}});
  Body(EPP_API_CHAT, R"({"model":"m","messages":[{"content":[{"type":"text"}]}]})");
  const auto* t = Answered(200, R"({"token_ids":[9,9,9,9,9,9],"features":{
      "mm_hashes":{"image":["h1","h2","h3"]},
      "mm_placeholders":{"image":[{"offset":4,"length":2},{"offset":1,"length":1},
                                  {"offset":5,"length":2}]}}})");
  ASSERT_NE(t, nullptr) << producer_->error();
  EXPECT_EQ(http_.sent(1).url, "http://localhost:8000/v1/chat/completions/render");
  EXPECT_EQ(http_.sent(1).timeout_ns, 7 * kSecond);
  ASSERT_EQ(t->media_count, 2u);  // the third lies outside
  EXPECT_EQ(epp::View(t->media[0].hash), "h2");
  EXPECT_EQ(t->media[0].offset, 1u);
  EXPECT_EQ(epp::View(t->media[1].hash), "h1");
  EXPECT_EQ(t->media[1].length, 2u);
}

TEST_F(Vllm, MessagesBecomeAChat) {
  Make();
  Body(EPP_API_MESSAGES, R"({"model":"m","messages":[{"role":"user","content":"hi"}]})");
  ASSERT_NE(Answered(200, R"({"token_ids":[1]})"), nullptr);
  EXPECT_EQ(http_.sent(1).url, "http://v:8000/v1/chat/completions/render");
  EXPECT_EQ(http_.sent(1).body, R"({"model":"real","messages":[{"role":"user","content":"hi"}]})");
}

TEST_F(Vllm, TokenIdsPassThrough) {
  Make();
  request_.Api(EPP_API_COMPLETIONS).Segment(EPP_SEGMENT_TOKEN_IDS, "[7,8]");
  Instance::Operation operation(*producer_, pool_, request_);
  EXPECT_FALSE(operation.pending());
  const auto out = operation.Finish();
  const auto* t =
      static_cast<const epp_tokenized_prompt*>(out.value(epp::attr::kTokenizedPrompt).opaque());
  ASSERT_NE(t, nullptr);
  EXPECT_THAT(std::vector(t->tokens, t->tokens + 2), ElementsAre(7u, 8u));
  EXPECT_EQ(http_.size(), 1u);
}

TEST_F(Vllm, OtherRequestsAreAnError) {
  Make();
  for (const int32_t api : {EPP_API_EMBEDDINGS, EPP_API_RESPONSES, EPP_API_CONVERSATIONS}) {
    Request request;
    request.Api(api).Segment(EPP_SEGMENT_JSON, "\"x\"");
    Instance::Operation operation(*producer_, pool_, request);
    EXPECT_FALSE(operation.pending());
    EXPECT_EQ(producer_->status(), EPP_INVALID_ARGUMENT);
  }
}

TEST_F(Vllm, NoTokensAreNoValue) {
  Make();
  Body(EPP_API_CHAT, R"({"model":"m","messages":[]})");
  EXPECT_EQ(Answered(200, R"({"token_ids":[]})"), nullptr);
  EXPECT_EQ(producer_->status(), EPP_OK);
}

TEST_F(Vllm, BadAnswers) {
  Make();
  Body(EPP_API_CHAT, R"({"model":"m","messages":[]})");
  const std::pair<int, std::string> cases[] = {
      {404, "no such model"},
      {200, ""},
      {200, "[1]"},
      {200, R"({"token_ids":[1,-1]})"},
      {200, R"({"token_ids":[1]} x)"},
      {200, R"({"token_ids":["a"]})"},
      {200, R"({"token_ids":[1],"features":{"mm_hashes":{"image":[}}})"}};
  for (const auto& [status, body] : cases) {
    EXPECT_EQ(Answered(status, body), nullptr) << body;
    EXPECT_EQ(producer_->status(), EPP_UNAVAILABLE) << body;
    EXPECT_THAT(producer_->error(), HasSubstr(body.substr(0, 300)));
  }
}

TEST_F(Vllm, NoAnswer) {
  Make();
  Body(EPP_API_CHAT, R"({"model":"m","messages":[]})");
  Instance::Operation operation(*producer_, pool_, request_);
  http_.Fail(1, EPP_DEADLINE_EXCEEDED, "timeout: connecting");
  operation.Finish();
  EXPECT_EQ(producer_->status(), EPP_DEADLINE_EXCEEDED);
  EXPECT_THAT(producer_->error(), HasSubstr("timeout: connecting"));
}

TEST_F(Vllm, AnswerAfterTheEnd) {
  Make();
  Body(EPP_API_CHAT, R"({"model":"m","messages":[]})");
  { const Instance::Operation operation(*producer_, pool_, request_); }
  http_.Answer(1, 200, R"({"token_ids":[1]})");
}

TEST_F(Vllm, ProduceTimeoutIsTheLargerOne) {
  Make({{"modelName", "m"}, {"vllm.timeout", "40s"}});
  const auto& table = producer_->Table<epp_async_producer>(EPP_ASYNC_PRODUCER_ID);
  EXPECT_EQ(table.timeout_ns(producer_->Self()), 40 * kSecond);
}

TEST_F(Vllm, WarmsUp) {
  Make({{"modelName", "real"}}, false);
  EXPECT_THAT(http_.sent(0).body, HasSubstr(R"("model":"real")"));
  http_.Fail(0, EPP_UNAVAILABLE, "connect: refused");
  EXPECT_EQ(http_.size(), 1u);
  timers_.Advance(5 * kSecond);
  ASSERT_EQ(http_.size(), 2u);
  http_.Answer(1, 503, "");
  timers_.Advance(5 * kSecond);
  ASSERT_EQ(http_.size(), 3u);
  http_.Answer(2, 200, "[]");
  timers_.Advance(60 * kSecond);
  EXPECT_EQ(http_.size(), 3u);
}

TEST_F(Vllm, GivesUpWarmingUp) {
  Make({{"modelName", "real"}}, false);
  for (size_t i = 0; i < 24; ++i) {
    ASSERT_EQ(http_.size(), i + 1);
    http_.Answer(i, 500, "");
    timers_.Advance(5 * kSecond);
  }
  EXPECT_EQ(http_.size(), 24u);
  EXPECT_THAT(host_.logs().back().text, HasSubstr("HTTP 500"));
}

TEST(VllmCreate, Refused) {
  const std::pair<Params, const char*> cases[] = {
      {{{"vllm.url", "http://v"}}, "modelName"},
      {{{"modelName", "m"}, {"vllm.url", "v:8000"}}, "vllm.url"},
      {{{"modelName", "m"}}, "no HTTP client"}};
  for (const auto& [params, why] : cases) {
    auto producer = epp::test::Make("token-producer", params);
    EXPECT_FALSE(producer.ok());
    EXPECT_THAT(producer.error(), HasSubstr(why));
  }
}

}  // namespace
