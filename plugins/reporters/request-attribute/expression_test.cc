#include "expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace epp::request_attribute {
namespace {

using Type = Expression::Type;
using testing::HasSubstr;

// 100 prompt tokens, 20 output tokens, 120 in all; no cached tokens.
constexpr epp_usage kUsage{sizeof(epp_usage), 0, 100, 20, 120, -1};

struct Case {
  const char* text;
  std::optional<double> value;
};

TEST(Expression, Numbers) {
  const Case cases[] = {
      {"1", 1},
      {" 1.5 ", 1.5},
      {".5e1", 5},
      {"usage.prompt_tokens", 100},
      {"usage.prompt_tokens+usage.completion_tokens", 120},
      {"usage.prompt_tokens + 3 * usage.completion_tokens", 160},
      {"(usage.prompt_tokens + 3) * usage.completion_tokens", 2060},
      {"10 - 4 - 3", 3},
      {"2 * 3 % 4", 2},
      {"7.9 % 4.9", 3},
      {"-usage.total_tokens", -120},
      {"- -2", 2},
      {"1 - -2", 3},
      {"int(7.9) / 2", 3.5},
      {"double(3)", 3},
      {"true ? 1 : 2", 1},
      {"1 > 2 ? 1 : 2 > 1 ? 3 : 4", 3},
      {"usage.prompt_tokens >= 100 && !(usage.completion_tokens < 20) ? 1 : 0", 1},
      {"has(usage.cached_tokens) ? usage.cached_tokens : 5", 5},
      {"has(usage.prompt_tokens_details.cached_tokens) || usage.total_tokens != 120 ? 1 : 2", 2},
      {"usage.cached_tokens", std::nullopt},
      {"usage.cached_tokens * 0", std::nullopt},
      {"1 / 0", std::nullopt},
      {"1 % 0.5", std::nullopt},
      {"1e308 * 10", std::nullopt},
      {"1 / 0 > 1 ? 1 : 2", std::nullopt},
      // An error beside what decides does not matter.
      {"usage.cached_tokens > 1 || true ? 1 : 2", 1},
      {"false && usage.cached_tokens > 1 ? 1 : 2", 2},
      {"usage.cached_tokens > 1 && true ? 1 : 2", std::nullopt},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    Expression e;
    const Status status = Expression::Parse(c.text, Type::kNumber, e);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(e.Evaluate(kUsage), c.value);
  }
}

TEST(Expression, Refused) {
  struct Bad {
    std::string text;
    const char* says;
  };
  const Bad cases[] = {
      {"", "column 1: want a number"},
      {"1 +", "want a number"},
      {"1 2", "column 3: unexpected text"},
      {"(1", "want )"},
      {"usage", "unknown field"},
      {"usage.", "want a field"},
      {"usage.tokens", "unknown field"},
      {"usage.prompt_tokens.x", "unknown field"},
      {"prompt_tokens", "unknown name"},
      {"1 > 2", "want a number"},
      {"true + 1", "wrong operands of +"},
      {"1 == true ? 1 : 2", "want two of one type"},
      {"1 && true ? 1 : 2", "want true or false"},
      {"1 ? 2 : 3", "before ?"},
      {"true ? 1 : false", "both sides"},
      {"true ? 1", "want :"},
      {"!1", "behind !"},
      {"-true", "behind -"},
      {"has(1)", "want usage.FIELD"},
      {"int(true)", "want a number"},
      {"0x10", "not a number"},
      {"1.2.3", "not a number"},
      {"\"a\"", "want a number"},
      {"[1][0]", "want a number"},
      {std::string(5000, ' '), "longer than"},
      {std::string(1000, '('), "nested too deeply"},
      {std::string(1000, '-') + "1", "nested too deeply"},
      {std::string(1, '\0'), "want a number"},
  };
  for (const Bad& c : cases) {
    SCOPED_TRACE(c.text.substr(0, 40));
    Expression e;
    const Status status = Expression::Parse(c.text, Type::kNumber, e);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.says));
  }
  std::string chain = "1";
  for (int i = 0; i < 1000; ++i) chain += "+1";
  Expression e;
  EXPECT_FALSE(Expression::Parse(chain, Type::kNumber, e).ok());
}

// Any order of tokens is refused or evaluated, quickly.
TEST(Expression, RandomTokens) {
  static constexpr const char* kTokens[] = {"1",
                                            "2.5",
                                            "usage.prompt_tokens",
                                            "usage.cached_tokens",
                                            "has(usage.total_tokens)",
                                            "(",
                                            ")",
                                            "+",
                                            "-",
                                            "*",
                                            "/",
                                            "%",
                                            "<",
                                            "==",
                                            "!",
                                            "&&",
                                            "||",
                                            "?",
                                            ":",
                                            "int(",
                                            " ",
                                            "true"};
  std::mt19937 random(7);
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) text += kTokens[random() % std::size(kTokens)];
    for (const Type type : {Type::kNumber, Type::kBool}) {
      Expression e;
      if (!Expression::Parse(text, type, e).ok()) continue;
      ++accepted;
      const std::optional<double> value = e.Evaluate(kUsage);
      if (type != Type::kBool || !value) continue;
      EXPECT_TRUE(*value == 0 || *value == 1) << text;
    }
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace epp::request_attribute
