// Between std::string_view and Abseil's: Debian builds Abseil with a type of its own.
#pragma once

#include <string_view>

#include "absl/strings/string_view.h"

namespace epp::sim {

inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view FromAbsl(absl::string_view text) { return {text.data(), text.size()}; }

}  // namespace epp::sim
