#include "host/cli/staged_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"

namespace epp::cli {
namespace {

absl::Status Cannot(const std::string& path) {
  return absl::PermissionDeniedError(StrCat("cannot write ", path, ": ", std::strerror(errno)));
}

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

absl::StatusOr<StagedFile> StagedFile::Stage(const std::string& path, std::string_view text) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr),
                                                         &std::free);
  struct stat info {};
  if (!real || stat(real.get(), &info) != 0) return Cannot(path);
  std::string staged = StrCat(real.get(), ".XXXXXX");
  const UniqueFd fd(mkostemp(staged.data(), O_CLOEXEC));
  if (fd.get() < 0) return Cannot(path);
  StagedFile file(real.get(), std::move(staged));
  // Only root may give files away; for others the owner is the same, or it does not matter.
  if (fchown(fd.get(), info.st_uid, info.st_gid) != 0 && errno != EPERM) return Cannot(path);
  if (!WriteAll(fd.get(), text) || fchmod(fd.get(), info.st_mode & 07777) != 0 ||
      fsync(fd.get()) != 0) {
    return Cannot(path);
  }
  return file;
}

StagedFile::StagedFile(StagedFile&& other) noexcept
    : path_(std::move(other.path_)), staged_(std::exchange(other.staged_, {})) {}

StagedFile::~StagedFile() {
  if (!staged_.empty()) unlink(staged_.c_str());
}

absl::Status StagedFile::Commit() {
  // The name never leads nowhere: a second name for the former file, then the new one in one step.
  const std::string bak = backup();
  unlink(bak.c_str());
  if (link(path_.c_str(), bak.c_str()) != 0) return Cannot(bak);
  if (rename(staged_.c_str(), path_.c_str()) != 0) return Cannot(path_);
  staged_.clear();
  return absl::OkStatus();
}

}  // namespace epp::cli
