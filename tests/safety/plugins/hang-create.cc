// create never returns.
#include <unistd.h>

#include "tests/safety/plugins/flawed.h"

namespace {
struct Flaw : flawed::None {
  static void AtCreate(const epp::Context&) {
    for (;;) pause();
  }
};
}  // namespace
EPP_FLAWED(Flaw)
