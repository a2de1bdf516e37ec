// How loaded the servers are, for shedding what may be shed.
#pragma once

#include <cstdint>
#include <span>

#include "host/pool/pool.h"

namespace epp::request {

// The mean over `rows` (frame rows; `all` says every row instead) of each server's load: the larger
// of its queue over 5 requests and its KV cache use over 80%. A server whose metrics are missing or
// older than `stale_ns` counts as 1, and so does having no server. 1 and more is saturated.
double Saturation(pool::Pool& pool, const pool::Frame& frame, std::span<const uint32_t> rows,
                  bool all, uint64_t now_ns, uint64_t stale_ns);

}  // namespace epp::request
