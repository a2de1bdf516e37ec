// The proxy's hint which endpoints it would accept.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "host/base/arena.h"
#include "host/pool/frame.h"
#include "host/request/exchange.h"

namespace epp::request {

struct Subset {
  bool given = false;        // false: every endpoint may be picked
  uint32_t hinted = 0;       // entries of the hint
  std::span<uint32_t> rows;  // of the frame, ascending, when given
};

// Reads "envoy.lb.subset_hint" / "x-gateway-destination-endpoint-subset". An entry is an IP, a host
// name, or either with a port; ports are ignored, so all ranks of an address qualify. A hint that
// is not a list is no hint; an empty list allows nothing.
Subset LocateSubset(const Metadata& metadata, const pool::Frame& frame, Arena& arena);

// The address part of a hint entry: "[fd00::1]:8000" and "fd00::1" are both fd00::1.
std::string_view HintAddress(std::string_view entry);

}  // namespace epp::request
