#include "host/extproc/utf8.h"

#include <cstdint>

namespace epp::extproc {
namespace {

// Bytes of the valid sequence at the start of `text`, or 0.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  size_t length = 0;
  uint8_t low = 0x80;  // bounds of the second byte
  uint8_t high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  if (text.size() < length || byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

size_t ValidUtf8Prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t length = SequenceLength(text.substr(at));
    if (length == 0) break;
    at += length;
  }
  return at;
}

std::string SanitizeUtf8(std::string text) {
  size_t valid = ValidUtf8Prefix(text);
  if (valid == text.size()) return text;
  std::string out;
  out.reserve(text.size() + 8);
  std::string_view rest = text;
  while (true) {
    out.append(rest.substr(0, valid));
    rest.remove_prefix(valid);
    if (rest.empty()) return out;
    out.append("\xEF\xBF\xBD");
    rest.remove_prefix(1);
    valid = ValidUtf8Prefix(rest);
  }
}

}  // namespace epp::extproc
