// Text for people: nearest names, shortening, grouped numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace epp {

// Edits (insert, delete, replace, swap of neighbours) between two names, counted up to `limit`;
// limit + 1 when there are more. Bytes, not characters. Cost: |a| * |b|.
size_t EditDistance(std::string_view a, std::string_view b, size_t limit);

// The candidate closest to `name`, the first of equals; empty when none is within `max_distance`.
// A candidate that differs from the name in every byte is no suggestion ("a" for "b").
std::string_view Nearest(std::string_view name, std::span<const std::string_view> candidates,
                         size_t max_distance = 2);
std::string_view Nearest(std::string_view name, std::span<const std::string> candidates,
                         size_t max_distance = 2);

// `text` cut in the middle to at most `max_columns` code points, with one U+2026 in place of what
// is missing: "gateway-…-7f9c". Valid UTF-8 in, valid UTF-8 out.
std::string MiddleEllipsis(std::string_view text, size_t max_columns);

// 1234567 -> "1 234 567".
std::string GroupThousands(int64_t value, char separator = ' ');

// 1536 -> "1.5 KiB", 4294967296 -> "4.0 GiB", 12 -> "12 B".
std::string FormatIecBytes(uint64_t bytes);

}  // namespace epp
