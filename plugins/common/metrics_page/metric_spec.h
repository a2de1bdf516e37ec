// Which series of a metrics page a value is taken from: "name" or "name{label=value, other="x"}".
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "epp/plugin.hpp"

namespace epp::metrics_page {

struct MetricSpec {
  std::string name;                                         // empty: not extracted
  std::vector<std::pair<std::string, std::string>> labels;  // all must be equal

  bool empty() const { return name.empty(); }
};

// Blanks around every part are allowed. Values hold neither commas nor quotes. Empty text gives an
// empty spec. On error `out` is unspecified.
Status ParseMetricSpec(std::string_view text, MetricSpec& out);

}  // namespace epp::metrics_page
