// UTF-8 of untrusted bytes: shortest forms only, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace epp::utf8 {

// Length of the longest valid prefix; text.size() when all of it is valid.
size_t ValidPrefix(std::string_view text);

inline bool Valid(std::string_view text) { return ValidPrefix(text) == text.size(); }

// Bytes to replace at the start of `text` when its first character is malformed: the longest
// prefix that could have begun a character, at least 1 (Unicode's "maximal subpart" rule).
// Precondition: text is not empty and ValidPrefix(text) is 0.
size_t MalformedLength(std::string_view text);

// A copy in which each malformed sequence became U+FFFD.
std::string Sanitise(std::string_view text);

// The longest prefix of at most `max_bytes` bytes that does not cut a character of valid text.
std::string_view Truncate(std::string_view text, size_t max_bytes);

}  // namespace epp::utf8
