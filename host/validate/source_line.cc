#include "host/validate/source_line.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>

#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"

extern char** environ;

namespace epp::validate {
namespace {

// What addr2line says, "FILE:LINE", or nothing.
std::string Ask(const std::string& library, const std::string& address) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return "";
  UniqueFd out(pipe_fds[1]);
  const UniqueFd in(pipe_fds[0]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
  const std::string program = "addr2line", flag_e = "-e";
  const char* const arguments[] = {program.c_str(), flag_e.c_str(), library.c_str(),
                                   address.c_str(), nullptr};
  pid_t pid = -1;
  const int failed = posix_spawnp(&pid, program.c_str(), &actions, nullptr,
                                  const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  out.reset();
  if (failed != 0) return "";
  std::string text(4096, '\0');
  const ssize_t n = read(in.get(), text.data(), text.size());
  waitpid(pid, nullptr, 0);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  text = text.substr(0, text.find_first_of("\n ("));
  return text.empty() || text[0] == '?' || text.ends_with("?") ? "" : text;
}

}  // namespace

std::string FirstIn(std::span<void* const> addresses, const std::string& path) {
  const std::string file = std::filesystem::path(path).filename().string();
  std::string first;
  for (void* const address : addresses) {
    Dl_info info{};
    if (dladdr(address, &info) == 0 || info.dli_fname == nullptr || path != info.dli_fname)
      continue;
    // The return address; the call is just before it.
    const auto offset =
        reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(info.dli_fbase) - 1;
    char text[32];
    std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(offset));
    const std::string line = Ask(path, text);
    // A line of the author's own says more than one of the standard library.
    if (!line.empty() && !line.starts_with("/usr/")) {
      return std::filesystem::path(line).filename().string();
    }
    if (first.empty()) first = StrCat(file, "+", text);
  }
  return first;
}

}  // namespace epp::validate
