/* Takes half a millisecond to score. */
#include <time.h>

#include "epp/abi.h"

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err);
#define BROKEN_SCORE score
#include "base.h"

static int64_t now_ns(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  const int64_t start = now_ns();
  while (now_ns() - start < 500000) {
  }
  return base_score(self, call, in, out, err);
}
