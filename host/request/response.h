// The response phase: watch, account, tell the plugins that asked, give the client its model name
// back.
#pragma once

#include <span>
#include <string_view>

#include "host/request/exchange.h"
#include "host/request/state.h"

namespace epp::request {

ResponseHeadersVerdict ReceiveResponseHeaders(RequestState& state, std::span<const Header> headers,
                                              const Metadata& metadata, bool end_of_stream);

ResponseBodyVerdict ReceiveResponseBody(RequestState& state, std::string_view chunk,
                                        bool end_of_stream);

// The stream is over: tells hooks of an end that they have not seen, and closes the accounts.
void Complete(RequestState& state, StreamEnd how);

}  // namespace epp::request
