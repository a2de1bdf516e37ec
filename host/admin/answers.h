// The shapes of an answer on the admin socket: a document, the text that a command prints, or a
// problem (RFC 9457) with the code of a diagnostic.
#pragma once

#include <string>
#include <string_view>

#include "host/http/server.h"

namespace epp::admin {

// Whether the client asks for what the command prints.
bool WantsText(const http::Request& request);

http::Response Json(std::string body);
http::Response Text(std::string body);
http::Response Problem(int status, std::string_view code, std::string_view detail);

}  // namespace epp::admin
