#include "host/base/strings.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"

namespace epp {
namespace {

template <typename Text>
std::string_view NearestOf(std::string_view name, std::span<const Text> candidates,
                           size_t max_distance) {
  std::string_view best;
  size_t best_distance = max_distance + 1;
  for (const auto& candidate : candidates) {
    const size_t distance = EditDistance(name, candidate, best_distance - 1);
    const bool nothing_shared = distance >= std::max(name.size(), candidate.size());
    if (distance < best_distance && !nothing_shared) {
      best = candidate;
      best_distance = distance;
      if (distance == 0) break;
    }
  }
  return best;
}

bool Continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

size_t EditDistance(std::string_view a, std::string_view b, size_t limit) {
  const size_t longer = std::max(a.size(), b.size());
  const size_t shorter = std::min(a.size(), b.size());
  if (longer - shorter > limit) return limit + 1;
  // Three rolling rows: a swap of neighbours looks two rows back.
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    size_t row_min = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = last[j - 1] + (a[i - 1] != b[j - 1]);
      row[j] = std::min({replace, last[j] + 1, row[j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
      row_min = std::min(row_min, row[j]);
    }
    // A swap can lower the next row by at most what the row before last already allows.
    const size_t last_min = *std::min_element(last.begin(), last.end());
    if (row_min > limit && last_min > limit) return limit + 1;
    before.swap(last);
    last.swap(row);
  }
  return std::min(last[b.size()], limit + 1);
}

std::string_view Nearest(std::string_view name, std::span<const std::string_view> candidates,
                         size_t max_distance) {
  return NearestOf(name, candidates, max_distance);
}

std::string_view Nearest(std::string_view name, std::span<const std::string> candidates,
                         size_t max_distance) {
  return NearestOf(name, candidates, max_distance);
}

std::string MiddleEllipsis(std::string_view text, size_t max_columns) {
  const auto columns = static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !Continuation(c); }));
  if (columns <= max_columns) return std::string(text);
  if (max_columns == 0) return {};
  const size_t head_columns = max_columns / 2;
  const size_t tail_columns = max_columns - 1 - head_columns;
  size_t head = 0;
  for (size_t seen = 0; head < text.size(); ++head) {
    if (!Continuation(text[head]) && seen++ == head_columns) break;
  }
  size_t tail = text.size();
  for (size_t seen = 0; tail > 0 && seen < tail_columns;) {
    if (!Continuation(text[--tail])) ++seen;
  }
  std::string out(text.substr(0, head));
  out.append("\xE2\x80\xA6");
  out.append(text.substr(tail));
  return out;
}

std::string GroupThousands(int64_t value, char separator) {
  const std::string digits = std::to_string(value);
  std::string out;
  const size_t sign = value < 0 ? 1 : 0;
  out.append(digits, 0, sign);
  for (size_t i = sign; i < digits.size(); ++i) {
    if (i > sign && (digits.size() - i) % 3 == 0) out.push_back(separator);
    out.push_back(digits[i]);
  }
  return out;
}

std::string FormatIecBytes(uint64_t bytes) {
  if (bytes < 1024) return absl::StrFormat("%d B", bytes);
  static constexpr std::string_view kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would print as 1024.0.
  while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

}  // namespace epp
