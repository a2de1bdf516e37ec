#include "plugins/producers/token/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <utility>

#include "plugins/producers/token/tokenizer/unicode.h"

namespace token_producer {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kHeapLimitKib = 64 << 10;
constexpr size_t kJitStackBytes = 1 << 20;

// White_Space, as the inside of a class, and everything else.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNoSpaces =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff})"
    R"(\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::string_view kWordChars = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

constexpr std::array<std::string_view, 38> kCategories{
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk",
    "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cs", "Co", "Cn", "Any"};

class Translation {
 public:
  Translation(std::string_view in, std::string& out) : in_(in), out_(out) {}

  epp::Status Run() {
    if (in_.size() > kMaxPatternBytes) return Refuse("longer than 64 KiB");
    while (at_ < in_.size()) {
      const char c = in_[at_];
      epp::Status status;
      if (c == '\\') {
        status = Escape(false);
      } else if (c == '[') {
        status = Class();
      } else if (c == '(') {
        status = Group();
      } else if (c == '{') {
        status = Interval();
      } else if (c == '#' || c == ' ') {
        out_ += '\\';  // means the same with and without (?x)
        out_ += c;
        ++at_;
      } else {
        out_ += c;
        ++at_;
      }
      if (!status.ok()) return status;
    }
    return {};
  }

 private:
  epp::Status Refuse(std::string_view what) const {
    return {EPP_UNIMPLEMENTED, "expression is not supported: " + std::string(what) + " at byte " +
                                   std::to_string(at_) + " of " + std::string(in_.substr(0, 256))};
  }
  bool Starts(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  epp::Status Escape(bool in_class) {
    if (at_ + 1 >= in_.size()) return Refuse("a backslash");
    const char c = in_[at_ + 1];
    const auto set = [&](std::string_view yes, std::string_view no_in_class, bool negated) {
      if (in_class) {
        out_ += negated ? no_in_class : yes;
      } else {
        out_.append(negated ? "[^" : "[").append(yes).append("]");
      }
      at_ += 2;
      return epp::Status();
    };
    switch (c) {
      case 's':
      case 'S':
        return set(kSpaces, kNoSpaces, c == 'S');
      case 'w':
      case 'W':
        if (c == 'W' && in_class) return Refuse("\\W in a class");
        return set(kWordChars, "", c == 'W');
      case 'h':
        return set("0-9a-fA-F", "", false);
      case 'v':
        out_ += "\\x{b}";
        at_ += 2;
        return {};
      case 'p':
      case 'P':
        return Property();
      case 'u': {
        if (at_ + 6 > in_.size()) return Refuse("\\u");
        out_.append("\\x{").append(in_.substr(at_ + 2, 4)).append("}");
        at_ += 6;
        return {};
      }
      case 'x':
        if (at_ + 2 >= in_.size()) return Refuse("\\x");
        out_ += "\\x";
        at_ += 2;
        return {};
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
      case 'd':
      case 'D':
        break;
      case 'A':
      case 'z':
        if (in_class) return Refuse("an escape");
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x80) {
          ++at_;  // itself
          out_.append(in_.substr(at_, unicode::Length(c)));
          at_ = std::min(in_.size(), at_ + unicode::Length(c));
          return {};
        }
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
          return Refuse(std::string("\\") + c);
        }
        break;
    }
    out_.append(in_.substr(at_, 2));
    at_ += 2;
    return {};
  }

  // \p{...}: a category, or else a script.
  epp::Status Property() {
    const bool upper = in_[at_ + 1] == 'P';
    const size_t close = in_.find('}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == in_.npos) return Refuse("\\p");
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    const bool negated = upper != name.starts_with('^');
    if (name.starts_with('^')) name.remove_prefix(1);
    const auto good = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    if (name.empty() || !std::all_of(name.begin(), name.end(), good)) return Refuse("a property");
    const bool category =
        std::find(kCategories.begin(), kCategories.end(), name) != kCategories.end();
    out_.append(negated ? "\\P{" : "\\p{").append(category ? "" : "sc:").append(name).append("}");
    at_ = close + 1;
    return {};
  }

  // [...], also with && and a class behind it.
  epp::Status Class() {
    const size_t begin = out_.size();
    ++at_;
    out_ += '[';
    const bool negated = Starts("^");
    if (negated) {
      out_ += '^';
      ++at_;
    }
    bool first = true, cut = false;
    for (;; first = false) {
      if (at_ >= in_.size()) return Refuse("a class without end");
      const char c = in_[at_];
      if (c == ']' && !first) {
        out_ += ']';
        ++at_;
        break;
      }
      if (c == '\\') {
        if (epp::Status s = Escape(true); !s.ok()) return s;
      } else if (Starts("&&")) {
        if (negated || first) return Refuse("&& here");
        cut = true;
        out_ += ']';
        at_ += 2;
        break;
      } else if (Starts("[:")) {
        const size_t close = in_.find(":]", at_);
        if (close == in_.npos) return Refuse("a class");
        out_.append(in_.substr(at_, close + 2 - at_));
        at_ = close + 2;
      } else if (c == '[') {
        return Refuse("a class in a class");
      } else {
        if (c == ']' || c == '#') out_ += '\\';
        out_ += c;
        ++at_;
      }
    }
    if (!cut) return {};
    // [a&&[^b]] is a, unless it is b.
    const std::string left = out_.substr(begin);
    out_.resize(begin);
    if (!Starts("[")) return Refuse("&& without a class");
    if (++depth_ > 16) return Refuse("classes nested too deeply");
    out_ += "(?:(?=";
    if (epp::Status s = Class(); !s.ok()) return s;
    --depth_;
    if (!Starts("]")) return Refuse("text behind the class of &&");
    ++at_;
    out_.append(")").append(left).append(")");
    return {};
  }

  epp::Status Group() {
    if (!Starts("(?")) {
      out_ += "(?:";  // nothing refers to it
      ++at_;
      return {};
    }
    for (const std::string_view open :
         {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"}) {
      if (!Starts(open)) continue;
      out_ += open;
      at_ += open.size();
      return {};
    }
    // Elsewhere its reach differs.
    if (at_ == 0 && Starts("(?i)")) {
      out_ += "(?i)";
      at_ += 4;
      return {};
    }
    return Refuse("a kind of group");
  }

  epp::Status Interval() {
    const size_t close = in_.find('}', at_);
    const std::string_view body = close == in_.npos ? "" : in_.substr(at_ + 1, close - at_ - 1);
    const auto digits = [](std::string_view s) {
      return std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
    };
    const size_t comma = body.find(',');
    const bool interval = !body.empty() && body != "," && digits(body.substr(0, comma)) &&
                          (comma == body.npos || digits(body.substr(comma + 1)));
    if (!interval) {
      out_ += "\\{";
      ++at_;
      return {};
    }
    if (close + 1 < in_.size() && (in_[close + 1] == '+' || in_[close + 1] == '?')) {
      return Refuse("{} with + or ?");
    }
    out_.append("{").append(body.starts_with(',') ? "0" : "").append(body).append("}");
    at_ = close + 1;
    return {};
  }

  const std::string_view in_;
  std::string& out_;
  size_t at_ = 0;
  int depth_ = 0;
};

template <class T, void (*kFree)(T*)>
struct Free {
  void operator()(T* p) const { kFree(p); }
};
template <class T, void (*kFree)(T*)>
using Owned = std::unique_ptr<T, Free<T, kFree>>;

}  // namespace

epp::Status Translate(std::string_view oniguruma, std::string& pcre2) {
  pcre2.clear();
  return Translation(oniguruma, pcre2).Run();
}

struct MatchMemory::Parts {
  Owned<pcre2_match_data, pcre2_match_data_free> data{pcre2_match_data_create(1, nullptr)};
  Owned<pcre2_match_context, pcre2_match_context_free> context{pcre2_match_context_create(nullptr)};
  Owned<pcre2_jit_stack, pcre2_jit_stack_free> stack;
};

MatchMemory::MatchMemory() : parts_(std::make_unique<Parts>()) {
  if (parts_->data == nullptr || parts_->context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(parts_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(parts_->context.get(), kHeapLimitKib);
  parts_->stack.reset(pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr));
  if (parts_->stack != nullptr) {
    pcre2_jit_stack_assign(parts_->context.get(), nullptr, parts_->stack.get());
  }
}
MatchMemory::~MatchMemory() = default;
MatchMemory::MatchMemory(MatchMemory&&) noexcept = default;
MatchMemory& MatchMemory::operator=(MatchMemory&&) noexcept = default;

epp::Result<Pattern> Pattern::Compile(std::string_view oniguruma) {
  std::string text;
  if (epp::Status status = Translate(oniguruma, text); !status.ok()) return status;
  const Owned<pcre2_compile_context, pcre2_compile_context_free> context(
      pcre2_compile_context_create(nullptr));
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE at = 0;
  Pattern pattern;
  pcre2_code* const code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &at,
                    context.get());
  if (code == nullptr) {
    std::array<PCRE2_UCHAR, 256> why{};
    pcre2_get_error_message(error, why.data(), why.size());
    return epp::Status(EPP_UNIMPLEMENTED, "expression is not supported: " +
                                              std::string(reinterpret_cast<char*>(why.data())) +
                                              ": " + std::string(oniguruma.substr(0, 256)));
  }
  pattern.code_ = code;
  // Where memory may not be executable this fails, and matching is interpreted.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return pattern;
}

Pattern::~Pattern() { pcre2_code_free(static_cast<pcre2_code*>(code_)); }
Pattern::Pattern(Pattern&& other) noexcept : code_(std::exchange(other.code_, nullptr)) {}
Pattern& Pattern::operator=(Pattern&& other) noexcept {
  std::swap(code_, other.code_);
  return *this;
}

Pattern::Found Pattern::Next(std::string_view text, size_t from, MatchMemory& memory, size_t& begin,
                             size_t& end) const {
  while (from <= text.size()) {
    const int n =
        pcre2_match(static_cast<const pcre2_code*>(code_),
                    reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                    PCRE2_NO_UTF_CHECK, memory.parts_->data.get(), memory.parts_->context.get());
    if (n == PCRE2_ERROR_NOMATCH) return Found::kNo;
    if (n < 0) return Found::kError;
    const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(memory.parts_->data.get());
    begin = ends[0];
    end = ends[1];
    if (begin < end) return Found::kYes;
    if (end >= text.size()) return Found::kNo;
    from = end + unicode::Length(text[end]);  // an empty match splits nothing
  }
  return Found::kNo;
}

}  // namespace token_producer
