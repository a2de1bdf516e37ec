// The back-end with tokenizers in this process.
#include "plugins/producers/token/local.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/producers/token/chat.h"
#include "plugins/producers/token/tokenizer/tokenizer.h"

namespace {

using epp::test::Host;
using epp::test::Instance;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Request;
using testing::ElementsAre;
using testing::HasSubstr;
using token_producer::ChatTemplate;

const std::string kFolder = TOKENIZER_TESTDATA;

std::string Tokenizers(const std::vector<nlohmann::json>& list) {
  return nlohmann::json(list).dump();
}
nlohmann::json Llama3() { return {{"path", kFolder + "/llama3.json"}, {"chatTemplate", "llama3"}}; }

// The ids of a text, by the library alone.
std::vector<uint32_t> Ids(const std::string& path, const std::string& text, bool special) {
  std::ifstream in(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  token_producer::Tokenizer tokenizer;
  EXPECT_TRUE(token_producer::Tokenizer::Load(file, tokenizer).ok());
  token_producer::Tokenizer::Memory memory;
  std::vector<uint32_t> ids;
  EXPECT_TRUE(tokenizer.Encode(text, special, memory, ids).ok());
  return ids;
}

class LocalTest : public ::testing::Test {
 protected:
  void Make(const std::vector<nlohmann::json>& tokenizers) {
    producer_ = std::make_unique<Instance>(*epp::test::Library::Linked().Find("token-producer"),
                                           Params{{"local.tokenizers", Tokenizers(tokenizers)}},
                                           &host_, "tokens");
    ASSERT_TRUE(producer_->ok()) << producer_->error();
  }
  const epp_tokenized_prompt* Tokenize(Request& request) {
    out_ = producer_->Produce(pool_, request);
    if (producer_->status() != EPP_OK) return nullptr;
    return static_cast<const epp_tokenized_prompt*>(
        out_.value(epp::attr::kTokenizedPrompt).opaque());
  }
  static std::vector<uint32_t> Prompt(const epp_tokenized_prompt& t, uint32_t p) {
    return {t.tokens + t.offsets[p], t.tokens + t.offsets[p + 1]};
  }

  Host host_;
  Pool pool_{1};
  std::unique_ptr<Instance> producer_;
  epp::test::Produced out_;
};

TEST_F(LocalTest, CompletionsHaveTheirIds) {
  Make({Llama3()});
  Request request;
  request.Api(EPP_API_COMPLETIONS)
      .Segment(EPP_SEGMENT_TEXT, R"(A \"router\"\n)", EPP_SEGMENT_ESCAPED, 0)
      .Segment(EPP_SEGMENT_TEXT, "", 0, 1)
      .Segment(EPP_SEGMENT_TEXT, "servers", 0, 2)
      .CacheSalt("salt");
  const auto* t = Tokenize(request);
  ASSERT_NE(t, nullptr) << producer_->error();
  ASSERT_EQ(t->prompt_count, 3u);
  EXPECT_EQ(t->estimated, 0u);
  EXPECT_EQ(epp::View(t->cache_salt), "salt");
  EXPECT_EQ(Prompt(*t, 0), Ids(kFolder + "/llama3.json", "A \"router\"\n", true));
  EXPECT_EQ(Prompt(*t, 1), Ids(kFolder + "/llama3.json", "", true));
  EXPECT_EQ(Prompt(*t, 2), Ids(kFolder + "/llama3.json", "servers", true));
}

TEST_F(LocalTest, SpecialTokensCanBeDeclined) {
  Make({Llama3()});
  Request request;
  request.Api(EPP_API_COMPLETIONS)
      .Body(R"({"prompt":"servers","add_special_tokens":false})")
      .Prompt("servers");
  const auto* t = Tokenize(request);
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(Prompt(*t, 0), Ids(kFolder + "/llama3.json", "servers", false));
}

TEST_F(LocalTest, ChatsAndMessages) {
  Make({Llama3()});
  const std::string text =
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe nice.<|eot_id|>"
      "<|start_header_id|>user<|end_header_id|>\n\nHello\nworld<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\n";
  Request chat;
  chat.Api(EPP_API_CHAT).Body(R"({"messages":[{"role":"system","content":" Be nice. "},
      {"role":"user","content":[{"type":"text","text":"Hello"},{"type":"text","text":"world"}]}]})");
  const auto* t = Tokenize(chat);
  ASSERT_NE(t, nullptr) << producer_->error();
  EXPECT_EQ(Prompt(*t, 0), Ids(kFolder + "/llama3.json", text, false));
  EXPECT_EQ(t->estimated, 0u);
  Request messages;
  messages.Api(EPP_API_MESSAGES).Body(R"({"system":"Be nice.",
      "messages":[{"role":"user","content":"Hello\nworld"}]})");
  t = Tokenize(messages);
  ASSERT_NE(t, nullptr) << producer_->error();
  EXPECT_EQ(Prompt(*t, 0), Ids(kFolder + "/llama3.json", text, false));
}

TEST_F(LocalTest, TheModelChoosesTheTokenizer) {
  nlohmann::json other = {{"path", kFolder + "/qwen.json"}, {"model", "q"}};
  Make({other, Llama3()});
  for (const auto& [model, file] : {std::pair("q", "qwen"), std::pair("any", "llama3")}) {
    Request request;
    request.Api(EPP_API_COMPLETIONS).Prompt("servers").TargetModel(model);
    const auto* t = Tokenize(request);
    ASSERT_NE(t, nullptr);
    EXPECT_EQ(Prompt(*t, 0), Ids(kFolder + "/" + file + ".json", "servers", true));
  }
}

TEST_F(LocalTest, WhatCannotBeToldIsEstimatedAndCounted) {
  Make({{{"path", kFolder + "/llama3.json"}, {"model", "m"}, {"chatTemplate", "qwen3"}}});
  struct Case {
    const char* reason;
    int32_t api;
    const char* model;
    const char* body;
  };
  const Case cases[] = {
      {"model", EPP_API_COMPLETIONS, "other", "{}"},
      {"api", EPP_API_EMBEDDINGS, "m", "{}"},
      {"tools", EPP_API_CHAT, "m", R"({"messages":[],"tools":[{}]})"},
      {"tools", EPP_API_CHAT, "m", R"({"messages":[{"role":"tool","content":"x"}]})"},
      {"media", EPP_API_CHAT, "m",
       R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]})"},
      {"template", EPP_API_CHAT, "m", R"({"messages":[{"role":"assistant","content":"x"}]})"},
      {"reasoning", EPP_API_CHAT, "m",
       R"({"messages":[{"role":"user","content":"x","reasoning_content":"y"}]})"},
      {"messages", EPP_API_CHAT, "m", R"({"messages":[]})"},
      {"role", EPP_API_CHAT, "m", R"({"messages":[{"content":"x"}]})"},
      {"body", EPP_API_CHAT, "m", R"({"messages":)"}};
  std::map<std::string, double> expected;
  for (const Case& c : cases) {
    Request request;
    request.Api(c.api).Body(c.body).Prompt("text").TargetModel(c.model);
    const auto* t = Tokenize(request);
    ASSERT_NE(t, nullptr) << c.reason;
    EXPECT_EQ(t->estimated, 1u) << c.reason;
    EXPECT_EQ(host_.Metric("epp_token_producer_estimates_total",
                           {{"plugin_name", "tokens"}, {"reason", c.reason}}),
              ++expected[c.reason])
        << c.body;
  }
}

TEST_F(LocalTest, LongPromptsAreEncodedElsewhere) {
  Make({Llama3()});
  std::string text;
  while (text.size() <= token_producer::Local::kInlineBytes) text += "A router keeps prompts. ";
  Request request;
  request.Api(EPP_API_COMPLETIONS).Prompt(text);
  {
    Instance::Operation operation(*producer_, pool_, request);
    EXPECT_TRUE(operation.pending());
    const auto out = operation.Finish();
    ASSERT_EQ(producer_->status(), EPP_OK);
    const auto* t =
        static_cast<const epp_tokenized_prompt*>(out.value(epp::attr::kTokenizedPrompt).opaque());
    ASSERT_NE(t, nullptr);
    EXPECT_EQ(Prompt(*t, 0), Ids(kFolder + "/llama3.json", text, true));
  }
  // Some are given up, and the instance ends while some are waiting.
  std::vector<std::unique_ptr<Instance::Operation>> operations;
  for (int i = 0; i < 50; ++i) {
    operations.push_back(std::make_unique<Instance::Operation>(*producer_, pool_, request));
    if (i % 2 == 0) operations.pop_back();
  }
  operations.clear();
}

TEST_F(LocalTest, TooMuchWaitingIsEstimated) {
  Make({Llama3()});
  Request request;
  request.Api(EPP_API_COMPLETIONS).Prompt(std::string(2 << 20, 'x'));
  std::vector<std::unique_ptr<Instance::Operation>> operations;
  size_t estimated = 0;
  for (int i = 0; i < 40 && estimated == 0; ++i) {
    operations.push_back(std::make_unique<Instance::Operation>(*producer_, pool_, request));
    if (!operations.back()->pending()) ++estimated;
  }
  EXPECT_EQ(estimated, 1u);
  EXPECT_EQ(host_.Metric("epp_token_producer_estimates_total",
                         {{"plugin_name", "tokens"}, {"reason", "busy"}}),
            1);
}

TEST_F(LocalTest, ProduceTimeout) {
  Make({Llama3()});
  const auto& table = producer_->Table<epp_async_producer>(EPP_ASYNC_PRODUCER_ID);
  EXPECT_EQ(table.timeout_ns(producer_->Self()), 1'000'000'000u);
}

TEST(Local, ChangedFilesAreLoadedAndBadOnesAreNot) {
  const auto folder =
      std::filesystem::path(testing::TempDir()) / ("tokenizers" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::string path = folder / "tokenizer.json";
  const auto put = [&](const std::string& from) {
    std::filesystem::copy_file(kFolder + "/" + from, path + ".new",
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::rename(path + ".new", path);
  };
  put("llama3.json");
  Host host;
  std::unique_ptr<token_producer::Local> local;
  const nlohmann::json list = {{{"path", path}}};
  ASSERT_TRUE(token_producer::Local::Create(epp::Host(host.raw()), list.dump(), 1, local).ok());
  const auto ids = [&] {
    token_producer::Encoding e;
    e.text = "servers";
    e.ends.push_back(e.text.size());
    local->Encode(0, e);
    EXPECT_TRUE(e.status.ok());
    return e.ids;
  };
  EXPECT_EQ(ids(), Ids(kFolder + "/llama3.json", "servers", false));
  put("qwen.json");
  // The thread may have seen it first.
  local->Refresh();
  const auto changed = Ids(kFolder + "/qwen.json", "servers", false);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (ids() != changed && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(ids(), changed);
  put("expected.json");
  local->Refresh();
  EXPECT_EQ(ids(), changed);
  local.reset();
  std::filesystem::remove_all(folder);
}

TEST(LocalCreate, Refused) {
  const std::string good = Tokenizers({Llama3()});
  const std::string path = kFolder + "/llama3.json";
  const std::pair<Params, const char*> cases[] = {
      {{{"local.tokenizers", "[]"}}, "local.tokenizers has 0 entries"},
      {{{"local.tokenizers", "[{}]"}}, "local.tokenizers[0].path is absent"},
      {{{"local.tokenizers", R"([{"path":"x.json"}])"}}, "want an absolute path"},
      {{{"local.tokenizers", R"([{"path":"/none/x.json"}])"}}, "/none/x.json: No such file"},
      {{{"local.tokenizers", R"([{"path":"/tmp"}])"}}, "/tmp: not a regular file"},
      {{{"local.tokenizers", Tokenizers({{{"path", kFolder + "/expected.json"}}})}},
       "expected.json: tokenizer.model is absent"},
      {{{"local.tokenizers", Tokenizers({{{"path", path}, {"chatTemplate", "odd"}}})}},
       "chatTemplate is \"odd\", want chatml"},
      {{{"local.tokenizers", Tokenizers({{{"path", path}, {"modle", "m"}}})}},
       "has the key \"modle\", want path, model, chatTemplate"},
      {{{"local.tokenizers", Tokenizers({{{"path", path}}, {{"path", path}}})}},
       "a model that no other entry has"},
      {{{"local.threads", 3}}, "local.tokenizers is not set"},
      {{{"local.tokenizers", good}, {"modelName", "m"}},
       "\"modelName\" asks for vLLM and \"local.tokenizers\" for a local tokenizer"},
      {{{"local.tokenizers", good}, {"estimate.image.mode", "static"}},
       "\"local.tokenizers\" asks for a local tokenizer and \"estimate.image.mode\" for an "
       "estimate"},
      {{{"modelName", "m"}, {"vllm.url", "http://v"}, {"estimate.video.maxVideoTokens", 5}},
       "\"modelName\" asks for vLLM and \"estimate.video.maxVideoTokens\" for an estimate"}};
  for (const auto& [params, why] : cases) {
    auto producer = epp::test::Make("token-producer", params);
    EXPECT_FALSE(producer.ok());
    EXPECT_THAT(producer.error(), HasSubstr(why));
  }
}

struct Template {
  const char* name;
  const char* body;
  std::string expected;
};

TEST(ChatTemplates, Texts) {
  const char* const kTalk =
      R"({"messages":[{"role":"user","content":"Hi "},{"role":"assistant","content":"<think>x</think>\n\nYes"},{"role":"user","content":"Go"}]})";
  const char* const kSystem =
      R"({"messages":[{"role":"system","content":"S"},{"role":"user","content":"Hi"}]})";
  const Template cases[] = {
      {"chatml", kSystem,
       "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
      {"qwen2", R"({"messages":[{"role":"user","content":"Hi"}]})",
       "<|im_start|>system\nYou are a helpful "
       "assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
       "<|im_start|>assistant\n"},
      {"qwen2.5", R"({"messages":[{"role":"user","content":"Hi"}],"add_generation_prompt":false})",
       "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
       "assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"},
      {"qwen3", kTalk,
       "<|im_start|>user\nHi <|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n"
       "<|im_start|>user\nGo<|im_end|>\n<|im_start|>assistant\n"},
      {"qwen3",
       R"({"messages":[{"role":"user","content":"Hi"}],"chat_template_kwargs":{"enable_thinking":false}})",
       "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"},
      {"llama3.1", kSystem,
       "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
       "December 2023\nToday Date: 26 Jul 2024\n\nS<|eot_id|><|start_header_id|>user"
       "<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
      {"gemma", kSystem, "<bos><start_of_turn>user\nS\n\nHi<end_of_turn>\n<start_of_turn>model\n"},
      {"gemma", kTalk,
       "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n<think>x</think>\n\nYes"
       "<end_of_turn>\n<start_of_turn>user\nGo<end_of_turn>\n<start_of_turn>model\n"},
      {"deepseek-v3", kSystem,
       "<\uff5cbegin\u2581of\u2581sentence\uff5c>S<\uff5cUser\uff5c>Hi<\uff5c"
       "Assistant\uff5c>"}};
  for (const Template& c : cases) {
    ChatTemplate chat = ChatTemplate::kNone;
    ASSERT_TRUE(token_producer::FindChatTemplate(c.name, chat));
    std::string out;
    bool special = true;
    ASSERT_EQ(token_producer::RenderChat(c.body, chat, out, special), nullptr) << c.name;
    EXPECT_EQ(out, c.expected) << c.name;
    EXPECT_FALSE(special);
  }
}

TEST(ChatTemplates, TextsInPieces) {
  const char* const kBody = R"({"messages":[{"role":"user","content":[
      {"type":"text","text":"a "},{"type":"text","text":"b"}]}]})";
  std::string out;
  bool special = true;
  EXPECT_EQ(token_producer::RenderChat(kBody, ChatTemplate::kChatml, out, special), nullptr);
  EXPECT_EQ(out, "<|im_start|>user\na \nb<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_STREQ(token_producer::RenderChat(kBody, ChatTemplate::kGemma, out, special), "content");
}

}  // namespace
