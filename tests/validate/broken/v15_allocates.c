/* Allocates for every candidate. */
#include "epp/abi.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err);
#define BROKEN_SCORE score
#include "base.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  for (uint32_t i = 0; i < in->count; ++i) {
    char* volatile block = malloc(16);
    free(block);
  }
  return base_score(self, call, in, out, err);
}
