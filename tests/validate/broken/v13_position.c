/* Prefers whoever comes first. */
#include "epp/abi.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err);
#define BROKEN_SCORE score
#include "base.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  (void)self;
  (void)call;
  (void)err;
  for (uint32_t i = 0; i < in->count; ++i) out[i] = 1.0 / (1.0 + (double)i);
  return EPP_OK;
}
