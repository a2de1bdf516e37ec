#include "host/base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"

namespace epp {
namespace {

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes, mode_t mode) {
  std::string beside = StrCat(path, ".XXXXXX");
  const UniqueFd file(::mkostemp(beside.data(), O_CLOEXEC));
  if (!file) return absl::ErrnoToStatus(errno, StrCat("cannot create a file beside ", path));
  if (WriteAll(file.get(), bytes) && ::fchmod(file.get(), mode) == 0 &&
      ::rename(beside.c_str(), path.c_str()) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  ::unlink(beside.c_str());
  return absl::ErrnoToStatus(error, StrCat("cannot write ", path));
}

}  // namespace epp
