// Anonymous files in memory whose content, once sealed, nobody can change.
#pragma once

#include <chrono>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "host/base/unique_fd.h"

namespace epp {

enum class MemoryFileUse {
  kData,
  // The file will be mapped executable. Asks for that where the kernel wants to be asked.
  kCode,
};

// An empty file, closed on exec and open to sealing. `name` is a label for /proc and debuggers.
absl::StatusOr<UniqueFd> OpenMemoryFile(std::string_view name, MemoryFileUse use);

// Forbids every further change, for whoever holds or opens the file. The kernel refuses that as
// long as somebody may be in the midst of a write, which includes page references that other cores
// hold for a moment; so it is asked again until `patience` is over. Blocks; not for a poll thread.
absl::Status SealMemoryFile(int fd, std::chrono::milliseconds patience = std::chrono::seconds(5));

}  // namespace epp
