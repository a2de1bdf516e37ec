#include "host/extproc/size_string.h"

#include <array>
#include <limits>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "host/extproc/text.h"

namespace epp::extproc {
namespace {

constexpr uint64_t kMaxBytes = std::numeric_limits<int64_t>::max();

struct Suffix {
  std::string_view text;
  int power_of_2;
  int power_of_10;
};

constexpr std::array kSuffixes = {
    Suffix{"", 0, 0},    Suffix{"Ki", 10, 0}, Suffix{"Mi", 20, 0}, Suffix{"Gi", 30, 0},
    Suffix{"Ti", 40, 0}, Suffix{"Pi", 50, 0}, Suffix{"Ei", 60, 0}, Suffix{"n", 0, -9},
    Suffix{"u", 0, -6},  Suffix{"m", 0, -3},  Suffix{"k", 0, 3},   Suffix{"M", 0, 6},
    Suffix{"G", 0, 9},   Suffix{"T", 0, 12},  Suffix{"P", 0, 15},  Suffix{"E", 0, 18},
};

absl::Status Invalid(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("size \"", absl::CEscape(Text(text)), "\": ",
                                                 Text(why), ", want bytes such as 10MiB or 20MB"));
}

// "1.5" -> digits 15, scale 1 (digits / 10^scale).
bool ReadDecimal(std::string_view number, absl::uint128* digits, int* scale) {
  *digits = 0;
  *scale = 0;
  bool any = false;
  bool dot = false;
  for (char c : number) {
    if (c == '.' && !dot) {
      dot = true;
      continue;
    }
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
    if (*digits > std::numeric_limits<uint64_t>::max() / 10) return false;
    *digits = *digits * 10 + static_cast<uint64_t>(c - '0');
    *scale += dot ? 1 : 0;
    any = true;
  }
  return any;
}

}  // namespace

absl::StatusOr<uint64_t> ParseSizeString(std::string_view text) {
  const absl::string_view stripped = absl::StripAsciiWhitespace(Text(text));
  std::string_view s(stripped.data(), stripped.size());
  if (!s.empty() && (s.back() == 'B' || s.back() == 'b')) s.remove_suffix(1);
  if (stripped.empty()) return 0;
  if (!s.empty() && s.front() == '-') return Invalid(text, "is negative");
  if (!s.empty() && s.front() == '+') s.remove_prefix(1);

  const size_t end = s.find_first_not_of("0123456789.");
  std::string_view suffix = end == std::string_view::npos ? std::string_view() : s.substr(end);
  absl::uint128 value;
  int scale;
  if (!ReadDecimal(s.substr(0, s.size() - suffix.size()), &value, &scale)) {
    return Invalid(text, "is not a number");
  }

  int power_of_2 = 0;
  int power_of_10 = 0;
  bool known = false;
  for (const Suffix& candidate : kSuffixes) {
    if (candidate.text != suffix) continue;
    power_of_2 = candidate.power_of_2;
    power_of_10 = candidate.power_of_10;
    known = true;
  }
  if (!known && suffix.size() > 1 && (suffix[0] == 'e' || suffix[0] == 'E')) {
    known = absl::SimpleAtoi(Text(suffix.substr(1)), &power_of_10) && power_of_10 >= -18 &&
            power_of_10 <= 18;
  }
  if (!known) return Invalid(text, "has an unknown suffix");
  if (value == 0) return 0;

  // Each step keeps value below 2^128: it starts below 2^64, and stops when past the limit.
  value <<= power_of_2;
  power_of_10 -= scale;
  for (; power_of_10 > 0 && value <= kMaxBytes; --power_of_10) value *= 10;
  for (; power_of_10 < 0; ++power_of_10) {
    if (value % 10 != 0) return Invalid(text, "is not a whole number of bytes");
    value /= 10;
  }
  if (value > kMaxBytes) {
    return Invalid(text, absl::StrCat("is too large, the limit is ", kMaxBytes));
  }
  return static_cast<uint64_t>(value);
}

}  // namespace epp::extproc
