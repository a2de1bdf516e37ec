// Writing what a profile did into a decision record.
#pragma once

#include <cstdint>
#include <span>

#include "host/base/arena.h"
#include "host/scheduling/candidates.h"
#include "host/scheduling/wiring.h"
#include "host/telemetry/decisions.h"

namespace epp::scheduling {

// Adds the endpoints that a filter dropped: those of `before` that are not in `after`.
void RecordFilter(telemetry::DecisionRecord& record, telemetry::ProfileRecord& profile,
                  const BoundPlugin& plugin, const CandidateList& before,
                  const CandidateList& after);

// Adds scores and picks. `scores` is scorers x n, clamped; `totals` has n entries; `picks` are
// positions in `list`. When not all rows fit: the picked ones, the best, and some of the rest.
void RecordScores(telemetry::DecisionRecord& record, telemetry::ProfileRecord& out,
                  const Profile& profile, CandidateList& list, const double* scores,
                  const double* totals, std::span<const uint32_t> picks, size_t max_cells,
                  Arena& arena);

}  // namespace epp::scheduling
