/* Takes whatever a newer host appended for the field that it would like to see. */
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
  const epp_status status = base_score(self, call, in, out, err);
  if (call->struct_size >= sizeof(struct later_call) && in->count > 0) {
    out[0] = (double)(((const struct later_call*)(const void*)call)->hint % 2) / 2;
  }
  return status;
}
