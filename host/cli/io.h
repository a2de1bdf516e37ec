// Where a command reads and writes, and how it ends.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

namespace epp::cli {

// What `epp` exits with.
enum ExitCode : int {
  kDone = 0,
  kNo = 1,           // the answer is no: invalid, not found, degraded
  kUsage = 2,        // unknown flag or command, unreadable argument
  kUnreachable = 3,  // no running epp could be reached
  kRefused = 4,      // the running epp refused
  kTimedOut = 5,
  kBug = 70,
  kConfig = 78,  // serve: configuration or settings invalid at start
};

// Answers go to `out`, everything else to `err`. Streams are borrowed.
struct Io {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool out_tty = false;
  bool err_tty = false;
  bool out_colour = false;
  bool err_colour = false;
};

// The process's own streams.
Io ProcessIo();

// Applies --color: "auto", "always" or "never". In auto, colour needs a terminal, a TERM other than
// "dumb", and an unset or empty NO_COLOR. False for another word.
bool ApplyColour(std::string_view when, Io& io);

// `text` in bold, when `colour`.
std::string Bold(std::string_view text, bool colour);

}  // namespace epp::cli
