/* Reads an optional column that has no producer. */
#include "epp/abi.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err);
#define BROKEN_SCORE score
#include "base.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  const volatile int64_t* waiting = in->columns[0].values;
  (void)self;
  (void)call;
  (void)err;
  for (uint32_t i = 0; i < in->count; ++i) out[i] = waiting[i] > 0 ? 0.5 : 1;
  return EPP_OK;
}
