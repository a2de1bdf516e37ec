/* Reads a field of a later ABI without asking whether it is there. */
#include "epp/abi.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err);
#define BROKEN_SCORE score
#include "base.h"

struct later_call {
  epp_call now;
  uint64_t hint;
};

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  volatile uint64_t hint = ((const struct later_call*)(const void*)call)->hint;
  (void)hint;
  return base_score(self, call, in, out, err);
}
