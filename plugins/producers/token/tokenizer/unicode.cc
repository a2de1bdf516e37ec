#include "plugins/producers/token/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "plugins/common/json_text.hpp"

namespace token_producer::unicode {
namespace {

// The bytes of the character at p, or 0 minus the bytes of the part of one that is there.
int Measure(const unsigned char* p, const unsigned char* end) {
  const unsigned lead = *p;
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return -1;
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte has bounds of its own, against long forms, surrogates and large numbers.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (end - p < 2 || p[1] < low || p[1] > high) return -1;
  for (int i = 2; i < length; ++i) {
    if (p + i == end || (p[i] & 0xC0) != 0x80) return -i;
  }
  return length;
}

bool IsSpace(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

// Symbols that count as alphabetic: letters in circles and squares.
bool IsEnclosedLetter(uint32_t c) {
  return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

// Characters that the composed forms leave alone unless others follow, and that nothing before them
// changes. Not all of them, but most of what texts are made of.
bool Stable(uint32_t c, bool compatibility) {
  if (c < 0x80) return true;
  if (c >= 0x4E00 && c <= 0x9FFF) return true;
  if (c >= 0xAC00 && c <= 0xD7A3) return true;
  if (c >= 0x3041 && c <= 0x3096) return true;
  if (c >= 0x30A1 && c <= 0x30FE) return true;
  if (c >= 0x410 && c <= 0x44F) return true;
  if (compatibility) return (c >= 0xC0 && c <= 0xFF) || (c >= 0x3001 && c <= 0x3002);
  return c < 0x300 || (c >= 0x3000 && c <= 0x3029) || (c >= 0xFF01 && c <= 0xFFEF) ||
         (c >= 0x1F300 && c <= 0x1FAFF) || (c >= 0x2010 && c <= 0x2027);
}

void Decompose(uint32_t code, utf8proc_option_t options, std::vector<int32_t>& to) {
  std::array<int32_t, 64> parts;
  int boundary = 0;
  const auto count =
      utf8proc_decompose_char(static_cast<int32_t>(code), parts.data(),
                              static_cast<utf8proc_ssize_t>(parts.size()), options, &boundary);
  if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
    to.push_back(static_cast<int32_t>(code));
    return;
  }
  to.insert(to.end(), parts.begin(), parts.begin() + count);
}

// utf8proc's own ordering takes quadratic time on long runs of marks.
void OrderMarks(std::vector<int32_t>& codes) {
  const auto rank = [](int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (size_t i = 0; i < codes.size();) {
    if (codes[i] < 0x300 || rank(codes[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < codes.size() && rank(codes[end]) != 0) ++end;
    if (end - i > 1) {
      std::stable_sort(codes.begin() + static_cast<ptrdiff_t>(i),
                       codes.begin() + static_cast<ptrdiff_t>(end),
                       [&](int32_t a, int32_t b) { return rank(a) < rank(b); });
    }
    i = end;
  }
}

}  // namespace

void Append(uint32_t code, std::string& out) {
  char bytes[4];
  out.append(bytes, static_cast<size_t>(epp::json::PutUtf8(code, bytes) - bytes));
}

bool IsValid(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p < end) {
    uint64_t eight;
    while (end - p >= 8 && (std::memcpy(&eight, p, 8), (eight & 0x8080808080808080) == 0)) p += 8;
    if (p == end) break;
    const int length = Measure(p, end);
    if (length < 0) return false;
    p += length;
  }
  return true;
}

void AppendValid(std::string_view text, std::string& out) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p < end) {
    const int length = Measure(p, end);
    if (length > 0) {
      out.append(reinterpret_cast<const char*>(p), static_cast<size_t>(length));
      p += length;
    } else {
      out += "\xEF\xBF\xBD";
      p -= length;
    }
  }
}

uint16_t ClassOfOther(uint32_t c) {
  uint16_t bits = IsSpace(c) ? kSpace : 0;
  switch (utf8proc_get_property(static_cast<int32_t>(c))->category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return bits | kUpper | kWord;
    case UTF8PROC_CATEGORY_LL:
      return bits | kLower | kWord;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return bits | kOtherLetter | kWord;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return bits | kMark | kWord;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
      return bits | kNumber | kWord;
    case UTF8PROC_CATEGORY_NO:
      return bits | kNumber;
    case UTF8PROC_CATEGORY_PC:
      return bits | kPunctuation | kWord;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return bits | kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return IsEnclosedLetter(c) ? bits | kSymbol | kWord : bits | kSymbol;
    default:
      return c == 0x200C || c == 0x200D ? bits | kWord : bits;
  }
}

#define S kSpace
#define P kPunctuation
#define Y kSymbol
#define N (kNumber | kWord)
#define U (kUpper | kWord)
#define L (kLower | kWord)
const uint16_t kAsciiClass[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, S, S, S, S, S, 0, 0, 0, 0,         0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, S, P, P, P, Y, P, P, P, P, P, P, Y,         P, P, P, P, N, N, N, N,
    N, N, N, N, N, N, P, P, Y, Y, Y, P, P, U, U, U, U, U,         U, U, U, U, U, U, U, U,
    U, U, U, U, U, U, U, U, U, U, U, U, U, P, P, P, Y, P | kWord, Y, L, L, L, L, L, L, L,
    L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,         L, P, Y, P, Y, 0};
#undef S
#undef P
#undef Y
#undef N
#undef U
#undef L

void Normalize(Form form, std::string_view text, std::string& out) {
  const bool compose = form == Form::kNfc || form == Form::kNfkc;
  const bool compatibility = form == Form::kNfkc || form == Form::kNfkd;
  int options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (compatibility) options |= UTF8PROC_COMPAT;
  const auto stable = [&](uint32_t c) { return compose ? Stable(c, compatibility) : c < 0x80; };
  std::vector<int32_t> codes;
  out.clear();
  const char* p = text.data();
  const char* const end = p + text.size();
  const char* done = p;  // up to here out has it
  const char* last = p;  // where the stable character before p begins, or p
  while (p < end) {
    const char* const here = p;
    if (stable(Take(p))) {
      last = here;
      continue;
    }
    // What changes goes from the stable character before it up to the next one.
    out.append(done, static_cast<size_t>(last - done));
    codes.clear();
    const char* q = last;
    for (p = here; q < end;) {
      const char* const begin = q;
      const uint32_t code = Take(q);
      if (begin > here && stable(code)) {
        q = begin;
        break;
      }
      if (code < 0xA0) {
        codes.push_back(static_cast<int32_t>(code));
      } else {
        Decompose(code, static_cast<utf8proc_option_t>(options), codes);
      }
    }
    OrderMarks(codes);
    auto count = static_cast<utf8proc_ssize_t>(codes.size());
    if (compose) {
      count =
          utf8proc_normalize_utf32(codes.data(), count, static_cast<utf8proc_option_t>(options));
    }
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      Append(static_cast<uint32_t>(codes[static_cast<size_t>(i)]), out);
    }
    p = last = done = q;
  }
  out.append(done, static_cast<size_t>(end - done));
}

void Lowercase(std::string_view text, std::string& out) {
  out.clear();
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    const uint32_t code = Take(p);
    if (code == 0x130) {
      out += "i\xCC\x87";
    } else {
      Append(static_cast<uint32_t>(utf8proc_tolower(static_cast<int32_t>(code))), out);
    }
  }
}

}  // namespace token_producer::unicode
