// Goes wrong when a request asks for it with the header "flaw", so that it comes through any trial.
#include <time.h>
#include <unistd.h>

#include <string_view>

#include "tests/safety/plugins/flawed.h"

namespace {
volatile int* volatile nowhere = nullptr;

// Never ends while the depth is not negative, which it is not.
[[gnu::noinline]] int Deeper(volatile int* depth) {
  volatile char frame[4096];
  frame[0] = 1;
  return *depth < 0 ? frame[0] : Deeper(depth) + frame[0];
}

struct Flaw : flawed::None {
  static epp::Status AtScore(const epp::Call& call, const epp::Candidates&) {
    const std::string_view flaw = call.header("flaw").value_or("");
    if (flaw == "crash") *nowhere = 1;
    if (flaw == "overflow") {
      volatile int depth = 0;
      Deeper(&depth);
    }
    if (flaw == "slow") {
      const timespec ten_ms{0, 10'000'000};
      nanosleep(&ten_ms, nullptr);
    }
    while (flaw == "hang") pause();
    return {};
  }
};
}  // namespace
EPP_FLAWED(Flaw)
