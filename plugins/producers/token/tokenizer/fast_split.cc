#include "plugins/producers/token/tokenizer/fast_split.h"

#include <cstdint>

#include "plugins/producers/token/tokenizer/unicode.h"

namespace token_producer {
namespace {

using unicode::ClassOf;
using unicode::kLetter;
using unicode::kLower;
using unicode::kMark;
using unicode::kNumber;
using unicode::kOtherLetter;
using unicode::kSpace;
using unicode::kUpper;
using unicode::Take;

constexpr uint16_t kTitle = kUpper | kOtherLetter | kMark;  // what may open a word
constexpr uint16_t kSmall = kLower | kOtherLetter | kMark;  // what may go on

// The end of the run, from p, of characters with one of the bits, at most `most` of them.
const char* Run(const char* p, const char* end, uint16_t bits, int most = INT32_MAX) {
  while (p < end && most-- > 0) {
    const char* next = p;
    if (!(ClassOf(Take(next)) & bits)) break;
    p = next;
  }
  return p;
}
const char* RunOfOthers(const char* p, const char* end, uint16_t bits) {
  while (p < end) {
    const char* next = p;
    if (ClassOf(Take(next)) & bits) break;
    p = next;
  }
  return p;
}
const char* RunOfBreaks(const char* p, const char* end, bool slashes) {
  while (p < end && (*p == '\r' || *p == '\n' || (slashes && *p == '/'))) ++p;
  return p;
}

// \s+(?!\S)|\s+ at p, which is white space.
const char* Spaces(const char* p, const char* end) {
  const char* const first = p;
  const char* last = p;  // of the run
  while (p < end) {
    const char* next = p;
    if (!(ClassOf(Take(next)) & kSpace)) break;
    last = p;
    p = next;
  }
  return p == end || last == first ? p : last;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ at p, which is white space. The first ends behind the last break of the
// run of white space.
const char* SpacesAndBreaks(const char* p, const char* end) {
  const char* last_break = nullptr;
  for (const char* q = p; q < end;) {
    const char c = *q;
    if (!(ClassOf(Take(q)) & kSpace)) break;
    if (c == '\r' || c == '\n') last_break = q;
  }
  return last_break != nullptr ? last_break : Spaces(p, end);
}

// 's|'t|'re|'ve|'m|'ll|'d behind p, or null. Folded: in any case, and the long s is an s.
template <bool kFold>
const char* Contraction(const char* p, const char* end) {
  if (end - p < 2 || *p != '\'') return nullptr;
  const auto at = [&](int i) {
    if (end - p <= i) return '\0';
    const char c = p[i];
    return kFold && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char a = at(1), b = at(2);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return p + 2;
  if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return p + 3;
  if (kFold && a == '\xC5' && b == '\xBF') return p + 3;
  return nullptr;
}

const char* Gpt2(const char* p, const char* end) {
  if (const char* c = Contraction<false>(p, end)) return c;
  const char* q = p;
  const uint32_t first = Take(q);
  uint16_t bits = ClassOf(first);
  const char* word = p;
  if (first == ' ' && q < end) {
    const char* behind = q;
    const uint16_t next = ClassOf(Take(behind));
    if (!(next & kSpace)) {
      word = q;
      bits = next;
    }
  }
  if (bits & kLetter) return Run(word, end, kLetter);
  if (bits & kNumber) return Run(word, end, kNumber);
  if (!(bits & kSpace)) return RunOfOthers(word, end, kSpace | kLetter | kNumber);
  return Spaces(p, end);
}

// The tail that the newer expressions share:
//   \p{N}{1,kDigits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
template <int kDigits, bool kSlashes>
const char* Tail(const char* p, const char* end, uint32_t first, uint16_t bits,
                 const char* behind) {
  if (bits & kNumber) return Run(p, end, kNumber, kDigits);
  const char* word = bits & kSpace ? nullptr : p;
  if (first == ' ' && behind < end) {
    const char* q = behind;
    if (!(ClassOf(Take(q)) & (kSpace | kLetter | kNumber))) word = behind;
  }
  if (word != nullptr) {
    return RunOfBreaks(RunOfOthers(word, end, kSpace | kLetter | kNumber), end, kSlashes);
  }
  return SpacesAndBreaks(p, end);
}

// (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+|TAIL
template <int kDigits>
const char* Cl100k(const char* p, const char* end) {
  const char* behind = p;
  const uint32_t first = Take(behind);
  const uint16_t bits = ClassOf(first);
  if (bits & kLetter) return Run(behind, end, kLetter);
  if (first == '\'') {
    if (const char* c = Contraction<true>(p, end)) return c;
  }
  if (!(bits & kNumber) && first != '\r' && first != '\n' && behind < end) {
    const char* q = behind;
    if (ClassOf(Take(q)) & kLetter) return Run(q, end, kLetter);
  }
  return Tail<kDigits, false>(p, end, first, bits, behind);
}

// TITLE*SMALL+ at p, or else TITLE+SMALL*; null when neither.
const char* Small(const char* p, const char* end) {
  const char* both = nullptr;  // behind the last character of the run that may be either
  while (p < end) {
    const char* next = p;
    const uint16_t bits = ClassOf(Take(next));
    if (!(bits & kTitle)) break;
    if (bits & kSmall) both = next;
    p = next;
  }
  const char* const small = Run(p, end, kSmall);
  return small != p ? small : both;
}
const char* Title(const char* p, const char* end) {
  const char* const title = Run(p, end, kTitle);
  return title == p ? nullptr : Run(title, end, kSmall);
}

// [^\r\n\p{L}\p{N}]?TITLE*SMALL+CONTRACTION?|[^\r\n\p{L}\p{N}]?TITLE+SMALL*CONTRACTION?|TAIL
template <int kDigits, bool kContractions>
const char* O200k(const char* p, const char* end) {
  const char* behind = p;
  const uint32_t first = Take(behind);
  const uint16_t bits = ClassOf(first);
  const bool prefix = !(bits & (kLetter | kNumber)) && first != '\r' && first != '\n';
  const char* word = prefix ? Small(behind, end) : nullptr;
  if (word == nullptr) word = Small(p, end);
  if (word == nullptr && prefix) word = Title(behind, end);
  if (word == nullptr) word = Title(p, end);
  if (word != nullptr) {
    const char* const c = kContractions ? Contraction<true>(word, end) : nullptr;
    return c != nullptr ? c : word;
  }
  return Tail<kDigits, true>(p, end, first, bits, behind);
}

// \p{N}{1,kDigits}, and what lies between.
template <int kDigits>
const char* Numbers(const char* p, const char* end) {
  const char* const number = Run(p, end, kNumber, kDigits);
  return number != p ? number : RunOfOthers(p, end, kNumber);
}

// [\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+, and what lies between.
const char* HanAndKana(const char* p, const char* end) {
  const auto in = [](const char*& at) {
    const uint32_t c = Take(at);
    return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
  };
  const bool first = in(p);
  for (const char* next = p; next < end && in(next) == first;) p = next;
  return p;
}

// [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*
// |\s*[\r\n]+|\s+(?!\S)|\s+ at p, or null.
const char* DeepseekMatch(const char* p, const char* end) {
  constexpr uint16_t kWordly = kLetter | kMark;
  constexpr uint16_t kSigns = unicode::kPunctuation | unicode::kSymbol;
  const char* behind = p;
  const uint32_t first = Take(behind);
  const uint16_t bits = ClassOf(first);
  uint16_t next = 0;
  if (behind < end) {
    const char* q = behind;
    next = ClassOf(Take(q));
  }
  if (first < 0x80 && bits & kSigns && behind < end && static_cast<unsigned char>(*behind) < 0x80 &&
      next & kLetter) {
    while (behind < end && static_cast<unsigned char>(*behind) < 0x80 &&
           unicode::kAsciiClass[static_cast<unsigned char>(*behind)] & kLetter) {
      ++behind;
    }
    return behind;
  }
  if (bits & kWordly) return Run(behind, end, kWordly);
  if (!(bits & kSigns) && first != '\r' && first != '\n' && next & kWordly) {
    return Run(behind, end, kWordly);
  }
  if (bits & kSigns || (first == ' ' && next & kSigns)) {
    return RunOfBreaks(Run(behind, end, kSigns), end, false);
  }
  return bits & kSpace ? SpacesAndBreaks(p, end) : nullptr;
}
const char* Deepseek(const char* p, const char* end) {
  if (const char* const match = DeepseekMatch(p, end)) return match;
  do Take(p);
  while (p < end && DeepseekMatch(p, end) == nullptr);
  return p;
}

struct Known {
  std::string_view pattern;
  FastSplit split;
  bool everywhere = true;
};

constexpr Known kKnown[] = {
    {kGpt2Pattern, Gpt2},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     Cl100k<3>},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     Cl100k<1>},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     O200k<3, true>},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     O200k<1, false>},
    {R"(\p{N}{1,3})", Numbers<3>, false},
    {R"(\p{N})", Numbers<1>, false},
    {"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", HanAndKana, false},
    {R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^)"
     "\r\n"
     R"(\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[)"
     "\r\n"
     R"(]*|\s*[)"
     "\r\n"
     R"(]+|\s+(?!\S)|\s+)",
     Deepseek, false},
};

}  // namespace

FastSplit FindFastSplit(std::string_view pattern, bool everywhere) {
  for (const Known& k : kKnown) {
    if (k.pattern == pattern && (k.everywhere || !everywhere)) return k.split;
  }
  return nullptr;
}

}  // namespace token_producer
