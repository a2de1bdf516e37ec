#include "host/base/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include "host/base/str_cat.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

namespace epp {

absl::StatusOr<UniqueFd> OpenMemoryFile(std::string_view name, MemoryFileUse use) {
  const std::string label(name);
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  UniqueFd fd;
  if (use == MemoryFileUse::kCode) fd.reset(memfd_create(label.c_str(), kFlags | MFD_EXEC));
  // Kernels before 6.3 do not know the flag, and need none.
  if (!fd) fd.reset(memfd_create(label.c_str(), kFlags));
  if (!fd) return absl::InternalError(StrCat("memory file: ", strerror(errno)));
  return fd;
}

absl::Status SealMemoryFile(int fd, std::chrono::milliseconds patience) {
  constexpr int kAll = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (fcntl(fd, F_ADD_SEALS, kAll) != 0) {
    if (errno != EBUSY || std::chrono::steady_clock::now() >= deadline) {
      return absl::InternalError(StrCat("sealing a memory file: ", strerror(errno)));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return absl::OkStatus();
}

}  // namespace epp
