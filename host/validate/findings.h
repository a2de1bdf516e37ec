// What one case found out, and which function of the plugin runs. Both are written to memory that
// the parent process shares, so that they outlive a crash.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>

#include "epp/abi.h"

namespace epp::validate {

// The memory that parent and child share. Zeroed at first.
struct Board {
  char doing[192];  // the function that runs, as "score of my-scorer"; empty when none does
  char fault[256];  // what the address of a fault means, when that is known
  uint32_t done;    // the case ended by itself
  uint32_t size;    // of text
  double score_p99_ns;
  char text[60 << 10];  // one finding a line
};

// Threads: any. Findings that are equal are kept once, at most kMax in all.
class Findings {
 public:
  // `number` is the case's: a breach that is another case's to report is dropped.
  Findings(int number, Board* board) : number_(number), board_(board) {}
  Findings(const Findings&) = delete;
  Findings& operator=(const Findings&) = delete;

  // A breach that case `number` reports. Of several with one key, the first is kept.
  void Breach(int number, std::string_view text, std::string_view key = {});
  void Fail(std::string_view text) { Breach(number_, text); }
  // A breach that every case reports: an exception that left a function, say.
  void FailAnywhere(std::string_view text) { Fail(text); }
  // Why something could not be tested. `refused`: a type could not be created, which --strict
  // counts as a failure.
  void Skip(std::string_view why, bool refused = false);
  // Something was tested.
  void Tested();
  void Note(std::string_view text);
  void ScoreTime(double p99_ns) { board_->score_p99_ns = p99_ns; }

  int number() const { return number_; }
  Board& board() { return *board_; }

  static constexpr size_t kMax = 24;

 private:
  void Line(char kind, std::string_view text, std::string_view key = {});

  const int number_;
  Board* const board_;
  std::mutex mutex_;
  std::set<std::string> seen_;
};

// Names the function that the plugin is about to run, until the end of the scope. Only the thread
// that runs the case is recorded.
class Doing {
 public:
  Doing(Findings& findings, std::string_view function, std::string_view of);
  ~Doing();
  Doing(const Doing&) = delete;
  Doing& operator=(const Doing&) = delete;

  // The calling thread is the one that runs the case.
  static void RecordThisThread();

 private:
  Board* board_;
};

// Reported by Invoke for the exception that is being handled.
void ReportException(Findings& findings, std::string_view function, std::string_view of);

// Calls a function of the plugin. Not through its noexcept type: an exception of a careless library
// is a finding, not the end of the process. It returns R{} then, a status EPP_INTERNAL.
template <class R, class... P, class... A>
R Invoke(Findings& findings, std::string_view function, std::string_view of, R (*f)(P...) noexcept,
         A... args) {
  using Throwing = R (*)(P...);
  const auto throwing = reinterpret_cast<Throwing>(f);
  const Doing doing(findings, function, of);
  try {
    return throwing(args...);
  } catch (...) {
    ReportException(findings, function, of);
  }
  if constexpr (std::is_same_v<R, epp_status>) {
    return EPP_INTERNAL;
  } else {
    return R();
  }
}

}  // namespace epp::validate
