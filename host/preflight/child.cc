// The child's side of a trial: limits on itself, the job, the report.
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "host/loader/guard.h"
#include "host/preflight/trial_format.h"

namespace epp::preflight {
namespace {

#ifdef EPP_HOST_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr int kNiceness = 10;

void Limit(decltype(RLIMIT_AS) what, uint64_t value) {
  rlimit limit{};
  if (getrlimit(what, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, value);
  setrlimit(what, &limit);
}

void LimitItself(const TrialLimits& limits) {
  // Whoever asked may be gone before its own limit strikes.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != limits.parent) _exit(1);
  // Below the thread that waits for it, which is itself below those of requests.
  setpriority(PRIO_PROCESS, 0, kNiceness);
  Limit(RLIMIT_CORE, 0);
  Limit(RLIMIT_CPU, kMaxSteps * limits.time_ns / 1'000'000'000 + 2);
  if (!kSanitized && limits.memory_bytes != 0) Limit(RLIMIT_AS, limits.memory_bytes);
}

}  // namespace

int ChildMain(const TrialBody& body) {
  void* memory = mmap(nullptr, kSharedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, kReportFd, 0);
  if (memory == MAP_FAILED) {
    constexpr std::string_view kText = "epp preflight is started by epp itself\n";
    [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, kText.data(), kText.size());
    return 2;
  }
  loader::UseSharedMemory(static_cast<char*>(memory) + kTableOffset, kSharedBytes - kTableOffset);
  TrialLimits limits;
  const absl::StatusOr<Trial> trial = ReadJob(kJobFd, &limits);
  if (!trial.ok()) return 2;
  // What a plugin starts must not hold them.
  close(kJobFd);
  close(kReportFd);
  LimitItself(limits);

  config::Diagnostics diagnostics;
  const absl::Status status = body(*trial, diagnostics);
  auto* report = static_cast<Report*>(memory);
  const auto tell = [&](TrialState state, std::string_view text) {
    text = text.substr(0, Report::kTextBytes);
    std::memcpy(report->text, text.data(), text.size());
    report->size.store(static_cast<uint32_t>(text.size()));
    report->state.store(state, std::memory_order_release);
  };
  if (!status.ok()) {
    tell(TrialState::kBadLibrary, {status.message().data(), status.message().size()});
  } else if (!diagnostics.ok()) {
    tell(TrialState::kConfigErrors, EncodeErrors(diagnostics, *trial->config));
  } else {
    tell(TrialState::kGood, "");
  }
  // No destructors of libraries: the process that serves never runs them either.
  _exit(0);
}

}  // namespace epp::preflight
