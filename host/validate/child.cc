#include "host/validate/child.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "host/base/str_cat.h"
#include "host/base/unique_fd.h"
#include "host/base/utf8.h"
#include "host/validate/memory.h"

namespace epp::validate {
namespace {

using Clock = std::chrono::steady_clock;

Board* handler_board = nullptr;
std::array<struct sigaction, 65> former;

bool WasWrite(const void* context) {
#if defined(__x86_64__)
  constexpr greg_t kWrite = 2;
  return (static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & kWrite) != 0;
#else
  (void)context;
  return false;
#endif
}

// Says what the address means, then lets the fault take its course.
void OnFault(int signal, siginfo_t* info, void* context) {
  if (handler_board->fault[0] == '\0') {
    ExplainFault(info->si_addr, WasWrite(context), handler_board->fault,
                 sizeof(handler_board->fault));
  }
  sigaction(signal, &former[static_cast<size_t>(signal)], nullptr);
  if (info->si_code <= 0) raise(signal);  // sent, not caused: it would not come again by itself
}

void CatchFaults(Board* board) {
  handler_board = board;
  static std::array<char, 64 << 10> stack;
  stack_t alternate{};
  alternate.ss_sp = stack.data();
  alternate.ss_size = stack.size();
  sigaltstack(&alternate, nullptr);
  struct sigaction action {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int signal : {SIGSEGV, SIGBUS}) {
    sigaction(signal, &action, &former[static_cast<size_t>(signal)]);
  }
}

[[noreturn]] void Child(int number, Board* board, int output,
                        const std::function<void(Findings&)>& body) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setpgid(0, 0);
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  CatchFaults(board);
  Doing::RecordThisThread();
  {
    Findings findings(number, board);
    body(findings);
  }
  board->done = 1;
  _exit(0);
}

// The line that says most about why the process ended.
std::string LastWords(int output) {
  std::string text(16 << 10, '\0');
  const ssize_t n = pread(output, text.data(), text.size(), 0);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  std::string last;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    for (const std::string_view telling : {"ERROR:", "terminate called", "what():", "runtime error",
                                           "WARNING: ThreadSanitizer", "corrupt", "abort"}) {
      if (line.find(telling) != std::string_view::npos) {
        return utf8::Sanitise(line.substr(0, 300));
      }
    }
    if (!line.empty()) last = line.substr(0, 300);
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
  }
  return utf8::Sanitise(last);
}

std::string SignalName(int signal) {
  const char* const name = sigabbrev_np(signal);
  return name != nullptr ? StrCat("SIG", name) : StrCat("signal ", signal);
}

void ReadBoard(const Board& board, Outcome& out) {
  bool tested = false;
  std::string_view rest(board.text, std::min<size_t>(board.size, sizeof(board.text)));
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.empty()) continue;
    const std::string text(line.substr(1));
    if (line[0] == 'F') out.failures.push_back(text);
    if (line[0] == 'S' || line[0] == 'R') out.skips.push_back(text);
    if (line[0] == 'N') out.notes.push_back(text);
    out.refused |= line[0] == 'R';
    tested |= line[0] == 'T';
  }
  out.score_p99_ns = board.score_p99_ns;
  if (!out.failures.empty()) {
    out.result = Result::kFail;
  } else if (!tested && board.done != 0) {
    out.result = Result::kSkip;
    if (out.skips.empty()) out.skips.emplace_back("nothing in this library to test");
  }
}

struct SharedBoard {
  SharedBoard()
      : board(static_cast<Board*>(mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    if (board == MAP_FAILED) std::abort();
  }
  ~SharedBoard() { munmap(board, sizeof(Board)); }
  SharedBoard(const SharedBoard&) = delete;
  SharedBoard& operator=(const SharedBoard&) = delete;
  Board* const board;
};

}  // namespace

Outcome RunInChild(int number, const std::function<void(Findings&)>& body, absl::Duration limit) {
  const SharedBoard shared;
  Board& board = *shared.board;
  const UniqueFd output(memfd_create("output", MFD_CLOEXEC));
  const Clock::time_point start = Clock::now();
  Outcome out;
  const pid_t pid = fork();
  if (pid < 0) {
    out.result = Result::kFail;
    out.failures.emplace_back("no process to run in");
    return out;
  }
  if (pid == 0) Child(number, &board, output.get(), body);

  const UniqueFd handle(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  pollfd waiting{handle.get(), POLLIN, 0};
  const bool ended = poll(&waiting, 1, static_cast<int>(absl::ToInt64Milliseconds(limit))) > 0;
  kill(-pid, SIGKILL);  // and whatever it left running
  if (!ended) kill(pid, SIGKILL);
  int status = 0;
  waitpid(pid, &status, 0);
  out.seconds = std::chrono::duration<double>(Clock::now() - start).count();

  ReadBoard(board, out);
  board.doing[sizeof(board.doing) - 1] = board.fault[sizeof(board.fault) - 1] = '\0';
  const std::string where = board.doing[0] != '\0' ? StrCat(" in ", board.doing) : "";
  if (!ended) {
    out.result = Result::kTimeout;
    out.crash = StrCat("no end after ", absl::ToDoubleSeconds(limit), " s", where);
  } else if (board.fault[0] != '\0') {
    out.result = Result::kFail;
    out.failures.push_back(StrCat(board.doing, board.doing[0] ? ": " : "", board.fault));
  } else if (board.done == 0) {
    out.result = Result::kCrash;
    out.crash = WIFSIGNALED(status)
                    ? StrCat(SignalName(WTERMSIG(status)), where)
                    : StrCat("the process ended with code ", WEXITSTATUS(status), where);
    out.output = LastWords(output.get());
  }
  return out;
}

Outcome RunHere(int number, const std::function<void(Findings&)>& body) {
  const SharedBoard shared;
  const Clock::time_point start = Clock::now();
  Doing::RecordThisThread();
  {
    Findings findings(number, shared.board);
    body(findings);
  }
  shared.board->done = 1;
  Outcome out;
  out.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  ReadBoard(*shared.board, out);
  return out;
}

}  // namespace epp::validate
