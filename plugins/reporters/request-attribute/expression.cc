#include "expression.h"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace epp::request_attribute {
namespace {

struct Field {
  std::string_view name;
  int64_t epp_usage::*count;
};
constexpr std::array kFields{
    Field{"prompt_tokens", &epp_usage::prompt_tokens},
    Field{"completion_tokens", &epp_usage::completion_tokens},
    Field{"total_tokens", &epp_usage::total_tokens},
    Field{"cached_tokens", &epp_usage::cached_tokens},
    Field{"prompt_tokens_details.cached_tokens", &epp_usage::cached_tokens},
    Field{"prompt_token_details.cached_tokens", &epp_usage::cached_tokens},
};

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

}  // namespace

// Recursive descent. Every Parse* gives the index of a node, or nothing after an error.
class ExpressionParser {
 public:
  using Op = Expression::Op;
  using Type = Expression::Type;
  using Index = std::optional<uint16_t>;

  ExpressionParser(std::string_view text, Expression& out) : text_(text), out_(out) {}

  Status Run(Type want) {
    if (text_.size() > Expression::kMaxBytes) {
      return Status::Invalid("longer than " + std::to_string(Expression::kMaxBytes) + " bytes");
    }
    const Index root = Ternary(0);
    if (root) {
      Space();
      if (at_ != text_.size()) {
        Fail("unexpected text");
      } else if (out_.nodes_[*root].type != want) {
        at_ = 0;
        Fail(want == Type::kNumber ? "want a number" : "want true or false");
      } else {
        out_.root_ = *root;
      }
    }
    if (error_.empty()) return {};
    return Status::Invalid(error_);
  }

 private:
  Index Fail(std::string_view what) {
    if (error_.empty()) {
      error_ = "column " + std::to_string(at_ + 1) + ": " + std::string(what);
    }
    return std::nullopt;
  }
  void Space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) {
      ++at_;
    }
  }
  bool Take(std::string_view token) {
    Space();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  Index Add(Op op, Type type, uint16_t a = 0, uint16_t b = 0, uint16_t c = 0, double value = 0) {
    if (out_.nodes_.size() == Expression::kMaxNodes) return Fail("too many operations");
    out_.nodes_.push_back({op, type, a, b, c, value});
    return static_cast<uint16_t>(out_.nodes_.size() - 1);
  }
  bool Is(uint16_t node, Type type) { return out_.nodes_[node].type == type; }

  // How deep the tree below a node may be is what the parser's own depth was; chains such as
  // 1+1+1 grow to the left and are counted as well.
  Index Ternary(int depth) {
    if (depth > Expression::kMaxDepth) return Fail("nested too deeply");
    const Index condition = Binary(0, depth);
    if (!condition || !Take("?")) return condition;
    if (!Is(*condition, Type::kBool)) return Fail("want true or false before ?");
    const Index yes = Ternary(depth + 1);
    if (!yes) return yes;
    if (!Take(":")) return Fail("want :");
    const Index no = Ternary(depth + 1);
    if (!no) return no;
    if (out_.nodes_[*yes].type != out_.nodes_[*no].type) {
      return Fail("both sides of : must be numbers, or both true or false");
    }
    return Add(Op::kChoose, out_.nodes_[*yes].type, *condition, *yes, *no);
  }

  struct Operator {
    std::string_view text;
    Op op;
    int level;
    Type result;
  };
  static constexpr std::array kOperators{
      Operator{"||", Op::kOr, 0, Type::kBool},
      Operator{"&&", Op::kAnd, 1, Type::kBool},
      Operator{"<=", Op::kLessEqual, 2, Type::kBool},
      Operator{">=", Op::kGreaterEqual, 2, Type::kBool},
      Operator{"==", Op::kEqual, 2, Type::kBool},
      Operator{"!=", Op::kNotEqual, 2, Type::kBool},
      Operator{"<", Op::kLess, 2, Type::kBool},
      Operator{">", Op::kGreater, 2, Type::kBool},
      Operator{"+", Op::kAdd, 3, Type::kNumber},
      Operator{"-", Op::kSubtract, 3, Type::kNumber},
      Operator{"*", Op::kMultiply, 4, Type::kNumber},
      Operator{"/", Op::kDivide, 4, Type::kNumber},
      Operator{"%", Op::kRemainder, 4, Type::kNumber},
  };
  static constexpr int kLevels = 5;

  Index Binary(int level, int depth) {
    if (level == kLevels) return Unary(depth);
    Index left = Binary(level + 1, depth);
    for (int chain = 0; left; ++chain) {
      const Operator* found = nullptr;
      for (const Operator& o : kOperators) {
        if (o.level == level && Take(o.text)) {
          found = &o;
          break;
        }
      }
      if (found == nullptr) return left;
      if (depth + chain > Expression::kMaxDepth) return Fail("nested too deeply");
      const Index right = Binary(level + 1, depth + chain + 1);
      if (!right) return right;
      left = Combine(*found, *left, *right);
    }
    return left;
  }

  Index Combine(const Operator& o, uint16_t left, uint16_t right) {
    const Type l = out_.nodes_[left].type;
    const Type r = out_.nodes_[right].type;
    const bool logic = o.op == Op::kOr || o.op == Op::kAnd;
    const bool equality = o.op == Op::kEqual || o.op == Op::kNotEqual;
    const bool fits = equality ? l == r
                      : logic  ? l == Type::kBool && r == Type::kBool
                               : l == Type::kNumber && r == Type::kNumber;
    if (!fits) {
      return Fail("wrong operands of " + std::string(o.text) +
                  (equality ? ": want two of one type"
                   : logic  ? ": want true or false"
                            : ": want numbers"));
    }
    return Add(o.op, o.result, left, right);
  }

  Index Unary(int depth) {
    if (depth > Expression::kMaxDepth) return Fail("nested too deeply");
    if (Take("-")) return Prefix(Op::kNegate, Type::kNumber, depth);
    Space();
    if (!text_.substr(at_).starts_with("!=") && Take("!")) {
      return Prefix(Op::kNot, Type::kBool, depth);
    }
    return Primary(depth);
  }
  Index Prefix(Op op, Type type, int depth) {
    const Index operand = Unary(depth + 1);
    if (!operand) return operand;
    if (!Is(*operand, type)) {
      return Fail(type == Type::kNumber ? "want a number behind -" : "want true or false behind !");
    }
    return Add(op, type, *operand);
  }

  Index Primary(int depth) {
    if (Take("(")) {
      const Index inner = Ternary(depth + 1);
      if (inner && !Take(")")) return Fail("want )");
      return inner;
    }
    Space();
    if (at_ == text_.size()) return Fail("want a number or a name");
    if (IsDigit(text_[at_]) || text_[at_] == '.') return Number();
    const std::string_view word = Word();
    if (word == "true" || word == "false") {
      return Add(Op::kConstant, Type::kBool, 0, 0, 0, word == "true");
    }
    if (word == "usage") return UsageField(Op::kField, Type::kNumber);
    if (word == "has" || word == "int" || word == "double") return Function(word, depth);
    at_ -= word.size();
    return Fail(word.empty() ? "want a number or a name"
                             : "unknown name, want usage.FIELD, has, int, double, true or false");
  }
  Index Function(std::string_view name, int depth) {
    if (!Take("(")) return Fail("want (");
    Index made;
    if (name == "has") {
      Space();
      if (Word() != "usage") return Fail("want usage.FIELD");
      made = UsageField(Op::kHas, Type::kBool);
    } else {
      made = Ternary(depth + 1);
      if (made && !Is(*made, Type::kNumber)) return Fail("want a number");
      if (made && name == "int") made = Add(Op::kWhole, Type::kNumber, *made);
    }
    if (made && !Take(")")) return Fail("want )");
    return made;
  }
  Index Number() {
    double value = 0;
    const char* const begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc()) return Fail("not a number");
    at_ += static_cast<size_t>(end - begin);
    if (at_ < text_.size() && (IsLetter(text_[at_]) || text_[at_] == '.')) {
      return Fail("not a number");
    }
    return Add(Op::kConstant, Type::kNumber, 0, 0, 0, value);
  }
  std::string_view Word() {
    const size_t begin = at_;
    while (at_ < text_.size() && (IsLetter(text_[at_]) || (at_ > begin && IsDigit(text_[at_])))) {
      ++at_;
    }
    return text_.substr(begin, at_ - begin);
  }
  Index UsageField(Op op, Type type) {
    const size_t begin = at_ + 1;
    while (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      if (Word().empty()) return Fail("want a field");
    }
    const std::string_view path = begin <= at_ ? text_.substr(begin, at_ - begin) : "";
    for (size_t i = 0; i < kFields.size(); ++i) {
      if (path == kFields[i].name) return Add(op, type, static_cast<uint16_t>(i));
    }
    return Fail(
        "unknown field of usage, want prompt_tokens, completion_tokens, total_tokens or "
        "cached_tokens");
  }

  const std::string_view text_;
  Expression& out_;
  size_t at_ = 0;
  std::string error_;
};

Status Expression::Parse(std::string_view text, Type want, Expression& out) {
  out.nodes_.clear();
  return ExpressionParser(text, out).Run(want);
}

std::optional<double> Expression::Evaluate(const epp_usage& usage) const {
  const std::optional<double> value = Evaluate(root_, usage);
  if (value && !std::isfinite(*value)) return std::nullopt;
  return value;
}

std::optional<double> Expression::Evaluate(uint16_t at, const epp_usage& usage) const {
  const Node& n = nodes_[at];
  switch (n.op) {
    case Op::kConstant:
      return n.value;
    case Op::kField: {
      const int64_t count = usage.*kFields[n.a].count;
      if (count < 0) return std::nullopt;
      return static_cast<double>(count);
    }
    case Op::kHas:
      return usage.*kFields[n.a].count >= 0;
    case Op::kChoose: {
      const std::optional<double> condition = Evaluate(n.a, usage);
      if (!condition) return condition;
      return Evaluate(*condition != 0 ? n.b : n.c, usage);
    }
    default:
      break;
  }
  const std::optional<double> a = Evaluate(n.a, usage);
  // As in CEL: what decides alone does not need the other, which may be in error.
  if (n.op == Op::kAnd || n.op == Op::kOr) {
    const double decides = n.op == Op::kOr;
    if (a && *a == decides) return a;
    const std::optional<double> b = Evaluate(n.b, usage);
    if (b && *b == decides) return b;
    return a ? b : a;
  }
  if (!a) return a;
  switch (n.op) {
    case Op::kNegate:
      return -*a;
    case Op::kNot:
      return *a == 0;
    case Op::kWhole:
      return std::trunc(*a);
    default:
      break;
  }
  const std::optional<double> b = Evaluate(n.b, usage);
  if (!b) return b;
  switch (n.op) {
    case Op::kAdd:
      return *a + *b;
    case Op::kSubtract:
      return *a - *b;
    case Op::kMultiply:
      return *a * *b;
    case Op::kDivide:
      return *b == 0 ? std::nullopt : std::optional(*a / *b);
    case Op::kRemainder:
      return std::trunc(*b) == 0 ? std::nullopt
                                 : std::optional(std::fmod(std::trunc(*a), std::trunc(*b)));
    case Op::kLess:
      return *a < *b;
    case Op::kLessEqual:
      return *a <= *b;
    case Op::kGreater:
      return *a > *b;
    case Op::kGreaterEqual:
      return *a >= *b;
    case Op::kEqual:
      return *a == *b;
    case Op::kNotEqual:
      return *a != *b;
    default:
      return std::nullopt;
  }
}

}  // namespace epp::request_attribute
