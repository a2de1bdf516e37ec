// create aborts.
#include <cstdlib>

#include "tests/safety/plugins/flawed.h"

namespace {
struct Flaw : flawed::None {
  static void AtCreate(const epp::Context&) { std::abort(); }
};
}  // namespace
EPP_FLAWED(Flaw)
