// Percentiles of a sample.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace epp::bench {

// The smallest value that at least `share` (0..1) of the values do not exceed; 0 of none. Sorts.
template <typename T>
T Percentile(std::vector<T>& values, double share) {
  if (values.empty()) return T{};
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(share * static_cast<double>(values.size()));
  const size_t index = rank < 1 ? 0 : static_cast<size_t>(rank) - 1;
  return values[std::min(index, values.size() - 1)];
}

}  // namespace epp::bench
