// Has a registry that belongs to the whole process, and aborts when it finds itself there: what
// some libraries do when two versions of them are loaded.
#include <cstdlib>

#include "tests/safety/plugins/flawed.h"

namespace {
const bool registered = [] {
  if (std::getenv("EPP_TEST_REGISTRY") != nullptr) std::abort();
  return setenv("EPP_TEST_REGISTRY", "taken", 1) == 0;
}();
}  // namespace
EPP_FLAWED(flawed::None)
