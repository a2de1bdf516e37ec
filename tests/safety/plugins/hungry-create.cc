// create wants 10 GB and writes to all of it.
#include <cstring>
#include <memory>

#include "tests/safety/plugins/flawed.h"

namespace {
struct Flaw : flawed::None {
  static void AtCreate(const epp::Context&) {
    constexpr size_t kBytes = size_t{10} << 30;
    const std::unique_ptr<char[]> memory(new char[kBytes]);
    std::memset(memory.get(), 1, kBytes);
  }
};
}  // namespace
EPP_FLAWED(Flaw)
