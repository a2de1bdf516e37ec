// What a change of the configuration means: which steps and instances are added, changed, dropped,
// and what becomes of what instances have learned.
//
// Compares meaning: the order of filters counts, that of scorers, keys and plugins does not.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "host/runtime/outline.h"

namespace epp::runtime {

struct Change {
  char mark = '~';      // '+', '-', '~'; '=' for what stays
  std::string section;  // "profile default", "instances"
  std::string subject;  // "prefix"
  std::string what;     // "weight 3 -> 5", may be empty
  std::string fate;     // "rebuild; its state is carried over", may be empty
};

struct GenerationDiff {
  std::vector<Change> changes;  // in order of section
  size_t added = 0;             // of the lines above
  size_t changed = 0;
  size_t dropped = 0;
  size_t kept = 0;                // instances
  std::vector<std::string> lost;  // instances whose learned state is lost

  bool same() const { return added + changed + dropped == 0; }
};

GenerationDiff Compare(const Outline& from, const Outline& to);

// One line a change, "~   profile default: prefix weight 3 -> 5"; '=' left out.
std::vector<std::string> ChangeLines(const GenerationDiff& diff);
// What `epp diff` prints, by section, with a summary; `all` shows also what stays.
std::string DiffText(const GenerationDiff& diff, bool all);

}  // namespace epp::runtime
