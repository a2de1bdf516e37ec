// create leaves processes behind.
#include <unistd.h>

#include "tests/safety/plugins/flawed.h"

namespace {
struct Flaw : flawed::None {
  static void AtCreate(const epp::Context&) {
    for (int i = 0; i < 4; ++i) {
      if (fork() != 0) continue;
      for (;;) pause();
    }
  }
};
}  // namespace
EPP_FLAWED(Flaw)
