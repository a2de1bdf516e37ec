// JSON as text: a checking cursor, unescaping, and token-id arrays. No tree, no allocation.
//
// Used where the text needs no padding and no index: values that a parser only passes over, usage
// blocks in responses, and the pieces of a prompt that a tokenizer re-encodes.
#pragma once

#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace epp::json {

// Deeper documents are refused, so that recursion over an accepted one is bounded.
inline constexpr int kMaxDepth = 512;

inline bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
inline bool IsDigit(char c) { return c >= '0' && c <= '9'; }

inline std::string_view TrimRight(std::string_view s) {
  while (!s.empty() && IsSpace(s.back())) s.remove_suffix(1);
  return s;
}

// The first quote, backslash or control character in [p, end), or end.
inline const char* FindSpecial(const char* p, const char* end) {
#if defined(__SSE2__)
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i slash = _mm_set1_epi8('\\');
  const __m128i control = _mm_set1_epi8(0x1f);
  for (; end - p >= 16; p += 16) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i hit =
        _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                     _mm_cmpeq_epi8(_mm_min_epu8(v, control), v));
    const int mask = _mm_movemask_epi8(hit);
    if (mask != 0) return p + std::countr_zero(static_cast<unsigned>(mask));
  }
#endif
  while (p < end && *p != '"' && *p != '\\' && static_cast<unsigned char>(*p) >= 0x20) ++p;
  return p;
}

// The value of four hexadecimal digits, or -1.
inline int Hex4(const char* p, const char* end) {
  if (end - p < 4) return -1;
  int value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = p[i];
    const int digit = IsDigit(c)               ? c - '0'
                      : (c >= 'a' && c <= 'f') ? c - 'a' + 10
                      : (c >= 'A' && c <= 'F') ? c - 'A' + 10
                                               : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

inline char* PutUtf8(uint32_t code, char* out) {
  if (code < 0x80) {
    *out++ = static_cast<char>(code);
  } else if (code < 0x800) {
    *out++ = static_cast<char>(0xC0 | (code >> 6));
    *out++ = static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    *out++ = static_cast<char>(0xE0 | (code >> 12));
    *out++ = static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    *out++ = static_cast<char>(0x80 | (code & 0x3F));
  } else {
    *out++ = static_cast<char>(0xF0 | (code >> 18));
    *out++ = static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    *out++ = static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    *out++ = static_cast<char>(0x80 | (code & 0x3F));
  }
  return out;
}

// Decodes the escape at p (a backslash) and moves p behind it. Half a surrogate pair becomes
// U+FFFD. What is no escape is the backslash itself.
inline uint32_t TakeEscape(const char*& p, const char* end) {
  if (end - p < 2) {
    ++p;
    return '\\';
  }
  const char c = p[1];
  if (c == 'u') {
    const int unit = Hex4(p + 2, end);
    if (unit < 0) {
      ++p;
      return '\\';
    }
    p += 6;
    if (unit < 0xD800 || unit > 0xDFFF) return static_cast<uint32_t>(unit);
    if (unit <= 0xDBFF && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
      const int low = Hex4(p + 2, end);
      if (low >= 0xDC00 && low <= 0xDFFF) {
        p += 6;
        return 0x10000 + (static_cast<uint32_t>(unit - 0xD800) << 10) +
               static_cast<uint32_t>(low - 0xDC00);
      }
    }
    return 0xFFFD;
  }
  p += 2;
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case '"':
    case '\\':
    case '/':
      return static_cast<unsigned char>(c);
    default:
      --p;
      return '\\';
  }
}

// Copies raw, the inside of a JSON string, to out with its escapes decoded, in one pass. out has
// room for raw.size() bytes: the result is never longer, though bytes behind it may be overwritten.
// Returns its end.
inline char* Unescape(std::string_view raw, char* out) {
  const char* p = raw.data();
  const char* const end = p + raw.size();
  while (p < end) {
#if defined(__SSE2__)
    const __m128i slash = _mm_set1_epi8('\\');
    if (end - p >= 16) {
      const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), v);
      const int mask = _mm_movemask_epi8(_mm_cmpeq_epi8(v, slash));
      const int run = mask == 0 ? 16 : std::countr_zero(static_cast<unsigned>(mask));
      p += run;
      out += run;
      if (mask == 0) continue;
      out = PutUtf8(TakeEscape(p, end), out);
      continue;
    }
#endif
    if (*p == '\\')
      out = PutUtf8(TakeEscape(p, end), out);
    else
      *out++ = *p++;
  }
  return out;
}

inline std::string Unescaped(std::string_view raw) {
  std::string out(raw.size(), '\0');
  out.resize(static_cast<size_t>(Unescape(raw, out.data()) - out.data()));
  return out;
}

// A string as it stands in the text, without its quotes.
struct RawString {
  std::string_view bytes;
  bool escaped = false;  // bytes contains a backslash
};

// Does the string say text?
inline bool Equals(const RawString& s, std::string_view text) {
  return s.escaped ? Unescaped(s.bytes) == text : s.bytes == text;
}

// Reads a JSON text from left to right and checks what it passes. A member that returns false has
// found a fault, described by reason() and at(); the cursor is then good for nothing else.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : p_(text.data()), end_(text.data() + text.size()) {}

  const char* reason() const { return reason_; }
  const char* at() const { return p_; }

  // The next character that is not space; 0 at the end.
  char Peek() {
    while (p_ < end_ && IsSpace(*p_)) ++p_;
    return p_ < end_ ? *p_ : '\0';
  }
  bool AtEnd() { return Peek() == '\0' && p_ == end_; }

  // Nothing but space is left.
  bool End() { return AtEnd() || Fault("text after the value"); }

  bool String(RawString& out) {
    if (Peek() != '"') return Fault("want a string");
    const char* const begin = ++p_;
    out.escaped = false;
    for (;;) {
      p_ = FindSpecial(p_, end_);
      if (p_ == end_) return Fault("unclosed string");
      if (*p_ == '"') break;
      if (*p_ != '\\') return Fault("control character in a string");
      out.escaped = true;
      if (!PassEscape()) return false;
    }
    out.bytes = {begin, static_cast<size_t>(p_ - begin)};
    ++p_;
    return true;
  }

  // A number's text.
  bool Number(std::string_view& out) {
    Peek();
    const char* const begin = p_;
    if (p_ < end_ && *p_ == '-') ++p_;
    if (p_ < end_ && *p_ == '0') {
      ++p_;
    } else if (!Digits()) {
      return Fault("want a number");
    }
    if (p_ < end_ && *p_ == '.') {
      ++p_;
      if (!Digits()) return Fault("want a digit");
    }
    if (p_ < end_ && (*p_ == 'e' || *p_ == 'E')) {
      ++p_;
      if (p_ < end_ && (*p_ == '+' || *p_ == '-')) ++p_;
      if (!Digits()) return Fault("want a digit");
    }
    out = {begin, static_cast<size_t>(p_ - begin)};
    return true;
  }

  bool Literal(std::string_view word) {
    Peek();
    if (static_cast<size_t>(end_ - p_) < word.size() ||
        std::memcmp(p_, word.data(), word.size()) != 0) {
      return Fault("want a value");
    }
    p_ += word.size();
    return true;
  }

  // Passes over one value of any kind. Not recursive: one bit a level says object or array.
  bool Skip() {
    uint64_t kinds[kMaxDepth / 64] = {};
    int depth = 0;
    for (;;) {
      const char c = Peek();
      if (c == '{' || c == '[') {
        if (depth == kMaxDepth) return Fault("nested too deeply");
        const uint64_t bit = uint64_t{1} << (depth % 64);
        uint64_t& word = kinds[depth / 64];
        word = c == '{' ? word | bit : word & ~bit;
        ++depth;
        ++p_;
        if (Peek() == (c == '{' ? '}' : ']')) {
          ++p_;
          --depth;
        } else {
          if (c == '{' && !KeyAndColon()) return false;
          continue;
        }
      } else if (!Scalar(c)) {
        return false;
      }
      // Behind a value: close what ends here, or go to the next one.
      for (;;) {
        if (depth == 0) return true;
        const bool object = (kinds[(depth - 1) / 64] >> ((depth - 1) % 64)) & 1;
        const char next = Peek();
        if (next == ',') {
          ++p_;
          if (object && !KeyAndColon()) return false;
          break;
        }
        if (next != (object ? '}' : ']')) return Fault("want a comma or the end of the container");
        ++p_;
        --depth;
      }
    }
  }

  // As Skip, and gives the value's text.
  bool Value(std::string_view& out) {
    Peek();
    const char* const begin = p_;
    if (!Skip()) return false;
    out = {begin, static_cast<size_t>(p_ - begin)};
    return true;
  }

  // Calls f(const RawString& key) for every member, with the cursor at the value; f consumes the
  // value and returns false to stop with its fault.
  template <class F>
  bool Object(F&& f) {
    if (Peek() != '{') return Fault("want an object");
    ++p_;
    if (Peek() == '}') return ++p_, true;
    for (;;) {
      RawString key;
      if (!String(key) || !Colon() || !f(key)) return false;
      const char c = Peek();
      if (c == '}') return ++p_, true;
      if (c != ',') return Fault("want a comma or the end of the object");
      ++p_;
    }
  }

  // Calls f() for every element, as Object does.
  template <class F>
  bool Array(F&& f) {
    if (Peek() != '[') return Fault("want an array");
    ++p_;
    if (Peek() == ']') return ++p_, true;
    for (;;) {
      if (!f()) return false;
      const char c = Peek();
      if (c == ']') return ++p_, true;
      if (c != ',') return Fault("want a comma or the end of the array");
      ++p_;
    }
  }

  bool Fault(const char* reason) {
    reason_ = reason;
    return false;
  }

 private:
  bool Digits() {
    const char* const begin = p_;
    while (p_ < end_ && IsDigit(*p_)) ++p_;
    return p_ > begin;
  }
  bool Colon() {
    if (Peek() != ':') return Fault("want a colon");
    ++p_;
    return true;
  }
  bool KeyAndColon() {
    RawString key;
    return String(key) && Colon();
  }
  bool Scalar(char c) {
    RawString text;
    std::string_view number;
    switch (c) {
      case '"':
        return String(text);
      case 't':
        return Literal("true");
      case 'f':
        return Literal("false");
      case 'n':
        return Literal("null");
      default:
        return (c == '-' || IsDigit(c)) ? Number(number) : Fault("want a value");
    }
  }
  bool PassEscape() {
    if (end_ - p_ < 2) return Fault("unclosed string");
    switch (p_[1]) {
      case 'u':
        if (Hex4(p_ + 2, end_) < 0) return Fault("bad \\u escape");
        p_ += 6;
        return true;
      case '"':
      case '\\':
      case '/':
      case 'b':
      case 'f':
      case 'n':
      case 'r':
      case 't':
        p_ += 2;
        return true;
      default:
        return Fault("bad escape");
    }
  }

  const char* p_;
  const char* end_;
  const char* reason_ = nullptr;
};

// The value of a number's text as a double; huge ones become infinite.
inline double ToDouble(std::string_view number) {
  double value = 0;
  const auto [ptr, ec] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (ec == std::errc::result_out_of_range) {
    // from_chars leaves the value alone; a large exponent or a long integer part means infinity.
    const size_t e = number.find_first_of("eE");
    return e != std::string_view::npos && number[e + 1] == '-' ? 0.0 : HUGE_VAL;
  }
  return value;
}

// A number's text as an int64: only digits with an optional sign, in range.
inline bool ToInt(std::string_view number, int64_t& out) {
  const auto [ptr, ec] = std::from_chars(number.data(), number.data() + number.size(), out);
  return ec == std::errc() && ptr == number.data() + number.size();
}

// A number's text as a token id: any form, but integral and in [0, 2^32).
inline bool ToTokenId(std::string_view number, uint32_t& out) {
  const auto [ptr, ec] = std::from_chars(number.data(), number.data() + number.size(), out);
  if (ec == std::errc() && ptr == number.data() + number.size()) return true;
  const double value = ToDouble(number);
  if (!(value >= 0 && value <= 4294967295.0) || value != std::floor(value)) return false;
  out = static_cast<uint32_t>(value);
  return true;
}

}  // namespace epp::json
