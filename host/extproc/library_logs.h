// Where gRPC and Protobuf send their own messages; by default they write to standard error.
#pragma once

#include <cstdint>
#include <string_view>

namespace epp::extproc {

enum class LibraryLogLevel : uint8_t { kDebug, kInfo, kError };

// Hands every message of the two libraries to `sink`, for the whole process; null drops them. Peers
// can cause such messages (text that is not UTF-8, a handshake that fails), so a sink should limit
// their rate. Threads: call before the first server starts; `sink` is called from any thread.
void RouteLibraryLogs(void (*sink)(LibraryLogLevel level, std::string_view text));

}  // namespace epp::extproc
