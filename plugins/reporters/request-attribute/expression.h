// Arithmetic over the token counts of a response, in the syntax of CEL.
//
//   usage.prompt_tokens + 3 * usage.completion_tokens
//   has(usage.cached_tokens) ? usage.prompt_tokens - usage.cached_tokens : usage.prompt_tokens
//
// Numbers (all doubles) and truth values, + - * / % (of whole parts), comparisons, && || ! ?: and
// parentheses, has(usage.X), int(X), double(X). Fields: prompt_tokens, completion_tokens,
// total_tokens, cached_tokens, also as prompt_tokens_details.cached_tokens.
//
// Types are checked when it is parsed; size and depth are limited, so evaluating ends soon.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "epp/plugin.hpp"

namespace epp::request_attribute {

class Expression {
 public:
  static constexpr size_t kMaxBytes = 4096;
  static constexpr size_t kMaxNodes = 512;
  static constexpr int kMaxDepth = 64;
  enum class Type : uint8_t { kNumber, kBool };

  // On error `out` is unspecified; the message says where, as "column N: ...".
  static Status Parse(std::string_view text, Type want, Expression& out);

  // A number, or 0 or 1. Nothing when it needs a count that is absent, or divides by zero, or the
  // result is not finite. Threads: any.
  std::optional<double> Evaluate(const epp_usage& usage) const;

 private:
  friend class ExpressionParser;
  enum class Op : uint8_t {
    kConstant,
    kField,
    kHas,
    kNegate,
    kNot,
    kWhole,
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kRemainder,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kEqual,
    kNotEqual,
    kAnd,
    kOr,
    kChoose,
  };
  struct Node {
    Op op;
    Type type;
    uint16_t a = 0;  // operands, as indices of nodes; or the field
    uint16_t b = 0;
    uint16_t c = 0;
    double value = 0;
  };
  std::optional<double> Evaluate(uint16_t at, const epp_usage& usage) const;

  std::vector<Node> nodes_;
  uint16_t root_ = 0;
};

}  // namespace epp::request_attribute
