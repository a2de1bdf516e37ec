// The version of this executable.
#pragma once

#include <string_view>

namespace epp::cli {

std::string_view Version();

// True when version `a` is above `b`; both as "1.2.3", anything else is not newer.
bool IsNewer(std::string_view a, std::string_view b);

}  // namespace epp::cli
