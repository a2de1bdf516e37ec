/* Produces a truth value of 7. */
#include "epp/abi.h"

static const void* get_interface(void* self, const char* id);
static const epp_attr_spec produced = {.struct_size = sizeof(epp_attr_spec),
                                       .type = EPP_T_BOOL,
                                       .scope = EPP_SCOPE_ENDPOINT,
                                       .key = "Warm"};
static const epp_attr_spec* const produces[] = {&produced};
#define BROKEN_GET_INTERFACE get_interface
#define BROKEN_INTERFACE EPP_PRODUCER_ID
#define BROKEN_PRODUCES produces
#include "base.h"

static epp_status produce(void* self, const epp_call* call, const epp_candidates* in,
                          const epp_outputs* out, epp_error* err) {
  uint8_t* warm = out->columns[0].values;
  (void)self;
  (void)call;
  (void)err;
  for (uint32_t i = 0; i < in->count; ++i) warm[i] = 7;
  return EPP_OK;
}

static const epp_producer producer = {.struct_size = sizeof(epp_producer), .produce = produce};

static const void* get_interface(void* self, const char* id) {
  (void)self;
  return strcmp(id, EPP_PRODUCER_ID) == 0 ? &producer : NULL;
}
