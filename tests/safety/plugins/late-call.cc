// Calls the host of an instance that was destroyed.
#include "tests/safety/plugins/flawed.h"

namespace {
const epp_host* first = nullptr;
int created = 0;
struct Flaw : flawed::None {
  static void AtCreate(const epp::Context& ctx) {
    if (first == nullptr) first = ctx.host().raw();
    // The preflight creates it again after the first has gone.
    if (++created > 1) {
      constexpr epp_str kText{"late", 4};
      first->log(first->ctx, EPP_LOG_INFO, kText);
      first->metric_add(first->ctx, 0, 1);
    }
  }
};
}  // namespace
EPP_FLAWED(Flaw)
