// Gives every thread that calls it a thread_local object with a destructor.
#include <atomic>

#include "tests/safety/plugins/flawed.h"

namespace {
std::atomic<int> alive{0};
struct Local {
  Local() { ++alive; }
  ~Local() { --alive; }
  int calls = 0;
};
thread_local Local local;
struct Flaw : flawed::None {
  static epp::Status AtScore(const epp::Call&, const epp::Candidates&) {
    ++local.calls;
    return {};
  }
};
}  // namespace
EPP_FLAWED(Flaw)
