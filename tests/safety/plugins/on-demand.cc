// Goes wrong when a request asks for it with the header "flaw", so that it comes through any trial.
#include <time.h>
#include <unistd.h>

#include <string_view>

#include "tests/safety/plugins/flawed.h"

namespace {
volatile int* volatile nowhere = nullptr;
struct Flaw : flawed::None {
  static epp::Status AtScore(const epp::Call& call, const epp::Candidates&) {
    const std::string_view flaw = call.header("flaw").value_or("");
    if (flaw == "crash") *nowhere = 1;
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
