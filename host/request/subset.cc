#include "host/request/subset.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"

namespace epp::request {

std::string_view HintAddress(std::string_view entry) {
  if (entry.starts_with('[')) {
    const size_t close = entry.find(']');
    return close == std::string_view::npos ? entry : entry.substr(1, close - 1);
  }
  const size_t colon = entry.find(':');
  // More than one colon without brackets is an IPv6 address, which then has no port.
  if (colon == std::string_view::npos || entry.find(':', colon + 1) != std::string_view::npos) {
    return entry;
  }
  return entry.substr(0, colon);
}

Subset LocateSubset(const Metadata& metadata, const pool::Frame& frame, Arena& arena) {
  std::vector<std::string_view> entries;
  if (!metadata.List("envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset", &entries)) {
    return {};
  }
  absl::flat_hash_set<std::string_view> addresses;
  for (const std::string_view entry : entries) addresses.insert(HintAddress(entry));
  const std::span<uint32_t> rows = arena.AllocArray<uint32_t>(frame.size());
  uint32_t n = 0;
  for (uint32_t row = 0; row < rows.size(); ++row) {
    const epp_str& address = frame.endpoints()[row]->address;
    if (addresses.contains(std::string_view(address.data, address.size))) rows[n++] = row;
  }
  return {true, static_cast<uint32_t>(entries.size()), rows.first(n)};
}

}  // namespace epp::request
