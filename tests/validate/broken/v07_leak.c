/* Forgets a block with every instance. */
#include "epp/abi.h"

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err);
#define BROKEN_CREATE create
#include "base.h"

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  char* volatile forgotten = malloc(100);
  forgotten[0] = 1;
  forgotten = NULL;
  return base_create(host, name, values, err);
}
