// CPU time and memory of a process, this one or another of the same user.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace epp::bench {

// User plus system time of all threads since the process began, 0 when it cannot be read. The
// kernel's own accounting in nanoseconds; /proc/PID/stat counts the same in ticks of 10 ms.
uint64_t ProcessCpuNs(pid_t pid);
uint64_t ThreadCpuNs();  // of the calling thread

struct CpuTicks {
  uint64_t user = 0;
  uint64_t system = 0;
};
// Fields 14 and 15 of /proc/PID/stat.
CpuTicks ProcessCpuTicks(pid_t pid);

uint64_t ResidentKib(pid_t pid);  // VmRSS of /proc/PID/status, 0 when unknown

}  // namespace epp::bench
