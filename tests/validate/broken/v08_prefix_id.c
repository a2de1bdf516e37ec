/* Compares the beginning of an interface's id only. */
#include "epp/abi.h"

static const void* get_interface(void* self, const char* id);
#define BROKEN_GET_INTERFACE get_interface
#include "base.h"

static const void* get_interface(void* self, const char* id) {
  (void)self;
  return strncmp(id, EPP_SCORER_ID, strlen(EPP_SCORER_ID)) == 0 ? &base_scorer : NULL;
}
