// Places the requests of a batch: those that share their prompt go to the same replica.
//
// A unit is what is placed together: requests with the same blocks, two at least; and, when
// min_colocate is positive, a single request whose first blocks are those of another. Units with
// more blocks are placed first, groups before singles. A unit goes to the replica that already has
// most of its beginning, when that is enough and the replica has less than its share; else to the
// replica with the least load.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace epp::burst {

struct Options {
  int64_t per_replica = -1;   // members of a unit on one replica; -1: all
  uint64_t min_colocate = 0;  // blocks; 0: no preference for what is there
  bool by_tokens = false;     // load is blocks that are new to the replica, not requests
};

struct Replica {
  std::string_view name;  // decides between equals
  int64_t running = 0;    // requests, as the replica says; decides before the name
};

// For every request, given by its block hashes, the index of its replica; -1: it is in no unit.
std::vector<int64_t> Assign(std::span<const std::span<const uint64_t>> requests,
                            std::span<const Replica> replicas, const Options& options);

}  // namespace epp::burst
