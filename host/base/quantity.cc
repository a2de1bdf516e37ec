#include "host/base/quantity.h"

#include <limits>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_format.h"
#include "host/base/strings.h"

namespace epp {
namespace {

bool Digit(char c) { return c >= '0' && c <= '9'; }

absl::Status BadDuration(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrFormat("duration \"%s\" %s, want a number with a unit such as 250ms or 1m30s",
                      MiddleEllipsis(text, 64), why));
}

absl::Status BadQuantity(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "quantity \"%s\" %s, want a number such as 500, 1k or 10Gi", MiddleEllipsis(text, 64), why));
}

// A decimal number as digits without a point: value = digits / 10^fraction_digits.
struct Decimal {
  absl::uint128 digits = 0;
  int fraction_digits = 0;
  bool any = false;
  bool overflow = false;
};

// Consumes digits and at most one point from the front of `rest`.
Decimal TakeDecimal(std::string_view& rest) {
  Decimal out;
  bool point = false;
  const absl::uint128 limit = absl::Uint128Max() / 100;
  while (!rest.empty() && (Digit(rest[0]) || (rest[0] == '.' && !point))) {
    if (rest[0] == '.') {
      point = true;
    } else {
      out.any = true;
      if (out.digits > limit) {
        // Fraction digits beyond this precision cannot matter to a 64-bit result.
        if (!point) out.overflow = true;
      } else {
        out.digits = out.digits * 10 + static_cast<unsigned>(rest[0] - '0');
        if (point) ++out.fraction_digits;
      }
    }
    rest.remove_prefix(1);
  }
  return out;
}

// digits * scale / 10^fraction_digits, or nothing useful when `overflow` comes back true.
absl::uint128 Scale(const Decimal& number, absl::uint128 scale, bool round_up, bool* overflow) {
  absl::uint128 digits = number.digits;
  int fraction = number.fraction_digits;
  // Dropping digits below 10^-20 keeps the product within 128 bits for every sensible input.
  bool dropped = false;
  while (fraction > 0 && digits > absl::Uint128Max() / scale) {
    dropped |= digits % 10 != 0;
    digits /= 10;
    --fraction;
  }
  if (digits != 0 && digits > absl::Uint128Max() / scale) {
    *overflow = true;
    return 0;
  }
  absl::uint128 value = digits * scale;
  for (; fraction > 0; --fraction) {
    dropped |= value % 10 != 0;
    value /= 10;
  }
  return value + (round_up && dropped ? 1 : 0);
}

}  // namespace

absl::StatusOr<int64_t> ParseGoDurationNs(std::string_view text) {
  static constexpr std::pair<std::string_view, uint64_t> kUnits[] = {
      {"ns", 1},       {"us", 1000},      {"\xC2\xB5s", 1000}, {"\xCE\xBCs", 1000},
      {"ms", 1000000}, {"s", 1000000000}, {"m", 60000000000},  {"h", 3600000000000}};
  std::string_view rest = text;
  bool negative = false;
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  if (rest == "0") return 0;
  if (rest.empty()) return BadDuration(text, "is empty");
  absl::uint128 total = 0;
  while (!rest.empty()) {
    const Decimal number = TakeDecimal(rest);
    if (!number.any) return BadDuration(text, "is not a number");
    size_t unit_end = 0;
    while (unit_end < rest.size() && rest[unit_end] != '.' && !Digit(rest[unit_end])) ++unit_end;
    const std::string_view unit = rest.substr(0, unit_end);
    uint64_t scale = 0;
    for (const auto& [name, ns] : kUnits) {
      if (name == unit) scale = ns;
    }
    if (scale == 0) return BadDuration(text, unit.empty() ? "has no unit" : "has an unknown unit");
    bool overflow = number.overflow;
    total += Scale(number, scale, false, &overflow);
    if (overflow || total > absl::uint128(uint64_t{1} << 63)) {
      return BadDuration(text, "is too long");
    }
    rest.remove_prefix(unit_end);
  }
  const auto magnitude = static_cast<uint64_t>(total);
  if (negative) return static_cast<int64_t>(0 - magnitude);
  if (magnitude > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return BadDuration(text, "is too long");
  }
  return static_cast<int64_t>(magnitude);
}

absl::StatusOr<absl::Duration> ParseGoDuration(std::string_view text) {
  const auto ns = ParseGoDurationNs(text);
  if (!ns.ok()) return ns.status();
  return absl::Nanoseconds(*ns);
}

std::string FormatGoDuration(absl::Duration duration) {
  return duration == absl::ZeroDuration() ? "0s" : absl::FormatDuration(duration);
}

absl::StatusOr<uint64_t> ParseQuantity(std::string_view text) {
  std::string_view rest = text;
  if (!rest.empty() && rest[0] == '-') return BadQuantity(text, "is negative");
  if (!rest.empty() && rest[0] == '+') rest.remove_prefix(1);
  Decimal number = TakeDecimal(rest);
  if (!number.any) return BadQuantity(text, text.empty() ? "is empty" : "is not a number");

  absl::uint128 scale = 1;
  if (rest.size() == 2 && rest[1] == 'i') {
    const size_t power = std::string_view("KMGTPE").find(rest[0]);
    if (power == std::string_view::npos) return BadQuantity(text, "has an unknown suffix");
    scale <<= 10 * (static_cast<int>(power) + 1);
  } else if (rest.size() > 1 && (rest[0] == 'e' || rest[0] == 'E')) {
    rest.remove_prefix(1);
    const bool negative = rest[0] == '-';
    if (rest[0] == '-' || rest[0] == '+') rest.remove_prefix(1);
    int exponent = 0;
    if (rest.empty() || rest.size() > 2) return BadQuantity(text, "has an unusable exponent");
    for (char c : rest) {
      if (!Digit(c)) return BadQuantity(text, "has an unusable exponent");
      exponent = exponent * 10 + (c - '0');
    }
    if (exponent > 19 && !negative && number.digits != 0) return BadQuantity(text, "is too large");
    if (negative) {
      number.fraction_digits += exponent;
    } else {
      for (int i = 0; i < exponent && i < 20; ++i) scale *= 10;
    }
  } else if (rest.size() == 1) {
    static constexpr std::string_view kDecimal = "kMGTPE";
    static constexpr std::string_view kFraction = "mun";
    if (const size_t power = kDecimal.find(rest[0]); power != std::string_view::npos) {
      for (size_t i = 0; i < 3 * (power + 1); ++i) scale *= 10;
    } else if (const size_t down = kFraction.find(rest[0]); down != std::string_view::npos) {
      number.fraction_digits += 3 * (static_cast<int>(down) + 1);
    } else {
      return BadQuantity(text, "has an unknown suffix");
    }
  } else if (!rest.empty()) {
    return BadQuantity(text, "has an unknown suffix");
  }

  bool overflow = number.overflow;
  const absl::uint128 value = Scale(number, scale, true, &overflow);
  if (overflow || value > absl::uint128(std::numeric_limits<uint64_t>::max())) {
    return BadQuantity(text, "is too large");
  }
  return static_cast<uint64_t>(value);
}

}  // namespace epp
