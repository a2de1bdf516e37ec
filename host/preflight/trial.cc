#include "host/preflight/trial.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <set>

#include "absl/time/time.h"
#include "host/base/clock.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/base/utf8.h"
#include "host/loader/guard.h"
#include "host/preflight/trial_format.h"

namespace epp::preflight {
namespace {

constexpr size_t kSaidBytes = 2048;  // of the child's stderr that is kept
constexpr int kPollMs = 2;

std::atomic<bool> g_allowed{false};

struct ProvenDigests {
  std::mutex mutex;
  std::set<std::string, std::less<>> digests;
};
ProvenDigests& TheProven() {
  static ProvenDigests& proven = *new ProvenDigests;
  return proven;
}

class SharedMemory {
 public:
  SharedMemory() : fd_(memfd_create("epp-preflight-report", MFD_CLOEXEC)) {
    if (!fd_ || ftruncate(fd_.get(), kSharedBytes) != 0) return;
    void* memory = mmap(nullptr, kSharedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (memory != MAP_FAILED) memory_ = memory;
  }
  ~SharedMemory() {
    if (memory_ != nullptr) munmap(memory_, kSharedBytes);
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  int fd() const { return fd_.get(); }
  bool ok() const { return memory_ != nullptr; }
  const Report& report() const { return *static_cast<const Report*>(memory_); }
  const void* table() const { return static_cast<const char*>(memory_) + kTableOffset; }

 private:
  UniqueFd fd_;
  void* memory_ = nullptr;
};

// How the child ended.
struct Ending {
  bool timed_out = false;  // in a step
  bool endless = false;    // in all, while steps went on
  bool left_processes = false;
  int status = 0;    // of waitpid
  std::string said;  // the end of its stderr
};

class SpawnActions {
 public:
  SpawnActions() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnActions() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

// Other threads of this process may be anywhere, so nothing but posix_spawn runs in between.
absl::StatusOr<pid_t> Spawn(int job, int report, int err) {
  // Away from the numbers that the child wants them under, or dup2 could overwrite one of them.
  const UniqueFd job_up(fcntl(job, F_DUPFD_CLOEXEC, 10));
  const UniqueFd report_up(fcntl(report, F_DUPFD_CLOEXEC, 10));
  const UniqueFd err_up(fcntl(err, F_DUPFD_CLOEXEC, 10));
  if (!job_up || !report_up || !err_up) return absl::InternalError(strerror(errno));
  SpawnActions spawn;
  posix_spawn_file_actions_addopen(&spawn.actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&spawn.actions, err_up.get(), 1);
  posix_spawn_file_actions_adddup2(&spawn.actions, err_up.get(), 2);
  posix_spawn_file_actions_adddup2(&spawn.actions, job_up.get(), kJobFd);
  posix_spawn_file_actions_adddup2(&spawn.actions, report_up.get(), kReportFd);
  // Sockets of ours must not live on in what a plugin leaves behind.
  posix_spawn_file_actions_addclosefrom_np(&spawn.actions, kReportFd + 1);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&spawn.attributes, &none);
  posix_spawnattr_setsigdefault(&spawn.attributes, &all);
  posix_spawnattr_setpgroup(&spawn.attributes, 0);
  posix_spawnattr_setflags(&spawn.attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::string name = "epp";
  std::string command(kCommand);
  std::array<char*, 3> argv = {name.data(), command.data(), nullptr};
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    // The child must not speak to the supervisor in our name.
    const std::string_view text = *entry;
    if (text.starts_with("NOTIFY_SOCKET=") || text.starts_with("WATCHDOG_")) continue;
    environment.push_back(*entry);
  }
  environment.push_back(nullptr);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, "/proc/self/exe", &spawn.actions, &spawn.attributes,
                                argv.data(), environment.data());
  if (error != 0) return absl::InternalError(strerror(error));
  return pid;
}

void ReadSome(int fd, std::string& said) {
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t n = read(fd, buffer.data(), buffer.size());
    if (n <= 0) return;
    said.append(buffer.data(), static_cast<size_t>(n));
    if (said.size() > kSaidBytes) said.erase(0, said.size() - kSaidBytes);
  }
}

Ending WaitFor(pid_t pid, int err, const SharedMemory& shared, uint64_t limit_ns) {
  Ending ending;
  const Clock& clock = Clock::Real();
  const uint64_t last = clock.mono_ns() + kMaxSteps * limit_ns;
  uint64_t until = clock.mono_ns() + limit_ns;
  uint64_t mark = 0;
  // Not in every kernel; without it the end is noticed a little later.
  const UniqueFd end(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  for (;;) {
    siginfo_t info{};
    if (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == pid) {
      break;
    }
    ReadSome(err, ending.said);
    const uint64_t now = clock.mono_ns();
    if (const uint64_t next = loader::ActivityMark(shared.table(), kSharedBytes - kTableOffset);
        next != mark) {
      mark = next;
      until = now + limit_ns;
    }
    if (now >= until || now >= last) {
      ending.timed_out = true;
      ending.endless = now < until;
      break;
    }
    const int left_ms = static_cast<int>(std::min<uint64_t>((until - now) / 1'000'000 + 1, 50));
    pollfd ready{end ? end.get() : -1, POLLIN, 0};
    poll(&ready, 1, end ? left_ms : kPollMs);
  }
  // The leader is not reaped yet, so the group's number is still its own.
  kill(-pid, SIGKILL);
  while (waitpid(pid, &ending.status, 0) < 0 && errno == EINTR) {
  }
  ending.left_processes = kill(-pid, SIGKILL) == 0 && !ending.timed_out;
  ReadSome(err, ending.said);
  return ending;
}

std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  return name ? StrCat("SIG", std::string_view(name)) : StrCat("signal ", signal);
}

std::string WhatHappened(const Ending& ending, const TrialLimits& limits) {
  if (ending.timed_out) {
    const uint64_t limit = limits.time_ns * (ending.endless ? kMaxSteps : 1);
    return StrCat(ending.endless ? "the trial still went on after " : "did not return within ",
                  FormatGoDuration(absl::Nanoseconds(static_cast<int64_t>(limit))));
  }
  if (WIFSIGNALED(ending.status)) {
    const int signal = WTERMSIG(ending.status);
    return StrCat("killed by ", SignalName(signal),
                  signal == SIGKILL ? ", for want of memory most likely" : "");
  }
  return StrCat("ended the process with exit status ", WEXITSTATUS(ending.status));
}

std::string Who(const SharedMemory& shared, const Trial& trial) {
  loader::Identity who;
  loader::Entry entry = loader::Entry::kNone;
  if (!loader::ReadSharedMemory(shared.table(), kSharedBytes - kTableOffset, &who, &entry)) {
    std::string fresh;
    for (const TrialLibrary& library : trial.libraries) {
      if (library.fresh && fresh.size() < 300) {
        StrAppend(&fresh, fresh.empty() ? "" : ", ", library.name);
      }
    }
    return StrCat("outside of any call of a plugin, with the new libraries ", fresh);
  }
  std::string out = StrCat("library ", std::string_view(who.library.data()), " (sha256 ",
                           std::string_view(who.digest.data()).substr(0, 12), ")");
  if (who.instance[0] != '\0') {
    StrAppend(&out, ", plugin \"", std::string_view(who.instance.data()), "\" (",
              std::string_view(who.type.data()), ")");
  }
  return StrCat(out, ", ", std::string_view(loader::NameOf(entry)));
}

std::string LastLine(std::string_view said) {
  while (!said.empty() && said.back() == '\n') said.remove_suffix(1);
  const size_t begin = said.rfind('\n');
  return utf8::Sanitise(begin == std::string_view::npos ? said : said.substr(begin + 1));
}

constexpr const char* kCode = "EPP-LOAD-PREFLIGHT";

}  // namespace

bool Run(const Trial& trial, const TrialLimits& limits, config::Diagnostics& out) {
  const auto cannot = [&](std::string_view why) {
    out.Error({}, kCode, StrCat("the trial of new libraries cannot be run: ", why), "",
              "plugins.preflight = \"0s\" turns trials off");
    return false;
  };
  SharedMemory shared;
  if (!shared.ok()) return cannot("no shared memory");
  const absl::StatusOr<UniqueFd> job = WriteJob(trial, limits);
  if (!job.ok()) return cannot(std::string(job.status().message()));
  std::array<int, 2> pipe_fds{-1, -1};
  if (pipe2(pipe_fds.data(), O_CLOEXEC | O_NONBLOCK) != 0) return cannot(strerror(errno));
  const UniqueFd err_in(pipe_fds[0]);
  UniqueFd err_out(pipe_fds[1]);
  const absl::StatusOr<pid_t> pid = Spawn(job->get(), shared.fd(), err_out.get());
  if (!pid.ok()) return cannot(std::string(pid.status().message()));
  err_out.reset();
  const Ending ending = WaitFor(*pid, err_in.get(), shared, limits.time_ns);

  const Report& report = shared.report();
  const TrialState state = report.state.load(std::memory_order_acquire);
  const bool finished = !ending.timed_out && WIFEXITED(ending.status) &&
                        WEXITSTATUS(ending.status) == 0 && state != TrialState::kRunning;
  const std::string_view said(report.text,
                              std::min<size_t>(report.size.load(), Report::kTextBytes));
  if (!finished) {
    const std::string last = LastLine(ending.said);
    out.Error(
        {}, kCode,
        StrCat("trial of new libraries: ", Who(shared, trial), ": ", WhatHappened(ending, limits)),
        "", last.empty() ? std::string() : StrCat("its last words: ", last));
    return false;
  }
  if (ending.left_processes) {
    out.Error({}, kCode,
              "trial of new libraries: processes were left running; a plugin must not fork");
    return false;
  }
  if (state == TrialState::kGood) return true;
  if (state == TrialState::kConfigErrors && DecodeErrors(said, trial.config, out)) return false;
  out.Error({}, kCode, StrCat("trial of new libraries: ", utf8::Sanitise(said)));
  return false;
}

bool IsProven(std::string_view digest) {
  ProvenDigests& proven = TheProven();
  std::lock_guard lock(proven.mutex);
  return proven.digests.contains(digest);
}

void SetProven(std::string_view digest) {
  ProvenDigests& proven = TheProven();
  std::lock_guard lock(proven.mutex);
  proven.digests.emplace(digest);
}

void AllowTrials() { g_allowed.store(true, std::memory_order_relaxed); }
bool TrialsAllowed() { return g_allowed.load(std::memory_order_relaxed); }

}  // namespace epp::preflight
