// Small things that plugins do with texts of configs and clients. ASCII; none allocates but Lower.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace epp::common {

// Without blanks at either end.
inline std::string_view Trim(std::string_view s) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t first = s.find_first_not_of(kSpace);
  if (first == s.npos) return {};
  return s.substr(first, s.find_last_not_of(kSpace) - first + 1);
}

inline char LowerChar(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

inline std::string Lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(), LowerChar);
  return out;
}

// Equal without regard to case, as the names of parameters are.
inline bool SameName(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return LowerChar(x) == LowerChar(y); });
}

// For error messages.
inline std::string Quoted(std::string_view s) { return '"' + std::string(s) + '"'; }

}  // namespace epp::common
