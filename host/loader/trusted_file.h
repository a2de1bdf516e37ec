// Reads a file that the process is about to trust: nobody but root or this user may have been able
// to write it or to replace it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace epp::loader {

enum class OpenMethod { kBest, kWithoutOpenat2 };

// Which file it was and when it was last changed, by the inode's own clock, which nobody can set.
struct FileStamp {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size = 0;
  int64_t changed_ns = 0;  // unix time
  bool operator==(const FileStamp&) const = default;
};

struct TrustedFile {
  std::string content;
  FileStamp stamp;
  // Changed so recently that another change could leave the same stamp.
  bool too_young = false;
};

// The content of `dir`/`name`, read once. `name` is one path component. Symbolic links in `dir` are
// followed; one at `name` only if it stays inside `dir` (without openat2: only the shape of a
// Kubernetes volume, NAME -> ..data/NAME and ..data -> ..STAMP).
// The file must be regular, at most `max_bytes`, owned by root or the process's user and writable
// by nobody else; so must every directory from the file up to the root (a sticky directory such as
// /tmp is accepted on the way, but not as the file's own).
// Errors: NotFound when there is no such file; else EPP-LOAD-PATH, -OWNER, -MODE, -SIZE, -READ.
absl::StatusOr<std::string> ReadTrustedFile(const std::string& dir, const std::string& name,
                                            size_t max_bytes,
                                            OpenMethod method = OpenMethod::kBest);
// The same, with its stamp. Everything is checked, but a file whose stamp is `known` is not read:
// its content is left empty.
absl::StatusOr<TrustedFile> ReadTrustedFileUnless(const FileStamp* known, const std::string& dir,
                                                  const std::string& name, size_t max_bytes,
                                                  OpenMethod method = OpenMethod::kBest);

}  // namespace epp::loader
