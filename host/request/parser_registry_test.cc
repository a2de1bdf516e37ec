#include "host/request/parser_registry.h"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <string>

#include "epp/plugin.hpp"

namespace epp::request {
namespace {

// Parsers that differ in what they claim; never called.
struct Base {
  static constexpr const char* kDoc = "test";
  Status ParseRequest(const Call&, const epp_request&, epp_parsed&) const { return {}; }
};
struct OpenAi : Base {
  static constexpr const char* kName = "openai";
  static constexpr std::array kSuffixes{"chat/completions", "completions"};
  static constexpr std::array kProtocols{"http", "kubernetes.io/h2c"};
  static Result<OpenAi> Create(const Context&) { return OpenAi(); }
};
struct Anthropic : Base {
  static constexpr const char* kName = "anthropic";
  static constexpr std::array kSuffixes{"/messages/"};
  static Result<Anthropic> Create(const Context&) { return Anthropic(); }
};
struct Generate : Base {
  static constexpr const char* kName = "generate";
  static constexpr std::array kSuffixes{"generate"};
  static constexpr std::array kProtocols{"kubernetes.io/h2c"};
  static Result<Generate> Create(const Context&) { return Generate(); }
};
struct VllmGenerate : Base {
  static constexpr const char* kName = "vllm-generate";
  static constexpr std::array kSuffixes{"inference/v1/generate"};
  static Result<VllmGenerate> Create(const Context&) { return VllmGenerate(); }
};
struct Fallback : Base {
  static constexpr const char* kName = "fallback";
  static Result<Fallback> Create(const Context&) { return Fallback(); }
};

// Owns the instances behind the steps.
class Parsers {
 public:
  template <class T>
  Parsers& Add(std::string name = T::kName) {
    auto made = loader::Instance::Create({&epp::detail::Type<T>::kRecord, nullptr}, std::move(name),
                                         nullptr, {});
    scheduling::BoundPlugin& bound = plugins_.emplace_back();
    bound.instance = *made;
    steps_.push_back({&bound, bound.instance->Get<epp_parser>(EPP_PARSER_ID)});
    return *this;
  }
  std::string Resolve(std::string_view path) const {
    const auto* step = ParserRegistry(steps_).Resolve(path);
    return step ? step->plugin->name() : "(none)";
  }
  bool Serves(std::string_view protocol) const { return ParserRegistry(steps_).Serves(protocol); }

 private:
  std::deque<scheduling::BoundPlugin> plugins_;
  std::vector<scheduling::Step<epp_parser>> steps_;
};

TEST(ParserRegistryTest, C041_ResolvesBySuffixAndToleratesATrailingSlash) {
  Parsers parsers;
  parsers.Add<OpenAi>().Add<Anthropic>();
  EXPECT_EQ(parsers.Resolve("/v1/messages/"), "anthropic");
  EXPECT_EQ(parsers.Resolve("/v1/chat/completions"), "openai");
  EXPECT_EQ(parsers.Resolve(" /v1/completions "), "openai");
  EXPECT_EQ(parsers.Resolve("/unknown/path"), "(none)");
}

TEST(ParserRegistryTest, NoSegmentBoundaryIsNeeded) {
  Parsers parsers;
  parsers.Add<OpenAi>();
  EXPECT_EQ(parsers.Resolve("/v1/xcompletions"), "openai");
}

TEST(ParserRegistryTest, C043_FallbackTakesTheRest) {
  Parsers parsers;
  parsers.Add<OpenAi>().Add<Fallback>();
  EXPECT_EQ(parsers.Resolve("/anything"), "fallback");
  EXPECT_EQ(parsers.Resolve("/v1/completions"), "openai");
}

TEST(ParserRegistryTest, ParsersBehindTheFallbackAreDropped) {
  Parsers parsers;
  parsers.Add<Fallback>().Add<OpenAi>();
  EXPECT_EQ(parsers.Resolve("/v1/completions"), "fallback");
}

TEST(ParserRegistryTest, C044_LongestSuffixWinsWhateverTheOrder) {
  Parsers parsers;
  parsers.Add<Generate>().Add<VllmGenerate>();
  EXPECT_EQ(parsers.Resolve("/inference/v1/generate"), "vllm-generate");
  EXPECT_EQ(parsers.Resolve("/generate"), "generate");
}

TEST(ParserRegistryTest, C042_C045_FirstOfATypeCounts) {
  Parsers parsers;
  parsers.Add<OpenAi>("first").Add<OpenAi>("second");
  EXPECT_EQ(parsers.Resolve("/v1/completions"), "first");
}

TEST(ParserRegistryTest, C113_C117_EveryParserMustServeTheProtocol) {
  Parsers parsers;
  parsers.Add<OpenAi>().Add<Fallback>();
  EXPECT_TRUE(parsers.Serves(""));
  EXPECT_TRUE(parsers.Serves("http"));
  EXPECT_FALSE(parsers.Serves("grpc"));
  Parsers mixed;
  mixed.Add<OpenAi>().Add<Generate>();
  EXPECT_FALSE(mixed.Serves("http"));
  EXPECT_TRUE(mixed.Serves("kubernetes.io/h2c"));
}

TEST(RequestPathTest, C046_FirstNonEmptyWithoutQuery) {
  EXPECT_EQ(RequestPath("/v1/messages?beta=true", "", ""), "/v1/messages");
  EXPECT_EQ(RequestPath("", "/a?x", "/b"), "/a");
  EXPECT_EQ(RequestPath("", "", "/b"), "/b");
  EXPECT_EQ(RequestPath("", "", ""), "/v1/completions");
}

}  // namespace
}  // namespace epp::request
