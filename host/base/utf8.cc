#include "host/base/utf8.h"

#include <cstdint>
#include <cstring>

namespace epp::utf8 {
namespace {

// What may follow a lead byte: `more` continuation bytes, the first of them within [lo, hi].
struct Lead {
  uint8_t more;
  uint8_t lo;
  uint8_t hi;
};

// more == 0 marks a byte that starts nothing.
Lead LeadOf(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {1, 0x80, 0xBF};
  if (byte == 0xE0) return {2, 0xA0, 0xBF};
  if (byte == 0xED) return {2, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {2, 0x80, 0xBF};
  if (byte == 0xF0) return {3, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {3, 0x80, 0xBF};
  if (byte == 0xF4) return {3, 0x80, 0x8F};
  return {0, 0, 0};
}

// Bytes of the sequence at the front that fit together, and whether they are a whole character.
struct Step {
  size_t bytes;
  bool whole;
};

Step Take(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return {1, true};
  const Lead lead = LeadOf(first);
  if (lead.more == 0) return {1, false};
  for (size_t i = 1; i <= lead.more; ++i) {
    if (i >= text.size()) return {i, false};
    const auto byte = static_cast<uint8_t>(text[i]);
    const uint8_t lo = i == 1 ? lead.lo : 0x80;
    const uint8_t hi = i == 1 ? lead.hi : 0xBF;
    if (byte < lo || byte > hi) return {i, false};
  }
  return {size_t{1} + lead.more, true};
}

}  // namespace

size_t ValidPrefix(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (i + 8 <= text.size()) {
      uint64_t word;
      std::memcpy(&word, text.data() + i, sizeof(word));
      if ((word & 0x8080808080808080u) == 0) {
        i += 8;
        continue;
      }
    }
    const Step step = Take(text.substr(i));
    if (!step.whole) return i;
    i += step.bytes;
  }
  return i;
}

size_t MalformedLength(std::string_view text) { return Take(text).bytes; }

std::string Sanitise(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t good = ValidPrefix(text);
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) break;
    out.append("\xEF\xBF\xBD");
    text.remove_prefix(MalformedLength(text));
  }
  return out;
}

std::string_view Truncate(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes;
  // A character has at most 3 continuation bytes; more of them is not UTF-8, so cut anywhere.
  for (int back = 0; back < 3 && end > 0 && (text[end] & 0xC0) == 0x80; ++back) --end;
  if (end > 0 && (text[end] & 0xC0) == 0x80) end = max_bytes;
  return text.substr(0, end);
}

}  // namespace epp::utf8
