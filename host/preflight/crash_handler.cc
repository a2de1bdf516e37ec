#include "host/preflight/crash_handler.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace epp::preflight {
namespace {

using loader::Identity;

struct Handled {
  int signal;
  const char* name;
};
constexpr std::array kHandled = {Handled{SIGSEGV, "SIGSEGV"}, Handled{SIGBUS, "SIGBUS"},
                                 Handled{SIGILL, "SIGILL"}, Handled{SIGFPE, "SIGFPE"},
                                 Handled{SIGABRT, "SIGABRT"}};

// What the handler uses; plain memory, written before a signal can come.
std::array<struct sigaction, kHandled.size()> g_former;
std::array<char, PATH_MAX> g_quarantine_file;
constinit std::atomic<bool> g_installed{false};
constinit std::atomic<bool> g_json{false};
constinit std::atomic<pid_t> g_crashing{0};  // the thread that speaks
// Set by AbortFor: who is to blame, rather than whoever this thread was calling.
constinit std::atomic<const Identity*> g_blamed{nullptr};
constinit std::atomic<loader::Entry> g_blamed_entry{loader::Entry::kNone};

// A line of bounded length, without the heap.
class Line {
 public:
  Line& operator<<(std::string_view text) {
    const size_t n = std::min(text.size(), buffer_.size() - size_);
    std::memcpy(buffer_.data() + size_, text.data(), n);
    size_ += n;
    return *this;
  }
  Line& operator<<(uint64_t value) {
    std::array<char, 20> digits;
    size_t n = digits.size();
    do {
      digits[--n] = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value != 0);
    return *this << std::string_view(digits.data() + n, digits.size() - n);
  }
  // All of it, or as much as goes.
  void WriteTo(int fd) const {
    size_t at = 0;
    while (at < size_) {
      const ssize_t n = write(fd, buffer_.data() + at, size_ - at);
      if (n <= 0) return;
      at += static_cast<size_t>(n);
    }
  }

 private:
  std::array<char, 2048> buffer_;
  size_t size_ = 0;
};

void Tell(const Identity* who, loader::Entry entry, std::string_view what) {
  Line line;
  const bool json = g_json.load(std::memory_order_relaxed);
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (json) {
    line << "{\"level\":\"error\",\"ts\":" << static_cast<uint64_t>(now.tv_sec)
         << ",\"logger\":\"crash\",\"code\":\"EPP-LOAD-QUARANTINED\",\"msg\":\""
         << (who ? "crash in a plugin" : "crash outside of any plugin") << "\",\"what\":\"" << what
         << "\"";
    if (who) {
      line << ",\"library\":\"" << who->library.data() << "\",\"digest\":\"" << who->digest.data()
           << "\",\"type\":\"" << who->type.data() << "\",\"plugin\":\"" << who->instance.data()
           << "\",\"interface\":\"" << NameOf(entry) << "\"";
    }
    line << "}\n";
  } else {
    line << "epp: " << what;
    if (!who) {
      line << ", outside of any plugin";
    } else {
      line << " in library " << who->library.data() << " (sha256 " << who->digest.data() << ")";
      if (who->instance[0] != '\0') {
        line << ", plugin \"" << who->instance.data() << "\" (" << who->type.data() << ")";
      }
      line << ", interface " << NameOf(entry);
    }
    line << "\n";
  }
  line.WriteTo(STDERR_FILENO);
}

// DIGEST SECONDS WHAT LIBRARY TYPE INSTANCE INTERFACE OFFERS, between tabs.
void Quarantine(const Identity& who, loader::Entry entry, std::string_view what) {
  if (g_quarantine_file[0] == '\0' || who.digest[0] == '\0') return;
  const int fd =
      open(g_quarantine_file.data(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  Line line;
  line << who.digest.data() << "\t" << static_cast<uint64_t>(now.tv_sec) << "\t" << what << "\t"
       << who.library.data() << "\t" << who.type.data() << "\t" << who.instance.data() << "\t"
       << NameOf(entry) << "\t" << who.offers.data() << "\n";
  line.WriteTo(fd);
  fsync(fd);
  close(fd);
}

uint64_t ProgramCounter(const void* context) {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return static_cast<uint64_t>(machine.gregs[REG_RIP]);
#else
  return machine.pc;
#endif
}

void Handle(int signal, siginfo_t* info, void* context) {
  const pid_t self = static_cast<pid_t>(syscall(SYS_gettid));
  pid_t nobody = 0;
  if (!g_crashing.compare_exchange_strong(nobody, self)) {
    // Another thread crashes at this moment; it ends the process. A crash of ours in here does not
    // come back.
    while (nobody != self) pause();
    _exit(128 + signal);
  }
  const char* name = "crash";
  size_t index = 0;
  for (size_t i = 0; i < kHandled.size(); ++i) {
    if (kHandled[i].signal == signal) {
      name = kHandled[i].name;
      index = i;
    }
  }
  const Identity* who = g_blamed.load(std::memory_order_acquire);
  loader::Entry entry = g_blamed_entry.load(std::memory_order_relaxed);
  if (who != nullptr) {
    name = "a call that did not return";
  } else if (const loader::InFlightCell* cell = loader::CellOfThisThread()) {
    if (const loader::Guard* guard = cell->guard.load(std::memory_order_relaxed)) {
      who = &guard->identity();
      entry = cell->entry.load(std::memory_order_relaxed);
    }
  }
  if (who == nullptr) who = loader::OwnerOfCode(ProgramCounter(context));
  Tell(who, entry, name);
  if (who != nullptr) Quarantine(*who, entry, name);

  sigaction(signal, &g_former[index], nullptr);
  // A fault happens again when the instruction is run again, with the core file it deserves; a
  // signal that was sent does not.
  if (info->si_code <= 0) syscall(SYS_tgkill, getpid(), self, signal);
}

}  // namespace

void InstallCrashHandler(const CrashOptions& options) {
  g_json.store(options.json, std::memory_order_relaxed);
  g_quarantine_file.fill('\0');
  if (options.quarantine_file.size() < g_quarantine_file.size()) {
    std::copy(options.quarantine_file.begin(), options.quarantine_file.end(),
              g_quarantine_file.begin());
  }
  if (g_installed.exchange(true)) return;
  loader::ThisThread();  // for its signal stack
  for (size_t i = 0; i < kHandled.size(); ++i) {
    struct sigaction action {};
    action.sa_sigaction = &Handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(kHandled[i].signal, &action, &g_former[i]);
  }
}

void AbortFor(const loader::Sighting& stuck) {
  g_blamed_entry.store(stuck.entry, std::memory_order_relaxed);
  g_blamed.store(&stuck.guard->identity(), std::memory_order_release);
  std::abort();
}

}  // namespace epp::preflight
