// JSON in one canonical form: members sorted by key (the last of equal keys wins), no space,
// numbers as the shortest text of the double, and < > & U+2028 U+2029 escaped. It is the form in
// which Go programs write a decoded document, so equal content gives equal bytes whatever the
// client wrote.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/json_text.hpp"

namespace epp::json {

// Encodes values behind each other into one buffer. Reusable; keeps its memory until Trim.
class Canonical {
 public:
  // Appends the canonical form of value, one JSON value. Returns false, with an undefined tail in
  // text(), when it is not JSON.
  bool Append(std::string_view value) {
    Cursor cursor(value);
    return Value(cursor, 0) && cursor.End();
  }
  // Appends bytes as they are.
  void AppendVerbatim(std::string_view bytes) { out_.append(bytes); }

  std::string_view text() const { return out_; }
  void Clear() { out_.clear(); }
  // Gives memory back when more than max_bytes of it are held.
  void Trim(size_t max_bytes) {
    if (out_.capacity() > max_bytes) std::string().swap(out_);
    if (spare_.capacity() > max_bytes) std::string().swap(spare_);
    if (members_.capacity() * sizeof(Member) > max_bytes) std::vector<Member>().swap(members_);
  }

 private:
  // Sorting moves an object's text once a level; deeper ones keep the order of the text, so that
  // the work stays linear for hostile nesting too.
  static constexpr int kSortDepth = 64;

  struct Member {
    RawString key;
    size_t begin;  // of `"key":value` in out_
    size_t end;
  };

  bool Value(Cursor& in, int depth) {
    switch (in.Peek()) {
      case '{':
        return depth < kSortDepth ? Object(in, depth) : Verbatim(in);
      case '[':
        return depth < kSortDepth ? Array(in, depth) : Verbatim(in);
      case '"': {
        RawString s;
        if (!in.String(s)) return false;
        String(s);
        return true;
      }
      case 't':
      case 'f':
      case 'n':
        return Verbatim(in);
      default: {
        std::string_view number;
        if (!in.Number(number)) return false;
        Number(number);
        return true;
      }
    }
  }

  bool Verbatim(Cursor& in) {
    std::string_view text;
    if (!in.Value(text)) return false;
    out_.append(text);
    return true;
  }

  bool Array(Cursor& in, int depth) {
    out_ += '[';
    bool first = true;
    const bool ok = in.Array([&] {
      if (!first) out_ += ',';
      first = false;
      return Value(in, depth + 1);
    });
    out_ += ']';
    return ok;
  }

  bool Object(Cursor& in, int depth) {
    const size_t base = members_.size();
    const size_t begin = out_.size();
    bool sorted = true;
    out_ += '{';
    const bool ok = in.Object([&](const RawString& key) {
      if (members_.size() != base) out_ += ',';
      Member m{key, out_.size(), 0};
      String(key);
      out_ += ':';
      if (!Value(in, depth + 1)) return false;
      m.end = out_.size();
      sorted = sorted && (members_.size() == base || Less(members_.back(), m));
      members_.push_back(m);
      return true;
    });
    if (ok && !sorted) Arrange(base, begin);
    out_ += '}';
    members_.resize(base);
    return ok;
  }

  // Sorts the members of the object written since begin, and drops all but the last of equal keys.
  void Arrange(size_t base, size_t begin) {
    const auto first = members_.begin() + static_cast<std::ptrdiff_t>(base);
    std::stable_sort(first, members_.end(), Less);
    spare_.assign(out_, begin, std::string::npos);
    out_.resize(begin);
    char separator = '{';
    for (auto m = first; m != members_.end(); ++m) {
      if (m + 1 != members_.end() && !Less(*m, m[1])) continue;
      out_ += separator;
      out_.append(spare_, m->begin - begin, m->end - m->begin);
      separator = ',';
    }
  }

  static bool Less(const Member& a, const Member& b) {
    if (!a.key.escaped && !b.key.escaped) return a.key.bytes < b.key.bytes;
    return (a.key.escaped ? Unescaped(a.key.bytes) : std::string(a.key.bytes)) <
           (b.key.escaped ? Unescaped(b.key.bytes) : std::string(b.key.bytes));
  }

  void Number(std::string_view text) {
    if (text.size() <= 15 && text.find_first_of(".eE") == std::string_view::npos) {
      out_.append(text);  // an integer that a double holds exactly
      return;
    }
    const double value = ToDouble(text);
    if (!std::isfinite(value)) {
      out_.append(text);
      return;
    }
    const double size = std::fabs(value);
    const bool plain = size == 0 || (size >= 1e-6 && size < 1e21);
    char buffer[64];
    char* end = std::to_chars(buffer, buffer + sizeof(buffer), value,
                              plain ? std::chars_format::fixed : std::chars_format::scientific)
                    .ptr;
    if (!plain && end - buffer >= 4 && end[-4] == 'e' && end[-2] == '0') {
      end[-2] = end[-1];  // e-07 is written e-7
      --end;
    }
    out_.append(buffer, end);
  }

  // The first character in [p, end) that the canonical form may write differently, or end.
  static const char* FindDifferent(const char* p, const char* end) {
#if defined(__SSE2__)
    for (; end - p >= 16; p += 16) {
      const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      // '<' and '>' are the values whose bit 1 set gives '>'.
      const __m128i angle = _mm_cmpeq_epi8(_mm_or_si128(v, _mm_set1_epi8(2)), _mm_set1_epi8('>'));
      const __m128i rest = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('&')),
                                        _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
      const __m128i line = _mm_cmpeq_epi8(v, _mm_set1_epi8(static_cast<char>(0xE2)));
      const int mask = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(angle, rest), line));
      if (mask != 0) return p + std::countr_zero(static_cast<unsigned>(mask));
    }
#endif
    while (p < end && *p != '<' && *p != '>' && *p != '&' && *p != '\\' &&
           static_cast<unsigned char>(*p) != 0xE2) {
      ++p;
    }
    return p;
  }

  void String(const RawString& s) {
    out_ += '"';
    const char* p = s.bytes.data();
    const char* const end = p + s.bytes.size();
    while (p < end) {
      const char* const q = FindDifferent(p, end);
      out_.append(p, q);
      p = q;
      if (p == end) break;
      if (*p == '\\') {
        Code(TakeEscape(p, end));
      } else if (static_cast<unsigned char>(*p) == 0xE2) {
        const bool separator = end - p >= 3 && p[1] == '\x80' && (p[2] == '\xA8' || p[2] == '\xA9');
        if (separator) {
          out_.append(p[2] == '\xA8' ? "\\u2028" : "\\u2029");
          p += 3;
        } else {
          out_ += *p++;
        }
      } else {
        Code(static_cast<unsigned char>(*p++));
      }
    }
    out_ += '"';
  }

  void Code(uint32_t code) {
    switch (code) {
      case '"':
        out_.append("\\\"");
        return;
      case '\\':
        out_.append("\\\\");
        return;
      case '\n':
        out_.append("\\n");
        return;
      case '\r':
        out_.append("\\r");
        return;
      case '\t':
        out_.append("\\t");
        return;
      case '\b':
        out_.append("\\b");
        return;
      case '\f':
        out_.append("\\f");
        return;
      default:
        break;
    }
    if (code < 0x20 || code == '<' || code == '>' || code == '&' || code == 0x2028 ||
        code == 0x2029) {
      constexpr char kHex[] = "0123456789abcdef";
      out_.append("\\u");
      for (int shift = 12; shift >= 0; shift -= 4) out_ += kHex[(code >> shift) & 15];
      return;
    }
    char bytes[4];
    out_.append(bytes, PutUtf8(code, bytes));
  }

  std::string out_;
  std::string spare_;
  std::vector<Member> members_;
};

}  // namespace epp::json
