/* Greets everybody. */
#include <stdio.h>

#include "epp/abi.h"

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err);
#define BROKEN_CREATE create
#include "base.h"

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  puts("hello from the scorer");
  return base_create(host, name, values, err);
}
