#include "host/http/unix_socket.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_format.h"

namespace epp::http {
namespace {

absl::Status SystemError(const std::string& path, const char* what, int error) {
  const std::string text = absl::StrFormat("socket %s: %s: %s", path, what, std::strerror(error));
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(text);
  return absl::InternalError(text);
}

// Ok when nothing is at the path any more.
absl::Status ClearStale(const std::string& path, const sockaddr_un& address) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) {
    return errno == ENOENT ? absl::OkStatus() : SystemError(path, "stat", errno);
  }
  if (!S_ISSOCK(st.st_mode)) {
    return absl::AlreadyExistsError(
        absl::StrFormat("socket %s: the path exists and is not a socket", path));
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return SystemError(path, "socket", errno);
  const int result =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  // A full backlog (EAGAIN) is a live server, too; only a refusal proves that nobody listens.
  if (result == 0 || (errno != ECONNREFUSED && errno != ENOENT)) {
    if (result != 0 && (errno == EACCES || errno == EPERM)) {
      return SystemError(path, "connect", errno);
    }
    return absl::AlreadyExistsError(
        absl::StrFormat("socket %s: another process is listening on it", path));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return SystemError(path, "unlink", errno);
  return absl::OkStatus();
}

absl::Status SetGroup(const std::string& path, const std::string& name) {
  group entry{};
  group* found = nullptr;
  std::vector<char> buffer(16 * 1024);
  if (::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrFormat("socket %s: group \"%s\" does not exist", path, name));
  }
  if (::chown(path.c_str(), static_cast<uid_t>(-1), found->gr_gid) != 0) {
    return SystemError(path, "chown", errno);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, mode_t mode,
                                    const std::string& group) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("socket \"%s\": the path has %d bytes, want 1 to %d", path, path.size(),
                        sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  if (absl::Status status = ClearStale(path, address); !status.ok()) return status;
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return SystemError(path, "socket", errno);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == EADDRINUSE) {
      return absl::AlreadyExistsError(
          absl::StrFormat("socket %s: another process is listening on it", path));
    }
    return SystemError(path, "bind", errno);
  }
  // Nobody can connect before listen, so there is no moment with the wrong permissions.
  const FileId id = FileAt(path);
  absl::Status status = group.empty() ? absl::OkStatus() : SetGroup(path, group);
  if (status.ok() && ::chmod(path.c_str(), mode) != 0) status = SystemError(path, "chmod", errno);
  if (status.ok() && ::listen(fd.get(), 128) != 0) status = SystemError(path, "listen", errno);
  if (!status.ok()) {
    UnlinkIf(path, id);
    return status;
  }
  return fd;
}

FileId FileAt(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return {};
  return {st.st_dev, st.st_ino};
}

void UnlinkIf(const std::string& path, const FileId& id) {
  if (id != FileId{} && FileAt(path) == id) ::unlink(path.c_str());
}

}  // namespace epp::http
