/* @NAME@: picks the endpoint with the highest total, the first of equals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "epp/abi.h"

typedef struct plugin {
  uint32_t max_picks;
} plugin;

static const epp_param_spec max_picks = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_I64,
    .name = "maxPicks",
    .doc = "endpoints named, best first",
    .default_value = {.type = EPP_P_I64, .present = 1, .v = {.i64 = 1}},
    .min = 1,
    .max = 1000,
};
static const epp_param_spec* const params[] = {&max_picks};

/* Positions, best first. picks has room for in->count, which is at least 1. */
static epp_status pick(void* self, const epp_call* call, const epp_candidates* in,
                       const double* totals, uint32_t* picks, uint32_t* pick_count,
                       epp_error* err) {
  const plugin* p = self;
  uint32_t i, n = 0;
  (void)call;
  (void)err;
  /* Insertion into the list of the best so far. */
  for (i = 0; i < in->count; ++i) {
    uint32_t at = n;
    while (at > 0 && totals[picks[at - 1]] < totals[i]) --at;
    if (at >= p->max_picks) continue;
    if (n < p->max_picks) ++n;
    memmove(picks + at + 1, picks + at, (n - 1 - at) * sizeof(picks[0]));
    picks[at] = i;
  }
  *pick_count = n;
  return EPP_OK;
}

static const epp_picker picker_table = {sizeof(epp_picker), 0, pick};

/* Returns the instance, or NULL with err filled. The host has checked the parameters. */
static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  plugin* p = malloc(sizeof(plugin));
  (void)host;
  (void)name;
  if (p == NULL) {
    err->code = EPP_RESOURCE_EXHAUSTED;
    snprintf(err->message, sizeof(err->message), "out of memory");
    return NULL;
  }
  p->max_picks = (uint32_t)values[0].v.i64;
  return p;
}

static void destroy(void* self) { free(self); }

static const void* get_interface(void* self, const char* id) {
  (void)self;
  return strcmp(id, EPP_PICKER_ID) == 0 ? &picker_table : NULL;
}

static const char* const interfaces[] = {EPP_PICKER_ID};
static const epp_plugin_type type = {
    .struct_size = sizeof(epp_plugin_type),
    .stability = EPP_STABILITY_BETA,
    .param_count = 1,
    .interface_count = 1,
    .name = "@NAME@",
    .doc = "@DOC@",
    .interfaces = interfaces,
    .params = params,
    .create = create,
    .destroy = destroy,
    .get_interface = get_interface,
};
static const epp_plugin_type* const types[] = {&type};

static const epp_module module = {
    .struct_size = sizeof(epp_module),
    .abi_major = EPP_ABI_MAJOR,
    .abi_minor = EPP_ABI_TARGET_MINOR,
    .abi_min_minor = EPP_ABI_MIN_MINOR,
    .type_count = 1,
    .name = "@NAME@",
    .version = "0.1.0",
    .toolchain = __VERSION__,
    .types = types,
};

EPP_DEFINE_NOTE(0u);

__attribute__((visibility("default"))) const epp_module* epp_plugin_entry_v1(uint32_t host_major,
                                                                             uint32_t host_minor);
const epp_module* epp_plugin_entry_v1(uint32_t host_major, uint32_t host_minor) {
  (void)host_minor;
  return host_major == EPP_ABI_MAJOR ? &module : NULL;
}
