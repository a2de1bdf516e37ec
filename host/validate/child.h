// One case in a process of its own, so that a crash or an endless loop is a result like another.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "host/validate/findings.h"

namespace epp::validate {

enum class Result : uint8_t { kPass, kFail, kCrash, kTimeout, kSkip };

struct Outcome {
  Result result = Result::kPass;
  std::vector<std::string> failures;
  std::vector<std::string> skips;
  std::vector<std::string> notes;
  bool refused = false;  // a type could not be created
  std::string crash;     // "SIGSEGV in destroy of my-scorer"
  std::string output;    // what the crashed process said last
  double seconds = 0;
  double score_p99_ns = 0;  // 0: not measured
};

// Runs `body` in a child, for at most `limit`. The caller must have one thread only, and must not
// have loaded the library.
Outcome RunInChild(int number, const std::function<void(Findings&)>& body, absl::Duration limit);

// Runs `body` here: a crash is the end of this process, which is what a debugger wants.
Outcome RunHere(int number, const std::function<void(Findings&)>& body);

}  // namespace epp::validate
