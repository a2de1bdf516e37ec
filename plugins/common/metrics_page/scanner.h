// Takes single values out of a page in the Prometheus text format without reading the rest of it.
//
// A line is looked at only as far as its name, unless the name is wanted: no allocation, no copy.
// Comments are skipped, types included, so gauges, counters and untyped values all count. A wanted
// line that is malformed is counted and skipped; the page goes on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/metrics_page/metric_spec.h"

namespace epp::metrics_page {

// How several series that match one spec become one value. In all of them a series whose value is
// not a number is left out, and kLatest and kGreatest choose one series.
enum class Pick : uint8_t {
  kLatest,    // the greatest timestamp; without timestamps, or of equal ones, the first
  kSum,       // kLatest within each value of the label "engine", then the sum of these
  kAverage,   // likewise, then their mean
  kGreatest,  // the greatest value, if above -1
};

struct Wanted {
  MetricSpec spec;
  Pick pick = Pick::kLatest;
};

struct Found {
  bool found = false;
  double value = 0;
  std::string_view labels;  // of the chosen series: the text between its braces
};

// Calls fn(name, escaped value) for every label; false when the text is malformed (fn may have been
// called for the labels before the fault).
template <class Fn>
bool ForEachLabel(std::string_view text, Fn&& fn);

// True when a label's escaped text stands for `value`.
bool LabelEquals(std::string_view escaped, std::string_view value);

// A set of wanted series, prepared for scanning. Immutable; threads: any.
class Scanner {
 public:
  static constexpr size_t kMaxEngines = 256;  // of one page; further ones count as malformed

  explicit Scanner(std::vector<Wanted> wanted);

  // found[wanted.size()] is overwritten. Returns the number of malformed lines among the wanted.
  // 64 readable bytes follow `page`. Cost: about 10 GB/s.
  uint32_t Scan(std::string_view page, std::span<Found> found) const;

  size_t size() const { return wanted_.size(); }

 private:
  // Families whose names begin with the same eight bytes (or are these bytes, when shorter).
  struct Group {
    uint64_t prefix = 0;
    uint64_t mask = 0;
    uint32_t first = 0;  // into families_
    uint32_t last = 0;
  };
  struct Family {
    std::string name;
    std::vector<uint32_t> wanted;  // indices
  };
  struct Best {
    uint32_t wanted;
    bool has_engine;
    std::string_view engine;
    int64_t timestamp;
    double value;
    std::string_view labels;
  };
  // Returns false when the line is malformed.
  bool Take(const Family& family, const char* rest, const char* end, std::vector<Best>& best) const;
  bool Keep(uint32_t wanted, const Best& candidate, std::vector<Best>& best) const;

  std::vector<Wanted> wanted_;
  std::vector<Family> families_;
  std::vector<Group> groups_;
};

// ---- Implementation of the template ----

template <class Fn>
bool ForEachLabel(std::string_view text, Fn&& fn) {
  size_t at = 0;
  const auto skip_blanks = [&] {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\t')) ++at;
  };
  for (;;) {
    skip_blanks();
    if (at == text.size()) return true;
    const size_t name_at = at;
    while (at < text.size() && text[at] != '=' && text[at] != ' ' && text[at] != '\t') ++at;
    const std::string_view name = text.substr(name_at, at - name_at);
    skip_blanks();
    if (name.empty() || at == text.size() || text[at] != '=') return false;
    ++at;
    skip_blanks();
    if (at == text.size() || text[at] != '"') return false;
    const size_t value_at = ++at;
    while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
    if (at >= text.size()) return false;
    fn(name, text.substr(value_at, at - value_at));
    ++at;
    skip_blanks();
    if (at == text.size()) return true;
    if (text[at] != ',') return false;
    ++at;
  }
}

}  // namespace epp::metrics_page
