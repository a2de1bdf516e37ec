/* The scorer of the toolchain matrix in C; see scorer.cc. It cannot throw, so "fail" is not read.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "epp/abi.h"

static const epp_param_spec scale_param = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_F64,
    .name = "scale",
    .doc = "divides",
    .default_value = {.type = EPP_P_F64, .present = 1, .v = {.f64 = 3}},
    .min = 0.5,
    .max = 100,
};
static const epp_param_spec fail_param = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_STR,
    .name = "fail",
    .doc = "not read",
    .default_value = {.type = EPP_P_STR, .present = 1, .v = {.str = {"", 0}}},
};
static const epp_param_spec* const params[] = {&scale_param, &fail_param};
static const epp_attr_spec waiting = {
    .struct_size = sizeof(epp_attr_spec),
    .type = EPP_T_I64,
    .scope = EPP_SCOPE_ENDPOINT,
    .key = "WaitingQueueSize",
    .default_producer = "core-metrics-extractor",
};
static const epp_attr_spec usage = {
    .struct_size = sizeof(epp_attr_spec),
    .type = EPP_T_F64,
    .scope = EPP_SCOPE_ENDPOINT,
    .key = "KVCacheUsagePercent",
    .default_producer = "core-metrics-extractor",
};
static const epp_attr_spec* const consumes[] = {&waiting, &usage};

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  const double scale = *(const double*)self;
  const int64_t* queues = in->columns[0].values;
  const double* used = in->columns[1].values;
  (void)call;
  (void)err;
  for (uint32_t i = 0; i < in->count; ++i) {
    const double queue = queues[i] > 0 ? (double)queues[i] : 0;
    out[i] = sqrt(1 - used[i]) / (1 + queue / scale);
  }
  return EPP_OK;
}
static const epp_scorer table = {sizeof(epp_scorer), EPP_CATEGORY_DISTRIBUTION, score};

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  double* self = malloc(sizeof(double));
  (void)host;
  (void)name;
  if (self == NULL) {
    err->code = EPP_RESOURCE_EXHAUSTED;
    return NULL;
  }
  *self = values[0].v.f64;
  return self;
}
static void destroy(void* self) { free(self); }
static const void* get_interface(void* self, const char* id) {
  (void)self;
  return strcmp(id, EPP_SCORER_ID) == 0 ? &table : NULL;
}

static const char* const interfaces[] = {EPP_SCORER_ID};
static const epp_plugin_type type = {
    .struct_size = sizeof(epp_plugin_type),
    .stability = EPP_STABILITY_BETA,
    .param_count = 2,
    .consumes_count = 2,
    .interface_count = 1,
    .name = NAME,
    .doc = "Scores what no toolchain may compute differently.",
    .interfaces = interfaces,
    .params = params,
    .consumes = consumes,
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
    .name = NAME,
    .version = "1.0.0",
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
