// Against ids of the Hugging Face tokenizers library (testdata/make.py), and against ourselves.
#include "plugins/producers/token/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

#include "plugins/producers/token/tokenizer/fast_split.h"
#include "plugins/producers/token/tokenizer/pattern.h"
#include "plugins/producers/token/tokenizer/unicode.h"

namespace token_producer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<uint32_t>;

std::string Contents(const std::string& name) {
  std::ifstream in(std::string(TOKENIZER_TESTDATA) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

Ids Encode(const Tokenizer& tokenizer, std::string_view text, bool special = true) {
  Tokenizer::Memory memory;
  Ids ids;
  const epp::Status status = tokenizer.Encode(text, special, memory, ids);
  EXPECT_TRUE(status.ok()) << status.message();
  return ids;
}

// A file with a small vocabulary, and what its tests add to it.
std::string File(const nlohmann::json& more = nlohmann::json::object()) {
  nlohmann::json file = {
      {"added_tokens", nlohmann::json::array()},
      {"model",
       {{"type", "BPE"},
        {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}, {"abc", 5}}},
        {"merges", {"a b", "b c", "ab c"}}}}};
  file.merge_patch(more);
  return file.dump();
}

class OracleTest : public ::testing::TestWithParam<const char*> {};

TEST_P(OracleTest, SameIds) {
  const auto expected = nlohmann::json::parse(Contents("expected.json"));
  Tokenizer tokenizer;
  const epp::Status status =
      Tokenizer::Load(Contents(GetParam() + std::string(".json")), tokenizer);
  ASSERT_TRUE(status.ok()) << status.message();
  Tokenizer::Memory memory;
  const auto& texts = expected["texts"];
  ASSERT_GT(texts.size(), 100u);
  // Twice, the second time with words that are known.
  for (const bool again : {false, true}) {
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto text = texts[i].get<std::string>();
      Ids ids;
      ASSERT_TRUE(tokenizer.Encode(text, true, memory, ids).ok());
      EXPECT_EQ(ids, expected["ids"][GetParam()][i].get<Ids>()) << again << ": " << text;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, OracleTest,
                         ::testing::Values("llama3", "qwen", "deepseek", "o200k", "gpt2", "llama2",
                                           "metaspace", "gemma", "mixed", "decomposed"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Tokenizer, InvalidUtf8CountsAsReplacementCharacters) {
  Tokenizer tokenizer;
  ASSERT_TRUE(Tokenizer::Load(Contents("llama3.json"), tokenizer).ok());
  const std::pair<std::string, std::string> cases[] = {
      {"a\xff"
       "b",
       "a\ufffdb"},
      {"\xe4\xbd", "\ufffd"},
      {"\xe4\xbd"
       "a",
       "\ufffd"
       "a"},
      {"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
      {"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
      {"\xc0\xaf", "\ufffd\ufffd"},
      {std::string(2000, '\x80'), [] {
         std::string s;
         for (int i = 0; i < 2000; ++i) s += "\ufffd";
         return s;
       }()}};
  for (const auto& [bad, good] : cases) EXPECT_EQ(Encode(tokenizer, bad), Encode(tokenizer, good));
}

TEST(Tokenizer, SpecialTokensOfTheFileAreAskedFor) {
  Tokenizer tokenizer;
  ASSERT_TRUE(Tokenizer::Load(Contents("llama3.json"), tokenizer).ok());
  Ids with = Encode(tokenizer, "a router");
  const Ids without = Encode(tokenizer, "a router", false);
  ASSERT_EQ(with.size(), without.size() + 1);
  with.erase(with.begin());
  EXPECT_EQ(with, without);
}

// A word of a megabyte takes as long as the same bytes in many words, within reason.
TEST(Tokenizer, LongWordsAreNotQuadratic) {
  for (const char* name : {"llama3.json", "llama2.json", "qwen.json"}) {
    Tokenizer tokenizer;
    ASSERT_TRUE(Tokenizer::Load(Contents(name), tokenizer).ok());
    std::mt19937 random(5);
    std::string word;
    while (word.size() < (1 << 20)) word += static_cast<char>('a' + random() % 26);
    std::string marks = "a";
    while (marks.size() < (1 << 19)) marks += "\u0301\u0323";
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_GT(Encode(tokenizer, word).size(), 1000u);
    EXPECT_GT(Encode(tokenizer, std::string(1 << 20, 'x')).size(), 1000u);
    Encode(tokenizer, std::string(1 << 20, ' '));
    Encode(tokenizer, marks);
    // Quadratic would be hours.
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60)) << name;
  }
}

TEST(Tokenizer, MergesInTheOrderOfTheirRanks) {
  Tokenizer tokenizer;
  ASSERT_TRUE(Tokenizer::Load(File(), tokenizer).ok());
  EXPECT_THAT(Encode(tokenizer, "abc"), ElementsAre(5));
  EXPECT_THAT(Encode(tokenizer, "bcab"), ElementsAre(4, 3));
  EXPECT_THAT(Encode(tokenizer, "axb"), ElementsAre(3)) << "no unknown token: dropped";
  Ids long_word;
  for (int i = 0; i < 100; ++i) long_word.insert(long_word.end(), {5, 0});
  std::string text;
  for (int i = 0; i < 100; ++i) text += "abca";
  EXPECT_EQ(Encode(tokenizer, text), long_word);
}

TEST(Tokenizer, NoMergesAndNoVocabulary) {
  for (const char* model :
       {R"({"type":"BPE","vocab":{"a":7}})", R"({"type":"BPE","vocab":{"a":7},"merges":[]})"}) {
    Tokenizer tokenizer;
    ASSERT_TRUE(Tokenizer::Load(std::string("{\"model\":") + model + "}", tokenizer).ok());
    EXPECT_THAT(Encode(tokenizer, "abaa"), ElementsAre(7, 7, 7));
  }
  Tokenizer tokenizer;
  ASSERT_TRUE(Tokenizer::Load(R"({"model":{"type":"BPE","vocab":{}}})", tokenizer).ok());
  EXPECT_THAT(Encode(tokenizer, "abc"), ElementsAre());
}

TEST(Tokenizer, AddedTokensThatAreNotInTheVocabularyKeepTheirIds) {
  Tokenizer tokenizer;
  const std::string file = File({{"added_tokens",
                                  {{{"id", 6}, {"content", "<x>"}, {"special", true}},
                                   {{"id", 7}, {"content", "<x><y>"}, {"special", true}},
                                   {{"id", 99}, {"content", "ab"}, {"special", true}}}}});
  ASSERT_TRUE(Tokenizer::Load(file, tokenizer).ok());
  EXPECT_THAT(Encode(tokenizer, "a<x><y>b<x><x<"), ElementsAre(0, 7, 1, 6));
  EXPECT_THAT(Encode(tokenizer, "abc"), ElementsAre(3, 2)) << "the vocabulary's id";
  EXPECT_EQ(tokenizer.vocabulary_size(), 8u);
}

struct Refusal {
  nlohmann::json more;
  const char* why;
};

TEST(Tokenizer, WhatIsNotSupportedIsRefusedByName) {
  const nlohmann::json split = {{"type", "Split"}, {"behavior", "Isolated"}};
  const auto regex = [&](const char* text) {
    nlohmann::json s = split;
    s["pattern"] = {{"Regex", text}};
    return nlohmann::json{{"pre_tokenizer", s}};
  };
  const Refusal cases[] = {
      {{{"model", {{"type", "Unigram"}}}}, "model.type is \"Unigram\", want BPE"},
      {{{"model", {{"type", "WordPiece"}}}}, "model.type"},
      {{{"model", {{"dropout", 0.5}}}}, "model.dropout"},
      {{{"model", {{"end_of_word_suffix", "</w>"}}}}, "model.end_of_word_suffix"},
      {{{"model", {{"continuing_subword_prefix", "##"}}}}, "model.continuing_subword_prefix"},
      {{{"model", {{"unk_token", "?"}}}}, "model.unk_token"},
      {{{"model", {{"fuse_unk", 1}}}}, "model.fuse_unk is 1, want true or false"},
      {{{"model", {{"vocab", nullptr}}}}, "model.vocab"},
      {{{"model", {{"vocab", {{"a", -1}}}}}}, "model.vocab"},
      {{{"model", {{"vocab", {{"a", 4294967295u}}}}}}, "model.vocab"},
      {{{"model", {{"merges", {"a b c"}}}}}, "model.merges[0]"},
      {{{"model", {{"merges", {"a b", "ab"}}}}}, "model.merges[1]"},
      {{{"model", {{"merges", {{"a", "b", "c"}}}}}}, "model.merges[0]"},
      {{{"model", {{"merges", {{"a"}}}}}}, "model.merges[0]"},
      {{{"model", {{"merges", {"a zz"}}}}}, "\"zz\" is not in the vocabulary"},
      {{{"model", nullptr}}, "tokenizer.model"},
      {{{"normalizer", {{"type", "Precompiled"}}}}, "normalizer.type is \"Precompiled\", want"},
      {{{"normalizer",
         {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Nmt"}}}}}}},
       "normalizer.normalizers[1].type is \"Nmt\""},
      {{{"normalizer", {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", "x"}}}},
       "normalizer.pattern.String"},
      {{{"pre_tokenizer", {{"type", "UnicodeScripts"}}}}, "pre_tokenizer.type"},
      {{{"pre_tokenizer", {{"type", "Split"}, {"behavior", "Odd"}}}}, "pre_tokenizer.behavior"},
      {{{"pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "__"}}}},
       "pre_tokenizer.replacement"},
      {{{"pre_tokenizer",
         {{"type", "Sequence"},
          {"pretokenizers", {{{"type", "ByteLevel"}}, {{"type", "Digits"}}}}}}},
       "pre_tokenizer.pretokenizers[1].type is \"Digits\", want nothing behind ByteLevel"},
      {regex("(a"), "pre_tokenizer.pattern.Regex"},
      {regex("a\\b"), "\\b at byte 1"},
      {regex("(?<n>a)"), "a kind of group"},
      {regex("(a)\\1"), "\\1 at byte 3"},
      {regex("[a[b]]"), "a class in a class"},
      {regex("\\p{Nonsense}"), "pre_tokenizer.pattern.Regex"},
      {{{"post_processor", {{"type", "Odd"}}}}, "post_processor.type"},
      {{{"post_processor",
         {{"type", "TemplateProcessing"},
          {"single", {{{"SpecialToken", {{"id", "<s>"}}}}, {{"Sequence", {{"id", "A"}}}}}}}}},
       "post_processor.special_tokens.<s>.ids"},
      {{{"added_tokens", {{{"content", "x"}}}}}, "added_tokens[0].id"},
      {{{"added_tokens", {{{"id", 1}, {"content", std::string(2000, 'x')}}}}},
       "added_tokens[0].content"},
  };
  for (const Refusal& c : cases) {
    Tokenizer tokenizer;
    const epp::Status status = Tokenizer::Load(File(c.more), tokenizer);
    ASSERT_FALSE(status.ok()) << c.why;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.why));
  }
  const std::pair<std::string, const char*> texts[] = {{"", "tokenizer.model"},
                                                       {"[]", "tokenizer"},
                                                       {"{\"model\":{}", "tokenizer"},
                                                       {"{\"model\":\"\xff\"}", "not UTF-8"},
                                                       {std::string(2000, '['), "tokenizer"}};
  for (const auto& [text, why] : texts) {
    Tokenizer tokenizer;
    const epp::Status status = Tokenizer::Load(text, tokenizer);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }
}

TEST(Pattern, MeansWhatOnigurumaMeans) {
  struct Case {
    const char* pattern;
    std::string text, match;
  };
  const Case cases[] = {
      {"\\s+", "a\u180e\u3000b", "\u3000"},  // no white space since Unicode 6.3
      {"[^\\s]+", " \u180e ", "\u180e"},
      {"[\\Sx]+", " \u180e ", "\u180e"},
      {"\\w+", "-\u0301\u0903_1\u00aa-", "\u0301\u0903_1\u00aa"},
      {"\\p{Han}+", "\u3042\u6f22\u30fb", "\u6f22"},  // by script, not by script extension
      {"\\p{^L}+", "ab12", "12"},
      {"\\h+", "xyz0aFg", "0aF"},
      {"[\\p{L}&&[^\\p{Han}]]+", "\u6f22\u3042\u3042\u6f22", "\u3042\u3042"},
      {"[a-z&&[aeiou]]{2}", "xaeb", "ae"},
      {"a{,2}b", "aaab", "aab"},
      {"x{a", "x{a", "x{a"},
      {"^b$", "a\nb\nc", "b"},
      {"(?i)STRASSE", "strasse", "strasse"},
      {"a.c", "a\nc a\rc", "a\rc"},
      {"\\u0041", "xA", "A"},
      {"[]#]+", "a#]b", "#]"},
  };
  MatchMemory memory;
  for (const Case& c : cases) {
    auto compiled = Pattern::Compile(c.pattern);
    ASSERT_TRUE(compiled.ok()) << c.pattern << ": " << compiled.status().message();
    const auto pattern = compiled.release();
    size_t begin = 0, end = 0;
    ASSERT_EQ(pattern->Next(c.text, 0, memory, begin, end), Pattern::Found::kYes) << c.pattern;
    EXPECT_EQ(c.text.substr(begin, end - begin), c.match) << c.pattern;
  }
}

TEST(Pattern, TooManyStepsAreAnError) {
  auto compiled = Pattern::Compile("(?:a|aa|a+)+$");
  ASSERT_TRUE(compiled.ok());
  MatchMemory memory;
  size_t begin = 0, end = 0;
  EXPECT_EQ(compiled.release()->Next(std::string(4000, 'a') + "b", 0, memory, begin, end),
            Pattern::Found::kError);
}

// The expressions that are written out find what PCRE2 finds.
TEST(FastSplit, SameAsTheExpressions) {
  const auto model = [](const char* name) {
    return nlohmann::json::parse(
               Contents(name))["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
        .get<std::string>();
  };
  const std::string tekken =
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const char* const kPieces[] = {
      " ",      "  ",     "\n",     "\r",     "\t",     "a",      "B",      "'",      "s",
      "S",      "re",     "LL",     "1",      "23",     "!",      "/",      ".",      "\u00e9",
      "\u0301", "\u01c5", "\u02b0", "\u4e2d", "\u00a0", "\u3000", "\u017f", "\u00bd", "\U0001f642",
      "\u2028", "_",      "\u0903", "\u0001", "\u30ab", "x"};
  MatchMemory memory;
  const auto deepseek = nlohmann::json::parse(Contents("deepseek.json"))["pre_tokenizer"];
  const auto step = [&](int i) {
    return deepseek["pretokenizers"][i]["pattern"]["Regex"].get<std::string>();
  };
  for (const std::string& text :
       {std::string(kGpt2Pattern), model("llama3.json"), model("qwen.json"), model("o200k.json"),
        tekken, std::string("\\p{N}"), step(0), step(1), step(2)}) {
    const FastSplit fast = FindFastSplit(text);
    ASSERT_NE(fast, nullptr) << text;
    auto compiled = Pattern::Compile(text);
    ASSERT_TRUE(compiled.ok());
    const auto pattern = compiled.release();
    std::mt19937 random(3);
    for (int round = 0; round < 20000; ++round) {
      std::string input;
      for (auto n = 1 + random() % 10; n > 0; --n) {
        input += kPieces[random() % std::size(kPieces)];
      }
      std::vector<size_t> expected, found;
      for (size_t at = 0; at < input.size();) {
        size_t begin = input.size(), end = input.size();
        ASSERT_NE(pattern->Next(input, at, memory, begin, end), Pattern::Found::kError);
        if (begin > at) expected.push_back(begin);
        if (begin < input.size()) expected.push_back(end);
        at = begin < input.size() ? end : input.size();
      }
      for (const char* p = input.data(); p < input.data() + input.size();) {
        p = fast(p, input.data() + input.size());
        found.push_back(static_cast<size_t>(p - input.data()));
      }
      ASSERT_EQ(found, expected) << text << "\n" << input;
    }
  }
  EXPECT_EQ(FindFastSplit(step(2), true), nullptr);
  EXPECT_NE(FindFastSplit(model("qwen.json"), true), nullptr);
}

TEST(Unicode, Forms) {
  struct Case {
    unicode::Form form;
    std::string text, expected;
  };
  const Case cases[] = {
      {unicode::Form::kNfc, "e\u0301", "\u00e9"},
      {unicode::Form::kNfc, "\u212b q\u0307\u0323", "\u00c5 q\u0323\u0307"},
      {unicode::Form::kNfc, "\ufb01", "\ufb01"},
      {unicode::Form::kNfd, "\u00e9\uac01", "e\u0301\u1100\u1161\u11a8"},
      {unicode::Form::kNfkc, "\ufb01\uff05\u00bd", "fi%1\u20442"},
      {unicode::Form::kNfkd, "\u1e9b\u0323", "s\u0323\u0307"},
      {unicode::Form::kNfc, "", ""},
  };
  for (const Case& c : cases) {
    std::string out = "before";
    unicode::Normalize(c.form, c.text, out);
    EXPECT_EQ(out, c.expected) << c.text;
  }
  std::string lower;
  unicode::Lowercase("\u0130\u1e9e\u03a3A", lower);
  EXPECT_EQ(lower, "i\u0307\u00df\u03c3a");
}

}  // namespace
}  // namespace token_producer
