/* Refuses the largest value that it declares, and does not say why. */
#include "epp/abi.h"

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err);
#define BROKEN_CREATE create
#include "base.h"

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  if (values[0].present && values[0].v.f64 == 10) {
    err->code = EPP_INVALID_ARGUMENT;
    return NULL;
  }
  return base_create(host, name, values, err);
}
