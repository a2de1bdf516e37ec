#include "host/validate/process_facts.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstring>
#include <filesystem>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "host/base/str_cat.h"

extern char** environ;

namespace epp::validate {
namespace {

namespace fs = std::filesystem;

std::string Hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

size_t CountIn(const char* folder) {
  std::error_code error;
  size_t n = 0;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) ++n;
  return n;
}

uint64_t FloatingPointMode() {
#if defined(__x86_64__)
  constexpr uint32_t kStatusBits = 0x3f;
  uint16_t x87 = 0;
  asm volatile("fnstcw %0" : "=m"(x87));
  return (uint64_t{x87} << 32) | (_mm_getcsr() & ~kStatusBits);
#else
  uint64_t value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
#endif
}

}  // namespace

size_t ProcessFacts::Threads() { return CountIn("/proc/self/task"); }
// Without the one that reads the folder.
size_t ProcessFacts::Files() { return CountIn("/proc/self/fd") - 1; }

bool ProcessFacts::HasChildren() {
  siginfo_t info{};
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

ProcessFacts ProcessFacts::Now() {
  ProcessFacts out;
  std::map<std::string, std::string>& facts = out.facts_;
  std::error_code error;
  facts["number of threads"] = StrCat(Threads());
  for (fs::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error)) {
    const std::string to = fs::read_symlink(it->path(), error).string();
    if (!error && to.find("/fd") == std::string::npos) {
      facts[StrCat("file descriptor ", it->path().filename().string())] = to;
    }
    error.clear();
  }
  for (int signal = 1; signal < SIGRTMAX; ++signal) {
    struct sigaction action {};
    if (sigaction(signal, nullptr, &action) != 0) continue;
    const char* const name = sigabbrev_np(signal);
    const auto handler = reinterpret_cast<uintptr_t>(action.sa_handler);
    facts[StrCat("handler of ",
                 name != nullptr ? StrCat("SIG", name) : StrCat("signal ", signal))] =
        handler == 0   ? "the default"
        : handler == 1 ? "ignore"
                       : Hex(handler);
  }
  sigset_t mask;
  sigprocmask(SIG_BLOCK, nullptr, &mask);
  std::string blocked;
  for (int signal = 1; signal < SIGRTMAX; ++signal) {
    if (sigismember(&mask, signal) == 1) StrAppend(&blocked, blocked.empty() ? "" : " ", signal);
  }
  facts["blocked signals"] = blocked.empty() ? "none" : blocked;
  const char* const locale = setlocale(LC_ALL, nullptr);
  facts["locale"] = locale != nullptr ? locale : "";
  facts["floating-point mode"] = Hex(FloatingPointMode());
  const mode_t mode = umask(0);
  umask(mode);
  facts["umask"] = Hex(mode);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t at = text.find('=');
    facts[StrCat("environment variable ", text.substr(0, at))] =
        at == std::string::npos ? "" : StrCat("\"", text.substr(at + 1), "\"");
  }
  facts["working directory"] = fs::current_path(error).string();
  facts["child processes"] = HasChildren() ? "some" : "none";
  itimerval timer{};
  getitimer(ITIMER_REAL, &timer);
  facts["interval timer"] = timer.it_value.tv_sec + timer.it_value.tv_usec != 0 ? "armed" : "off";
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  facts["limit of open files"] = StrCat(files.rlim_cur);
  return out;
}

std::vector<std::string> ProcessFacts::ChangesSince(const ProcessFacts& before) const {
  std::vector<std::string> changes;
  for (const auto& [what, now] : facts_) {
    const auto it = before.facts_.find(what);
    if (it == before.facts_.end()) {
      changes.push_back(StrCat("added ", what, ": ", now));
    } else if (it->second != now) {
      changes.push_back(StrCat("changed the ", what, " from ", it->second, " to ", now));
    }
  }
  for (const auto& [what, was] : before.facts_) {
    if (!facts_.contains(what)) changes.push_back(StrCat("removed ", what, ": ", was));
  }
  return changes;
}

}  // namespace epp::validate
