// The last words of a process that crashes: which plugin was running, for people on stderr and for
// the next start in the quarantine file. Then the signal takes its course.
//
// Everything behind the signal is async-signal-safe. Threads that call plugins have a signal stack
// from their first call on (loader/guard.h), so an overrun stack is told, too.
#pragma once

#include <string>

#include "host/loader/guard.h"

namespace epp::preflight {

struct CrashOptions {
  std::string quarantine_file;  // appended to; empty: nothing is written
  bool json = false;            // the form of the line on stderr
};

// Takes SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT from now on. Once per process; a later call
// changes the options only. Threads: the config thread.
void InstallCrashHandler(const CrashOptions& options);

// Ends the process on account of a call that does not return, as if it had crashed there.
[[noreturn]] void AbortFor(const loader::Sighting& stuck);

}  // namespace epp::preflight
