// Says whose helper() its calls reach, and how often a static of an inline function was counted.
#include <string>

#include "tests/safety/plugins/flawed.h"

// The host of the test exports functions of these names.
extern "C" int epp_test_helper() { return 2; }

namespace shared {
inline int Counted() {
  static int count = 0;
  return ++count;
}
}  // namespace shared

namespace {
struct Flaw : flawed::None {
  static epp::Status AtScore(const epp::Call&, const epp::Candidates&) {
    return epp::Status(EPP_INTERNAL, "helper " + std::to_string(epp_test_helper()) + " count " +
                                         std::to_string(shared::Counted()));
  }
};
}  // namespace
EPP_FLAWED(Flaw)
