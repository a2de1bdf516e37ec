// Texts of `epp help TOPIC`, which the manual pages show, too.
#pragma once

#include <span>
#include <string_view>

namespace epp::cli {

struct Topic {
  std::string_view name;
  std::string_view summary;
  std::string_view text;  // preformatted lines
};

std::span<const Topic> Topics();

}  // namespace epp::cli
