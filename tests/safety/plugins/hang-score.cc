// score never returns when somebody waits in a queue of two endpoints or more.
#include <unistd.h>

#include "tests/safety/plugins/flawed.h"

namespace {
struct Flaw : flawed::None {
  static epp::Status AtScore(const epp::Call&, const epp::Candidates& in) {
    while (in.size() == 65) pause();
    return {};
  }
};
}  // namespace
EPP_FLAWED(Flaw)
