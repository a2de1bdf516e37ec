// Keeps requests away from servers that are gone.
#pragma once

#include <cstdint>
#include <span>

#include "host/base/arena.h"
#include "host/pool/frame.h"

namespace epp::request {

// The rows among `rows` (frame rows, ascending) whose server can be reached; `rows` itself when all
// or none can. A server that died has its last, often idle-looking values and would draw all the
// requests; when scraping fails everywhere, the scraping is more likely at fault than every server.
//
// Cost: nothing unless some server is unreachable.
std::span<const uint32_t> Reachable(const pool::Frame& frame, std::span<const uint32_t> rows,
                                    Arena& arena);

// The same of all rows; empty when that is the whole frame.
std::span<const uint32_t> Reachable(const pool::Frame& frame, Arena& arena);

}  // namespace epp::request
