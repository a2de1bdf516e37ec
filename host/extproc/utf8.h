// UTF-8 for text that goes into a protocol field which must be valid.
#pragma once

#include <string>
#include <string_view>

namespace epp::extproc {

// Length of the longest prefix of `text` that is valid UTF-8 (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF).
size_t ValidUtf8Prefix(std::string_view text);

// `text` with every byte that is not part of a valid sequence replaced by U+FFFD; unchanged, and
// without a copy, when it is valid.
std::string SanitizeUtf8(std::string text);

}  // namespace epp::extproc
