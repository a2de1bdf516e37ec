// Programs as child processes, with their output on pipes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace epp::testing {

inline constexpr std::chrono::seconds kDeadline{60};

// A running program; killed and reaped at the end of its scope. stdout and stderr are one stream.
class Child {
 public:
  explicit Child(const std::vector<std::string>& command);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The first line, old or new, that contains `text`; empty when the program ends or the deadline
  // passes before.
  std::string WaitForLine(const std::string& text);
  void Signal(int signal) const;
  // The exit code, or minus the signal that ended it; kills it at the deadline.
  int Wait();
  pid_t pid() const { return pid_; }
  const std::string& output() const { return output_; }

 private:
  bool ReadSome(std::chrono::steady_clock::time_point until);

  pid_t pid_ = -1;
  int out_ = -1;
  int exit_ = 0;
  bool reaped_ = false;
  std::string output_;
};

struct Result {
  int exit_code = 0;
  std::string out;
  std::string err;
};

// Runs to the end. The environment is ours without EPP_ADMIN and XDG_RUNTIME_DIR.
Result RunToEnd(const std::vector<std::string>& command, const std::string& input = "");

}  // namespace epp::testing
