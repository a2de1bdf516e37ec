/* Scores by how often it was asked before, by whichever instance. */
#include "epp/abi.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err);
#define BROKEN_SCORE score
#include "base.h"

static unsigned asked;

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  const double rate = (double)(__atomic_fetch_add(&asked, 1, __ATOMIC_RELAXED) % 97) / 97;
  (void)self;
  (void)call;
  (void)err;
  for (uint32_t i = 0; i < in->count; ++i) out[i] = rate;
  return EPP_OK;
}
