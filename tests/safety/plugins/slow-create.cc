// create takes a second, every time.
#include <unistd.h>

#include "tests/safety/plugins/flawed.h"

namespace {
struct Flaw : flawed::None {
  static void AtCreate(const epp::Context&) { sleep(1); }
};
}  // namespace
EPP_FLAWED(Flaw)
