// Telling the service manager how we are (sd_notify), without its library.
#pragma once

#include <string_view>

namespace epp::cli {

// Sends "READY=1", "STATUS=..." or several lines to $NOTIFY_SOCKET. Without one, or when nobody
// reads, nothing happens: the service manager is told, never asked.
void Notify(std::string_view message);

}  // namespace epp::cli
