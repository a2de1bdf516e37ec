// The request phase: from headers and body to the verdict.
//
// Order of steps, the same for every request: parse, model rewrite, objective, admission,
// candidates, screeners, producers, admitters, schedule, conditional decode, pre-request hooks,
// verdict. Steps whose plugin kinds do not exist have their place here all the same.
#pragma once

#include "host/request/exchange.h"
#include "host/request/state.h"

namespace epp::request {

// Headers arrived: keeps them, pins the generation, gives the request its id.
void Receive(RequestState& state, std::span<const Header> headers);

// A request without a body: any endpoint, no plugin.
RequestVerdict DirectBodyless(RequestState& state, const Metadata& metadata);

// The whole body is here. kPending when a producer waits; the waker then says when to look again.
RequestVerdict Direct(RequestState& state, Body body, const Metadata& metadata);

// After a verdict of kPending from Direct: goes on where it is, and gives the verdict or kPending.
RequestVerdict Resume(RequestState& state);

// The request ends while it is suspended. Nothing when it is not.
void Abandon(RequestState& state);

// Lets the shadow decide about a request that is sampled for it. Before what the request phase
// needed is given back.
void AskShadow(RequestState& state);

// The verdict was taken over: gives back what only the request phase needed.
void Sent(RequestState& state);

// The answer to a client whose request ends here.
RequestVerdict Refuse(const scheduling::Error& error);

}  // namespace epp::request
