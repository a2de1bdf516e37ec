#include "host/loader/private_copy.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "host/base/memory_file.h"
#include "host/base/str_cat.h"
#include "host/loader/refusal.h"

namespace epp::loader {
namespace {

absl::Status WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return Refuse("EPP-LOAD-COPY", StrCat("writing the private copy: ", strerror(errno)));
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

// Unlinking a file that is still mapped somewhere would only cost its symbols, so a wrong guess
// about a foreign process is harmless.
void RemoveStale(const std::string& dir) {
  static std::mutex mutex;
  static auto& seen = *new std::set<std::string>;
  {
    std::lock_guard lock(mutex);
    if (!seen.insert(dir).second) return;
  }
  const std::unique_ptr<DIR, CloseDir> listing(opendir(dir.c_str()));
  if (!listing) return;
  while (const dirent* entry = readdir(listing.get())) {
    std::string_view name = entry->d_name;
    if (name.size() < 4 || name.substr(name.size() - 3) != ".so") continue;
    name.remove_suffix(3);
    const std::vector<std::string> parts = absl::StrSplit(std::string(name), '-');
    pid_t pid = 0;
    if (parts.size() < 4 || parts[parts.size() - 3].size() != 16 ||
        !absl::SimpleAtoi(parts[parts.size() - 2], &pid) || pid <= 0) {
      continue;
    }
    if (kill(pid, 0) != 0 && errno == ESRCH) {
      unlink(StrCat(dir, "/", entry->d_name).c_str());
    }
  }
}

// Why the directory cannot hold private copies; empty when it can.
std::string Unusable(const std::string& dir) {
  if (dir.empty()) return "no runtime directory is set";
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return StrCat(dir, ": ", strerror(errno));
  }
  struct stat st;
  if (lstat(dir.c_str(), &st) != 0) return StrCat(dir, ": ", strerror(errno));
  if (!S_ISDIR(st.st_mode)) return StrCat(dir, " is no directory");
  if (st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
    return StrCat(dir, " is not private, want mode 0700 and owner ", geteuid());
  }
  struct statvfs fs;
  if (statvfs(dir.c_str(), &fs) == 0 && (fs.f_flag & (ST_NOEXEC | ST_RDONLY)) != 0) {
    return StrCat(dir, " is on a file system that is read-only or forbids execution");
  }
  return {};
}

absl::StatusOr<PrivateCopy> ToMemory(std::string_view name, std::string_view bytes,
                                     std::string why) {
  absl::StatusOr<UniqueFd> opened = OpenMemoryFile(StrCat("epp-", name), MemoryFileUse::kCode);
  if (!opened.ok()) {
    return Refuse("EPP-LOAD-COPY", StrCat(why, "; no ", MessageOf(opened.status())));
  }
  UniqueFd fd = *std::move(opened);
  if (absl::Status s = WriteAll(fd.get(), bytes); !s.ok()) return s;
  if (absl::Status s = SealMemoryFile(fd.get()); !s.ok()) {
    return Refuse("EPP-LOAD-COPY", MessageOf(s));
  }
  // By process id, not "self": a debugger would otherwise open its own file of that number.
  std::string path = StrCat("/proc/", getpid(), "/fd/", fd.get());
  return PrivateCopy{std::move(path), std::move(fd), std::move(why)};
}

}  // namespace

absl::StatusOr<PrivateCopy> MakePrivateCopy(const std::string& runtime_dir, std::string_view name,
                                            std::string_view digest, std::string_view bytes) {
  static std::atomic<uint64_t> next{0};
  if (std::string why = Unusable(runtime_dir); !why.empty()) {
    return ToMemory(name, bytes, std::move(why));
  }
  RemoveStale(runtime_dir);
  for (int attempt = 0; attempt < 1000; ++attempt) {
    std::string path = StrCat(runtime_dir, "/", name, "-", digest.substr(0, 16), "-", getpid(), "-",
                              next.fetch_add(1), ".so");
    const UniqueFd fd(
        open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0500));
    if (!fd && errno == EEXIST) continue;
    if (!fd) return ToMemory(name, bytes, StrCat(path, ": ", strerror(errno)));
    if (absl::Status s = WriteAll(fd.get(), bytes); !s.ok()) {
      unlink(path.c_str());
      return ToMemory(name, bytes, MessageOf(s));
    }
    return PrivateCopy{std::move(path), UniqueFd(), {}};
  }
  return ToMemory(name, bytes, StrCat(runtime_dir, " is full of old copies"));
}

}  // namespace epp::loader
