// The columns that a plugin writes for one request, before and after it wrote them. Private to this
// folder.
#pragma once

#include <cstdint>

#include "epp/abi.h"
#include "host/base/arena.h"
#include "host/scheduling/wiring.h"

namespace epp::scheduling {

struct Outputs {
  epp_outputs abi{};
  epp_out_column* columns = nullptr;
  epp_out_column* request_columns = nullptr;
};

// For n candidates. In arena memory.
Outputs MakeOutputs(const BoundPlugin& plugin, const Wiring& wiring, uint32_t n, Arena& arena);

// A column to be written: values all 0, validity all 1. Of list types the plugin brings the values.
epp_out_column MakeOutput(int32_t type, uint32_t n, Arena& arena);

// A column as consumers see it: all valid is a null bitmap, no value reads as 0.
epp_column Published(const epp_out_column& out, int32_t type, uint32_t n, Arena& arena);

}  // namespace epp::scheduling
