/* Registers a metric when it first scores. */
#include "epp/abi.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err);
#define BROKEN_SCORE score
#include "base.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  const epp_host* host = ((struct base_instance*)self)->host;
  const epp_str metric = {"calls_total", 11}, help = {"Calls.", 6};
  host->metric_register(host->ctx, EPP_METRIC_COUNTER, metric, help, NULL, 0, NULL, 0, err);
  return base_score(self, call, in, out, err);
}
