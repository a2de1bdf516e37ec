// SHA-256 as the identity of files and texts.
#pragma once

#include <string>
#include <string_view>

namespace epp::loader {

// 64 lower-case hex digits.
std::string Sha256Hex(std::string_view bytes);

}  // namespace epp::loader
