// The range of context lengths that a label names, and how well a length fits it.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <system_error>

#include "plugins/common/text.hpp"

namespace epp::context_length {

// Tokens, both ends included; 0 <= min <= max.
struct Range {
  int64_t min = 0;
  int64_t max = 0;

  bool Holds(int64_t tokens) const { return min <= tokens && tokens <= max; }

  // (0.3, 1] inside, more for a narrow range and for room above the length; (0, 0.3] outside, less
  // with the distance. tokens >= 0.
  double Score(int64_t tokens) const {
    if (!Holds(tokens)) {
      const int64_t distance = tokens < min ? min - tokens : tokens - max;
      return 0.3 / (1.0 + static_cast<double>(distance) / 1000.0);
    }
    if (min == max) return 1.0;
    const auto width = static_cast<double>(max - min);
    const double room = static_cast<double>(max - tokens) / width;
    return 0.3 + 0.7 * (0.7 / (1.0 + width / 10000.0) + 0.3 * room);
  }
};

inline std::optional<int64_t> ParseTokens(std::string_view text) {
  text = epp::common::Trim(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "MIN-MAX", or nothing.
inline std::optional<Range> ParseRange(std::string_view text) {
  const size_t dash = text.find('-');
  if (dash == text.npos || text.find('-', dash + 1) != text.npos) return std::nullopt;
  const std::optional<int64_t> min = ParseTokens(text.substr(0, dash));
  const std::optional<int64_t> max = ParseTokens(text.substr(dash + 1));
  if (!min || !max || *min > *max) return std::nullopt;
  return Range{*min, *max};
}

}  // namespace epp::context_length
