/* Crashes when it is destroyed. */
#include <signal.h>

#include "epp/abi.h"

static void destroy(void* self);
#define BROKEN_DESTROY destroy
#include "base.h"

static void destroy(void* self) {
  free(self);
  raise(SIGSEGV);
}
