// The columns that plugins write for a request: memory for them, and what consumers see of it.
#pragma once

#include <cstdint>

#include "epp/abi.h"
#include "host/base/arena.h"

namespace epp::scheduling {

// A column to be written: values all 0, validity all 1. Of list types the plugin brings the values.
epp_out_column MakeOutput(int32_t type, uint32_t n, Arena& arena);

// A written column as consumers see it: all valid is a null bitmap, no value reads as 0 or an empty
// list. Shares the memory of `out`.
epp_column Published(const epp_out_column& out, int32_t type, uint32_t n, Arena& arena);

}  // namespace epp::scheduling
