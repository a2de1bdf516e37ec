// Files that readers see whole: the old bytes or the new ones, never a part.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace epp {

// Writes a new file beside `path` and renames it into place. On errors `path` is what it was and
// nothing is left beside it. The message names the path. Does not sync: after a power cut the file
// may be the old one.
absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes,
                                 mode_t mode = 0644);

}  // namespace epp
