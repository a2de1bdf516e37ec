// UTF-8, character classes and normal forms, as the tokenizers of models see them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace token_producer::unicode {

// Takes the code point at p off valid UTF-8 and moves p behind it.
inline uint32_t Take(const char*& p) {
  const auto byte = [&](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(p[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return ++p, lead;
  uint32_t code;
  if (lead < 0xE0) {
    code = (lead & 0x1F) << 6 | (byte(1) & 0x3F);
    p += 2;
  } else if (lead < 0xF0) {
    code = (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    p += 3;
  } else {
    code = (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    p += 4;
  }
  return code;
}

// The code point that ends before p, in valid UTF-8; there is one.
inline uint32_t Before(const char* p) {
  do --p;
  while ((static_cast<unsigned char>(*p) & 0xC0) == 0x80);
  return Take(p);
}

// Bytes of the code point that begins with this byte, in valid UTF-8.
inline size_t Length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

void Append(uint32_t code, std::string& out);

bool IsValid(std::string_view text);

// Appends text with U+FFFD in place of what is no UTF-8, one a maximal part of a character.
void AppendValid(std::string_view text, std::string& out);

// Bits of ClassOf.
inline constexpr uint16_t kUpper = 1;         // Lu, Lt
inline constexpr uint16_t kLower = 2;         // Ll
inline constexpr uint16_t kOtherLetter = 4;   // Lm, Lo
inline constexpr uint16_t kNumber = 8;        // N
inline constexpr uint16_t kMark = 16;         // M
inline constexpr uint16_t kSpace = 32;        // White_Space
inline constexpr uint16_t kPunctuation = 64;  // P
inline constexpr uint16_t kSymbol = 128;      // S
inline constexpr uint16_t kWord = 256;        // Alphabetic, M, Nd, Pc, Join_Control
inline constexpr uint16_t kLetter = kUpper | kLower | kOtherLetter;

uint16_t ClassOfOther(uint32_t code);
extern const uint16_t kAsciiClass[128];
inline uint16_t ClassOf(uint32_t code) {
  return code < 128 ? kAsciiClass[code] : ClassOfOther(code);
}

enum class Form { kNfc, kNfd, kNfkc, kNfkd };

// Replaces out by text in the form. Linear but for runs of combining marks, which it sorts.
void Normalize(Form form, std::string_view text, std::string& out);

// Each character in lower case, without regard to its neighbours.
void Lowercase(std::string_view text, std::string& out);

}  // namespace token_producer::unicode
