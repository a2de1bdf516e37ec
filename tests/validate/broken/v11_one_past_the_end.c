/* Counts to n, not to n - 1, when there is more than one word of candidates. */
#include "epp/abi.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err);
#define BROKEN_SCORE score
#include "base.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  if (in->count == 65) *(volatile double*)(out + in->count) = 0;
  return base_score(self, call, in, out, err);
}
