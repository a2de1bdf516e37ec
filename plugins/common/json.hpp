// A small reader for JSON parameters (EPP_P_JSON), and the writing of strings for dumps. For
// configuration and people only: it copies.
//
//   epp::common::JsonReader in(text);
//   in.Object([&](const std::string& key) { return key == "n" ? in.String(&n) : in.Fail("unknown");
//   }); if (!in.Done()) return epp::Status::Invalid("where: " + in.error());
//
// Every read returns false after an error, and the first error is kept; nesting is limited.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace epp::common {

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  const std::string& error() const { return error_; }

  // Records the first error; returns false.
  bool Fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
    return false;
  }

  // True when everything was read without an error.
  bool Done() {
    Space();
    if (at_ != text_.size()) Fail("text behind the JSON value");
    return error_.empty();
  }

  bool Null() {
    Space();
    if (!error_.empty() || text_.substr(at_, 4) != "null") return false;
    at_ += 4;
    return true;
  }

  bool String(std::string* out) {
    if (!Take('"')) return Fail("got something else, want a string");
    out->clear();
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return true;
      if (static_cast<unsigned char>(c) < 0x20) break;
      if (c != '\\') {
        *out += c;
      } else if (!Escape(out)) {
        return false;
      }
    }
    return Fail("unterminated string");
  }

  // A finite number.
  bool Number(double* out) {
    Space();
    const size_t begin = at_;
    while (at_ < text_.size() && std::string_view("+-.0123456789eE").find(text_[at_]) != text_.npos)
      ++at_;
    const std::string_view digits = text_.substr(begin, at_ - begin);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *out);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) {
      return Fail("got something else, want a number");
    }
    return true;
  }

  // Calls f(key) once a member; f reads the value.
  template <class F>
  bool Object(F&& f) {
    return Sequence('{', '}', "an object", [&] {
      std::string key;
      if (!String(&key)) return false;
      if (!Take(':')) return Fail("missing ':'");
      return f(std::as_const(key)) && error_.empty();
    });
  }

  // Calls f() once an item; f reads it.
  template <class F>
  bool Array(F&& f) {
    return Sequence('[', ']', "a list", [&] { return f() && error_.empty(); });
  }

 private:
  static constexpr int kMaxDepth = 16;

  void Space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != text_.npos) ++at_;
  }

  bool Take(char c) {
    Space();
    if (!error_.empty() || at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  template <class F>
  bool Sequence(char open, char close, const char* what, F&& item) {
    if (!Take(open)) return Fail(std::string("got something else, want ") + what);
    if (++depth_ > kMaxDepth) return Fail("nested too deeply");
    if (!Take(close)) {
      do {
        if (!item()) return Fail(std::string("cannot read ") + what);
      } while (Take(','));
      if (!Take(close)) return Fail(std::string("unterminated ") + what);
    }
    --depth_;
    return true;
  }

  bool Hex4(uint32_t* out) {
    *out = 0;
    for (int i = 0; i < 4; ++i) {
      const size_t digit = at_ < text_.size() ? kHex.find(text_[at_++]) : kHex.npos;
      if (digit == kHex.npos) return Fail("bad \\u escape");
      *out = *out * 16 + static_cast<uint32_t>(digit < 16 ? digit : digit - 6);
    }
    return true;
  }

  bool Escape(std::string* out) {
    if (at_ >= text_.size()) return Fail("unterminated string");
    const char c = text_[at_++];
    if (c == 'u') return Unicode(out);
    constexpr std::string_view kFrom = "\"\\/bfnrt";
    constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
    const size_t i = kFrom.find(c);
    if (i == kFrom.npos) return Fail("bad escape in a string");
    *out += kTo[i];
    return true;
  }

  bool Unicode(std::string* out) {
    uint32_t code;
    if (!Hex4(&code)) return false;
    if (code >= 0xd800 && code < 0xdc00) {
      uint32_t low = 0;
      if (text_.substr(at_, 2) != "\\u") return Fail("half a surrogate pair");
      at_ += 2;
      if (!Hex4(&low)) return false;
      if (low < 0xdc00 || low > 0xdfff) return Fail("half a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
      return Fail("half a surrogate pair");
    }
    const auto tail = [&](int shift) {
      *out += static_cast<char>(0x80 | ((code >> shift) & 0x3f));
    };
    if (code < 0x80) {
      *out += static_cast<char>(code);
    } else if (code < 0x800) {
      *out += static_cast<char>(0xc0 | (code >> 6));
      tail(0);
    } else if (code < 0x10000) {
      *out += static_cast<char>(0xe0 | (code >> 12));
      tail(6), tail(0);
    } else {
      *out += static_cast<char>(0xf0 | (code >> 18));
      tail(12), tail(6), tail(0);
    }
    return true;
  }

  static constexpr std::string_view kHex = "0123456789abcdefABCDEF";

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  std::string error_;
};

// Appends text as a JSON string, quotes included. text is UTF-8.
inline void AppendJsonString(std::string* out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  *out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20) {
      *out += "\\u00";
      *out += kHex[byte >> 4];
      *out += kHex[byte & 15];
    } else {
      if (c == '"' || c == '\\') *out += '\\';
      *out += c;
    }
  }
  *out += '"';
}

}  // namespace epp::common
