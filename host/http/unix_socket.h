// A listening Unix socket at a path, without taking one over that somebody serves.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "host/base/unique_fd.h"

namespace epp::http {

// Binds and listens, non-blocking. Permissions are in place before the first client can connect.
// A socket file that nobody listens on is removed first. `group` is a name or empty.
// Errors: AlreadyExists when another process serves the path or something else than a socket is
// there; InvalidArgument for a path that is too long or an unknown group; PermissionDenied;
// Internal for other system errors.
absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, mode_t mode, const std::string& group);

// The file at a path, to recognise it later.
struct FileId {
  uint64_t device = 0;
  uint64_t inode = 0;
  bool operator==(const FileId&) const = default;
};
FileId FileAt(const std::string& path);

// Removes the path when it still is that file.
void UnlinkIf(const std::string& path, const FileId& id);

}  // namespace epp::http
