// create ends the process, as if all were well.
#include <cstdlib>

#include "tests/safety/plugins/flawed.h"

namespace {
struct Flaw : flawed::None {
  static void AtCreate(const epp::Context&) { std::_Exit(0); }
};
}  // namespace
EPP_FLAWED(Flaw)
