// Debian's Abseil has a string_view of its own, without a conversion from the standard one.
#pragma once

#include <string_view>

#include "absl/strings/string_view.h"

namespace epp::extproc {

inline absl::string_view Text(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace epp::extproc
