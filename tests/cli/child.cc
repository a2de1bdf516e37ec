#include "tests/cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace epp::testing {
namespace {

using Clock = std::chrono::steady_clock;

int Left(Clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
  return left.count() > 0 ? static_cast<int>(left.count()) : 0;
}

pid_t Spawn(const std::vector<std::string>& command, int in, int out, int err) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  // A test that crashes leaves nothing behind.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  unsetenv("EPP_ADMIN");
  unsetenv("XDG_RUNTIME_DIR");
  unsetenv("NOTIFY_SOCKET");
  dup2(in, 0);
  dup2(out, 1);
  dup2(err, 2);
  execv(argv[0], argv.data());
  _exit(127);
}

int ExitCode(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status); }

}  // namespace

Child::Child(const std::vector<std::string>& command) {
  int pipe_fds[2] = {-1, -1};
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return;
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  pid_ = Spawn(command, null, pipe_fds[1], pipe_fds[1]);
  close(null);
  close(pipe_fds[1]);
  out_ = pipe_fds[0];
}

Child::~Child() {
  if (!reaped_ && pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  close(out_);
}

bool Child::ReadSome(Clock::time_point until) {
  pollfd ready{out_, POLLIN, 0};
  if (poll(&ready, 1, Left(until)) <= 0) return false;
  char buffer[4096];
  const ssize_t n = read(out_, buffer, sizeof(buffer));
  if (n <= 0) return false;
  output_.append(buffer, static_cast<size_t>(n));
  return true;
}

std::string Child::WaitForLine(const std::string& text) {
  const Clock::time_point until = Clock::now() + kDeadline;
  for (;;) {
    const size_t at = output_.find(text);
    const size_t end = at == std::string::npos ? at : output_.find('\n', at);
    if (end != std::string::npos) {
      const size_t begin = output_.rfind('\n', at);
      const size_t first = begin == std::string::npos ? 0 : begin + 1;
      return output_.substr(first, end - first);
    }
    if (!ReadSome(until)) return "";
  }
}

void Child::Signal(int signal) const { kill(pid_, signal); }

int Child::Wait() {
  const Clock::time_point until = Clock::now() + kDeadline;
  while (ReadSome(until)) {
  }
  if (reaped_) return exit_;
  if (Left(until) == 0) kill(pid_, SIGKILL);
  int status = 0;
  waitpid(pid_, &status, 0);
  reaped_ = true;
  return exit_ = ExitCode(status);
}

Result RunToEnd(const std::vector<std::string>& command, const std::string& input) {
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
    return {-1, "", "no pipes"};
  }
  const pid_t pid = Spawn(command, in[0], out[1], err[1]);
  for (const int fd : {in[0], out[1], err[1]}) close(fd);
  // Inputs here are far smaller than a pipe.
  [[maybe_unused]] const ssize_t written = write(in[1], input.data(), input.size());
  close(in[1]);
  Result result;
  const Clock::time_point until = Clock::now() + kDeadline;
  pollfd fds[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
  std::string* texts[2] = {&result.out, &result.err};
  for (int open_fds = 2; open_fds > 0;) {
    if (poll(fds, 2, Left(until)) <= 0) {
      kill(pid, SIGKILL);
      break;
    }
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t n = read(fds[i].fd, buffer, sizeof(buffer));
      if (n > 0) {
        texts[i]->append(buffer, static_cast<size_t>(n));
      } else {
        fds[i].fd = -1;
        --open_fds;
      }
    }
  }
  close(out[0]);
  close(err[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  result.exit_code = ExitCode(status);
  return result;
}

}  // namespace epp::testing
