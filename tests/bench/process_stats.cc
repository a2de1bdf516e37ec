#include "tests/bench/process_stats.h"

#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

namespace epp::bench {
namespace {

uint64_t Read(clockid_t clock) {
  timespec time = {};
  if (clock_gettime(clock, &time) != 0) return 0;
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

}  // namespace

uint64_t ProcessCpuNs(pid_t pid) {
  clockid_t clock;
  return clock_getcpuclockid(pid, &clock) == 0 ? Read(clock) : 0;
}

uint64_t ThreadCpuNs() { return Read(CLOCK_THREAD_CPUTIME_ID); }

CpuTicks ProcessCpuTicks(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(in, line);
  CpuTicks ticks;
  const size_t name_end = line.rfind(')');  // the name may hold blanks
  if (name_end == std::string::npos) return ticks;
  std::istringstream rest(line.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) rest >> skipped;
  rest >> ticks.user >> ticks.system;
  return ticks;
}

uint64_t ResidentKib(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6));
  }
  return 0;
}

}  // namespace epp::bench
