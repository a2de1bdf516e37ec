/* Cannot live without its metric. */
#include "epp/abi.h"

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err);
#define BROKEN_CREATE create
#include "base.h"

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  const epp_str metric = {"calls_total", 11}, help = {"Calls.", 6};
  if (host->metric_register(host->ctx, EPP_METRIC_COUNTER, metric, help, NULL, 0, NULL, 0, err) ==
      0) {
    abort();
  }
  return base_create(host, name, values, err);
}
