// Counts as bytes, for the successor of an instance.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "counters.h"
#include "gauges.h"

namespace epp::inflight {

// Writes nothing when nothing is in flight.
void Save(const std::vector<Counters::Known>& counts, const std::vector<Gauges::Known>& gauges,
          std::string* out);

// False when the bytes are not what Save writes, or a count is not one.
bool Parse(std::string_view bytes, std::vector<Counters::Known>* counts,
           std::vector<Gauges::Known>* gauges);

}  // namespace epp::inflight
