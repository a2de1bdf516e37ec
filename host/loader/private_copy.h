// A copy of a library's bytes that nobody else can change, under a path that was never used before.
//
// The dynamic loader recognises a library by its path and inode, so the same path twice gives the
// old code, and an overwritten file crashes its users. Hence a fresh path for every load.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "host/base/unique_fd.h"

namespace epp::loader {

struct PrivateCopy {
  std::string path;
  // Set for a memory file: must stay open as long as the library is mapped, or a later file under
  // the same number would be taken for this one.
  UniqueFd memory;
  std::string why_memory;  // why no file on disk was used; empty when one was
};

// Writes `bytes` to `runtime_dir`/NAME-DIGEST16-PID-N.so (mode 0500; the directory is created with
// 0700), or to a sealed memory file when the directory is empty, not private or forbids execution.
// The first call for a directory removes the copies that dead processes left there.
// Errors: EPP-LOAD-COPY.
absl::StatusOr<PrivateCopy> MakePrivateCopy(const std::string& runtime_dir, std::string_view name,
                                            std::string_view digest, std::string_view bytes);

}  // namespace epp::loader
