// Crashes before anybody called it.
#include "tests/safety/plugins/flawed.h"

namespace {
volatile int* volatile nowhere = nullptr;
const int crashed = *nowhere;
}  // namespace
EPP_FLAWED(flawed::None)
