/* A plugin in plain C: "c-queue-limit-filter" keeps endpoints whose waiting queue is short. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "epp/abi.h"

typedef struct limit_filter {
  const epp_host* host;
  int64_t max_waiting;
} limit_filter;

static const epp_param_spec max_waiting_param = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_I64,
    .name = "maxWaiting",
    .doc = "longest waiting queue that is kept, in requests",
    .default_value = {.type = EPP_P_I64, .present = 1, .v = {.i64 = 4}},
    .min = 0,
    .max = 1e6,
};
static const epp_param_spec* const params[] = {&max_waiting_param};

static const epp_attr_spec waiting_queue = {
    .struct_size = sizeof(epp_attr_spec),
    .type = EPP_T_I64,
    .scope = EPP_SCOPE_ENDPOINT,
    .key = "WaitingQueueSize",
    .default_producer = "core-metrics-extractor",
};
static const epp_attr_spec* const consumes[] = {&waiting_queue};

static const char* const interfaces[] = {EPP_FILTER_ID};

static epp_status fail(epp_error* err, epp_status code, const char* message) {
  err->code = code;
  snprintf(err->message, sizeof(err->message), "%s", message);
  return code;
}

static epp_status filter(void* self, const epp_call* call, const epp_candidates* in, uint64_t* keep,
                         epp_error* err) {
  const limit_filter* f = self;
  const int64_t* waiting = in->columns[0].values;
  uint32_t i;
  if (EPP_HAS(call, epp_call, deadline_ns) && call->deadline_ns != 0 &&
      call->deadline_ns < call->now_ns) {
    return fail(err, EPP_DEADLINE_EXCEEDED, "the request is late");
  }
  for (i = 0; i < in->count; ++i) {
    if (waiting[i] <= f->max_waiting) keep[i / 64] |= UINT64_C(1) << (i % 64);
  }
  return EPP_OK;
}

static const epp_filter filter_table = {sizeof(epp_filter), 0, filter};

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  limit_filter* f = malloc(sizeof(limit_filter));
  (void)name;
  if (f == NULL) {
    fail(err, EPP_RESOURCE_EXHAUSTED, "out of memory");
    return NULL;
  }
  f->host = host;
  f->max_waiting = values[0].v.i64;
  return f;
}

static void destroy(void* self) { free(self); }

static const void* get_interface(void* self, const char* id) {
  (void)self;
  return strcmp(id, EPP_FILTER_ID) == 0 ? &filter_table : NULL;
}

static const epp_plugin_type type = {
    .struct_size = sizeof(epp_plugin_type),
    .stability = EPP_STABILITY_STABLE,
    .param_count = 1,
    .consumes_count = 1,
    .interface_count = 1,
    .name = "c-queue-limit-filter",
    .doc = "Keeps endpoints whose waiting queue is not longer than maxWaiting.",
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
    .name = "example-c-filter",
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
