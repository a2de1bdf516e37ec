#include "plugins/common/metrics_page/scanner.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>

namespace epp::metrics_page {
namespace {

constexpr std::string_view kEngineLabel = "engine";

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

uint64_t Load8(const char* p) {
  uint64_t word = 0;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

const char* SkipBlanks(const char* p, const char* end) {
  while (p < end && IsBlank(*p)) ++p;
  return p;
}

// The closing brace of a label set that begins at p, or null.
const char* EndOfLabels(const char* p, const char* end) {
  bool quoted = false;
  for (; p < end; ++p) {
    if (quoted) {
      if (*p == '\\') {
        ++p;
      } else if (*p == '"') {
        quoted = false;
      }
    } else if (*p == '"') {
      quoted = true;
    } else if (*p == '}') {
      return p;
    }
  }
  return nullptr;
}

// Value and timestamp of a sample, as they stand behind its labels.
bool ParseSample(const char* p, const char* end, double& value, int64_t& timestamp) {
  p = SkipBlanks(p, end);
  if (p < end && *p == '+') ++p;
  const auto number = std::from_chars(p, end, value);
  if (number.ec != std::errc()) return false;
  p = number.ptr;
  if (p < end && !IsBlank(*p)) return false;
  p = SkipBlanks(p, end);
  timestamp = 0;
  if (p == end || *p == '#') return true;  // '#': an exemplar
  const auto time = std::from_chars(p, end, timestamp);
  if (time.ec != std::errc()) return false;
  p = time.ptr;
  if (p < end && *p == '.') {  // seconds with a fraction
    ++p;
    while (p < end && *p >= '0' && *p <= '9') ++p;
  }
  p = SkipBlanks(p, end);
  return p == end || *p == '#';
}

}  // namespace

bool LabelEquals(std::string_view escaped, std::string_view value) {
  if (escaped.find('\\') == std::string_view::npos) return escaped == value;
  size_t at = 0;
  for (size_t i = 0; i < escaped.size(); ++i, ++at) {
    char c = escaped[i];
    if (c == '\\' && i + 1 < escaped.size()) {
      c = escaped[++i];
      if (c == 'n') c = '\n';
    }
    if (at >= value.size() || value[at] != c) return false;
  }
  return at == value.size();
}

Scanner::Scanner(std::vector<Wanted> wanted) : wanted_(std::move(wanted)) {
  std::map<std::string, std::vector<uint32_t>> by_name;
  for (size_t i = 0; i < wanted_.size(); ++i) {
    if (!wanted_[i].spec.empty()) {
      by_name[wanted_[i].spec.name].push_back(static_cast<uint32_t>(i));
    }
  }
  // Sorted by name, families of one prefix are neighbours.
  for (auto& [name, indices] : by_name) {
    char bytes[8] = {};
    const size_t n = std::min(name.size(), sizeof(bytes));
    std::memcpy(bytes, name.data(), n);
    Group group;
    group.prefix = Load8(bytes);
    group.mask = n == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * n)) - 1;
    group.first = static_cast<uint32_t>(families_.size());
    families_.push_back({name, std::move(indices)});
    if (groups_.empty() || groups_.back().prefix != group.prefix ||
        groups_.back().mask != group.mask) {
      groups_.push_back(group);
    }
    groups_.back().last = static_cast<uint32_t>(families_.size());
  }
}

// Merges a series into the best one so far of its spec and engine.
bool Scanner::Keep(uint32_t wanted, const Best& candidate, std::vector<Best>& best) const {
  const Pick pick = wanted_[wanted].pick;
  const bool by_engine = pick == Pick::kSum || pick == Pick::kAverage;
  for (Best& b : best) {
    if (b.wanted != wanted) continue;
    if (by_engine && (b.has_engine != candidate.has_engine || b.engine != candidate.engine)) {
      continue;
    }
    const bool better =
        pick == Pick::kGreatest ? candidate.value > b.value : candidate.timestamp > b.timestamp;
    if (better) b = candidate;
    return true;
  }
  if (pick == Pick::kGreatest && !(candidate.value > -1)) return true;
  if (best.size() >= kMaxEngines) return false;
  best.push_back(candidate);
  return true;
}

bool Scanner::Take(const Family& family, const char* rest, const char* end,
                   std::vector<Best>& best) const {
  if (end > rest && end[-1] == '\r') --end;
  rest = SkipBlanks(rest, end);
  std::string_view labels;
  if (rest < end && *rest == '{') {
    const char* const close = EndOfLabels(++rest, end);
    if (close == nullptr) return false;
    labels = {rest, static_cast<size_t>(close - rest)};
    rest = close + 1;
  }
  Best candidate{};
  candidate.labels = labels;
  if (!ParseSample(rest, end, candidate.value, candidate.timestamp)) return false;
  if (!std::isfinite(candidate.value)) return false;
  const bool well_formed = ForEachLabel(labels, [&](std::string_view name, std::string_view value) {
    if (name != kEngineLabel) return;
    candidate.has_engine = true;
    candidate.engine = value;
  });
  if (!well_formed) return false;
  bool kept = true;
  for (const uint32_t index : family.wanted) {
    const auto& pairs = wanted_[index].spec.labels;
    const bool matches = std::all_of(pairs.begin(), pairs.end(), [&](const auto& pair) {
      bool equal = false;
      ForEachLabel(labels, [&](std::string_view name, std::string_view value) {
        equal |= name == pair.first && LabelEquals(value, pair.second);
      });
      return equal;
    });
    if (!matches) continue;
    candidate.wanted = index;
    kept &= Keep(index, candidate, best);
  }
  return kept;
}

uint32_t Scanner::Scan(std::string_view page, std::span<Found> found) const {
  std::vector<Best> best;
  best.reserve(16);
  uint32_t malformed = 0;
  const char* p = page.data();
  const char* const page_end = p + page.size();
  while (p < page_end) {
    const auto* newline = static_cast<const char*>(std::memchr(p, '\n', page_end - p));
    const char* const end = newline != nullptr ? newline : page_end;
    const uint64_t head = Load8(p);
    for (const Group& group : groups_) {
      if ((head & group.mask) != group.prefix) continue;
      for (uint32_t f = group.first; f < group.last; ++f) {
        const Family& family = families_[f];
        const size_t n = family.name.size();
        // What follows the page may be read but is not part of it.
        if (static_cast<size_t>(end - p) <= n) continue;
        if (p[n] != '{' && !IsBlank(p[n])) continue;
        if (std::memcmp(p, family.name.data(), n) != 0) continue;
        if (!Take(family, p + n, end, best)) ++malformed;
        break;
      }
    }
    p = end + 1;
  }

  std::fill(found.begin(), found.end(), Found{});
  for (uint32_t i = 0; i < wanted_.size(); ++i) {
    const bool by_engine = wanted_[i].pick == Pick::kSum || wanted_[i].pick == Pick::kAverage;
    // Beside the engines' own series, one without that label is their total.
    const bool engines = by_engine && std::any_of(best.begin(), best.end(), [&](const Best& b) {
                           return b.wanted == i && b.has_engine;
                         });
    uint32_t count = 0;
    for (const Best& b : best) {
      if (b.wanted != i || (engines && !b.has_engine)) continue;
      if (count++ == 0) found[i].labels = b.labels;
      found[i].value += b.value;
    }
    found[i].found = count != 0;
    if (wanted_[i].pick == Pick::kAverage && count > 1) found[i].value /= count;
  }
  return malformed;
}

}  // namespace epp::metrics_page
