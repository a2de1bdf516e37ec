// What each diagnostic code means, for `epp help CODE`.
#pragma once

#include <span>
#include <string_view>

namespace epp::config {

struct CodeText {
  std::string_view code;     // "EPP-CFG-RANGE"
  std::string_view cause;    // when it is said
  std::string_view example;  // a text that leads to it
  std::string_view fix;
};

// Sorted by code.
std::span<const CodeText> CodeTexts();

// Null for a code that does not exist. `code` in any case.
const CodeText* ExplainCode(std::string_view code);

}  // namespace epp::config
