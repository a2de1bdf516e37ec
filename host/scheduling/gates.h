// What a request passes before it is scheduled: header plugins, screeners, admitters.
//
// In this order: ReadHeaders, SetCandidates, Screen, Produce, Admit, Schedule. Runs to completion
// on the calling worker; all memory comes from the request's arena.
#pragma once

#include <optional>

#include "host/scheduling/cycle.h"
#include "host/scheduling/errors.h"

namespace epp::scheduling {

// Runs the header plugins in order and publishes their attributes. The first error ends the
// request. Candidates may not be known yet.
std::optional<Error> ReadHeaders(RequestContext& context);

// Shows every screener the same candidates and keeps those that all of them keep. An error when
// none is left.
std::optional<Error> Screen(RequestContext& context);

// Asks the admitters in order; the first denial ends the request, with the admitter's own code.
std::optional<Error> Admit(RequestContext& context);

}  // namespace epp::scheduling
