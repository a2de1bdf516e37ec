#include "host/loader/trusted_file.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>

#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"
#include "host/loader/refusal.h"

namespace epp::loader {
namespace {

constexpr int kOpenFile = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
constexpr int kOpenDir = O_PATH | O_DIRECTORY | O_CLOEXEC;

absl::Status FromErrno(std::string_view what, int error) {
  if (error == ENOENT) return absl::NotFoundError(StrCat(what, ": ", strerror(error)));
  return Refuse(error == ELOOP || error == EXDEV ? "EPP-LOAD-PATH" : "EPP-LOAD-READ",
                StrCat(what, ": ", strerror(error)));
}

std::string Octal(mode_t mode) {
  std::array<char, 8> text;
  std::snprintf(text.data(), text.size(), "%04o", static_cast<unsigned>(mode & 07777));
  return text.data();
}

// Owner and mode of an open file or directory.
absl::Status CheckTrust(const struct stat& st, bool sticky_is_fine, std::string_view path) {
  if (st.st_uid != 0 && st.st_uid != geteuid()) {
    return Refuse("EPP-LOAD-OWNER",
                  StrCat(path, " is owned by uid ", st.st_uid, ", want 0 or ", geteuid()));
  }
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && !(sticky_is_fine && (st.st_mode & S_ISVTX))) {
    return Refuse("EPP-LOAD-MODE", StrCat(path, " has mode ", Octal(st.st_mode),
                                          ", want it writable by its owner only"));
  }
  return absl::OkStatus();
}

// Every directory from `path` to the root. `path` is absolute and free of symbolic links.
absl::Status CheckChain(std::string path) {
  for (bool own = true;; own = false) {
    struct stat st;
    if (lstat(path.empty() ? "/" : path.c_str(), &st) != 0) return FromErrno(path, errno);
    if (!S_ISDIR(st.st_mode)) {
      return Refuse("EPP-LOAD-PATH", StrCat(path, " is no directory"));
    }
    if (absl::Status s = CheckTrust(st, !own, path.empty() ? "/" : path); !s.ok()) return s;
    if (path.empty() || path == "/") return absl::OkStatus();
    path.erase(path.rfind('/'));
  }
}

std::string ReadLinkAt(int dir, const std::string& name) {
  std::array<char, 256> target;
  const ssize_t n = readlinkat(dir, name.c_str(), target.data(), target.size());
  return n > 0 && n < static_cast<ssize_t>(target.size()) ? std::string(target.data(), n) : "";
}

// Without openat2: no symbolic links but those of a Kubernetes volume.
int OpenPlain(int dir, const std::string& name) {
  const int fd = openat(dir, name.c_str(), kOpenFile | O_NOFOLLOW);
  if (fd >= 0 || errno != ELOOP) return fd;
  const std::string stamp = ReadLinkAt(dir, "..data");
  if (ReadLinkAt(dir, name) != StrCat("..data/", name) || !stamp.starts_with("..") ||
      stamp == ".." || stamp.find('/') != std::string::npos) {
    errno = ELOOP;
    return -1;
  }
  const UniqueFd data(openat(dir, stamp.c_str(), kOpenDir | O_NOFOLLOW));
  return data ? openat(data.get(), name.c_str(), kOpenFile | O_NOFOLLOW) : -1;
}

int OpenBeneath(int dir, const std::string& name, OpenMethod method) {
  if (method == OpenMethod::kBest) {
    open_how how{};
    how.flags = kOpenFile;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    const long fd = syscall(SYS_openat2, dir, name.c_str(), &how, sizeof(how));
    // Old kernels lack the call and some sandboxes forbid it.
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(fd);
  }
  return OpenPlain(dir, name);
}

// Stamps are as fine as the kernel's tick on a disk of ours, and as a second on others'.
constexpr int64_t kStampClockNs = 2'000'000'000;

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

absl::StatusOr<std::string> ReadTrustedFile(const std::string& dir, const std::string& name,
                                            size_t max_bytes, OpenMethod method) {
  absl::StatusOr<TrustedFile> file = ReadTrustedFileUnless(nullptr, dir, name, max_bytes, method);
  if (!file.ok()) return file.status();
  return std::move(file->content);
}

absl::StatusOr<TrustedFile> ReadTrustedFileUnless(const FileStamp* known, const std::string& dir,
                                                  const std::string& name, size_t max_bytes,
                                                  OpenMethod method) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos || dir.find('\0') != std::string::npos) {
    return Refuse("EPP-LOAD-PATH", StrCat("not a file name: ", name));
  }
  const std::unique_ptr<char, decltype(&free)> real(realpath(dir.c_str(), nullptr), &free);
  if (!real) return FromErrno(dir, errno);
  const UniqueFd dir_fd(open(real.get(), kOpenDir));
  if (!dir_fd) return FromErrno(dir, errno);
  const std::string shown = StrCat(dir, "/", name);
  const UniqueFd file(OpenBeneath(dir_fd.get(), name, method));
  if (!file) return FromErrno(shown, errno);

  struct stat st;
  if (fstat(file.get(), &st) != 0) return FromErrno(shown, errno);
  if (!S_ISREG(st.st_mode)) {
    return Refuse("EPP-LOAD-PATH", StrCat(shown, " is not a regular file"));
  }
  if (absl::Status s = CheckTrust(st, false, shown); !s.ok()) return s;
  if (static_cast<uint64_t>(st.st_size) > max_bytes) {
    return Refuse("EPP-LOAD-SIZE",
                  StrCat(shown, " has ", st.st_size, " bytes, want at most ", max_bytes));
  }
  // Where the links led: the directories that matter are those of the file itself.
  std::array<char, PATH_MAX> where;
  const ssize_t n =
      readlink(StrCat("/proc/self/fd/", file.get()).c_str(), where.data(), where.size());
  std::string home = n > 0 && where[0] == '/' ? std::string(where.data(), n) : "";
  home = home.empty() ? std::string(real.get()) : home.substr(0, home.rfind('/'));
  if (absl::Status s = CheckChain(home); !s.ok()) return s;

  TrustedFile out;
  out.stamp = {st.st_dev, st.st_ino, st.st_size, Nanoseconds(st.st_ctim)};
  if (known != nullptr && out.stamp == *known) return out;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  out.too_young = Nanoseconds(now) - out.stamp.changed_ns < kStampClockNs;

  std::string& content = out.content;
  content.resize(static_cast<size_t>(st.st_size));
  size_t size = 0;
  for (;;) {
    if (size == content.size()) {
      if (size >= max_bytes) break;
      content.resize(std::min(max_bytes, size + 4096));
    }
    const ssize_t got = read(file.get(), content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FromErrno(shown, errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  content.resize(size);
  return out;
}

}  // namespace epp::loader
