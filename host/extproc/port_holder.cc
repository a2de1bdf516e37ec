#include "host/extproc/port_holder.h"

#include <dirent.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "host/extproc/text.h"

namespace epp::extproc {
namespace {

constexpr size_t kMaxCommandBytes = 200;

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

// Inodes of the sockets that listen on `port`, from one of the kernel's tables:
//   sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...
void ReadListeners(const char* table, uint16_t port, std::set<std::string>* inodes) {
  std::ifstream in(table);
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ', absl::SkipWhitespace());
    if (fields.size() < 10 || fields[3] != "0A") continue;  // 0A: listening
    const size_t colon = fields[1].rfind(':');
    uint32_t local = 0;
    if (colon == std::string::npos || !absl::SimpleHexAtoi(fields[1].substr(colon + 1), &local) ||
        local != port) {
      continue;
    }
    inodes->insert(absl::StrCat("socket:[", fields[9], "]"));
  }
}

bool HoldsOneOf(const std::string& fds, const std::set<std::string>& inodes) {
  const Dir dir(opendir(fds.c_str()));
  if (dir == nullptr) return false;
  while (const dirent* entry = readdir(dir.get())) {
    std::array<char, 64> target;
    const std::string path = absl::StrCat(fds, "/", entry->d_name);
    const ssize_t n = readlink(path.c_str(), target.data(), target.size());
    if (n > 0 && inodes.count(std::string(target.data(), static_cast<size_t>(n))) != 0) return true;
  }
  return false;
}

std::string ReadCommand(const std::string& process) {
  std::ifstream in(process + "/cmdline", std::ios::binary);
  std::string command(kMaxCommandBytes, '\0');
  in.read(command.data(), static_cast<std::streamsize>(command.size()));
  command.resize(static_cast<size_t>(in.gcount()));
  while (!command.empty() && command.back() == '\0') command.pop_back();
  for (char& c : command) {
    if (c == '\0') c = ' ';
    if (c < 0x20 || c == 0x7f) c = '?';
  }
  if (!command.empty()) return command;
  std::ifstream comm(process + "/comm");
  std::getline(comm, command);
  return command;
}

}  // namespace

std::optional<PortHolder> FindPortHolder(uint16_t port) {
  std::set<std::string> inodes;
  ReadListeners("/proc/net/tcp", port, &inodes);
  ReadListeners("/proc/net/tcp6", port, &inodes);
  if (inodes.empty()) return std::nullopt;
  const Dir proc(opendir("/proc"));
  if (proc == nullptr) return std::nullopt;
  while (const dirent* entry = readdir(proc.get())) {
    PortHolder holder;
    if (!absl::SimpleAtoi(entry->d_name, &holder.pid)) continue;
    const std::string process = absl::StrCat("/proc/", holder.pid);
    if (!HoldsOneOf(process + "/fd", inodes)) continue;
    holder.command = ReadCommand(process);
    return holder;
  }
  return std::nullopt;
}

absl::Status PortUnavailable(std::string_view listener, std::string_view address, uint16_t port) {
  const std::string where = absl::StrCat(Text(listener), ": ", Text(address), ":", port);
  if (const auto holder = FindPortHolder(port)) {
    return absl::UnavailableError(absl::StrCat(where, ": port is in use by process ", holder->pid,
                                               " (", holder->command, "), want a free one"));
  }
  return absl::UnavailableError(
      absl::StrCat(where,
                   ": cannot listen; no process that holds the port can be seen from here (it may "
                   "be another user's), or the address is not of this machine"));
}

}  // namespace epp::extproc
