// Who holds a TCP port of this machine, so that a failed start can say it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace epp::extproc {

struct PortHolder {
  int pid = 0;
  std::string command;  // as started, at most 200 bytes, printable
};

// The process that listens on `port`, when /proc shows it to us. Cost: reads the descriptors of all
// processes; for error paths.
std::optional<PortHolder> FindPortHolder(uint16_t port);

// The error for a listener that could not open its port: who holds it, or that nobody can be seen.
absl::Status PortUnavailable(std::string_view listener, std::string_view address, uint16_t port);

}  // namespace epp::extproc
