// Fails with the worker's number in its message.
#include <string>

#include "tests/safety/plugins/flawed.h"

namespace {
struct Flaw : flawed::None {
  static epp::Status AtScore(const epp::Call& call, const epp::Candidates&) {
    return epp::Status(EPP_INTERNAL, "worker " + std::to_string(call.worker()) + " says no");
  }
};
}  // namespace
EPP_FLAWED(Flaw)
