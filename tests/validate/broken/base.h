/* A scorer in plain C that keeps the contract. Every source beside this one breaks one rule: it
 * defines the macro of the part that it replaces, then includes this file. */
#ifndef BROKEN_BASE_H_
#define BROKEN_BASE_H_

#include <stdlib.h>
#include <string.h>

#include "epp/abi.h"

#ifndef BROKEN_FLAGS
#define BROKEN_FLAGS 0u
#endif
#ifndef BROKEN_DOC
#define BROKEN_DOC "Prefers endpoints where few requests wait."
#endif
#ifndef BROKEN_CREATE
#define BROKEN_CREATE base_create
#endif
#ifndef BROKEN_DESTROY
#define BROKEN_DESTROY base_destroy
#endif
#ifndef BROKEN_GET_INTERFACE
#define BROKEN_GET_INTERFACE base_get_interface
#endif
#ifndef BROKEN_SCORE
#define BROKEN_SCORE base_score
#endif
#ifndef BROKEN_INTERFACE
#define BROKEN_INTERFACE EPP_SCORER_ID
#endif

EPP_DEFINE_NOTE(BROKEN_FLAGS);

struct base_instance {
  const epp_host* host;
  double scale;
};

__attribute__((unused)) static void* base_create(const epp_host* host, epp_str name,
                                                 const epp_value* values, epp_error* err) {
  struct base_instance* self = malloc(sizeof(*self));
  (void)name;
  (void)err;
  self->host = host;
  self->scale = values[0].present ? values[0].v.f64 : 1;
  return self;
}

__attribute__((unused)) static void base_destroy(void* self) { free(self); }

__attribute__((unused)) static double base_rate(const epp_candidates* in, uint32_t i) {
  const int64_t* waiting = in->columns[0].values;
  return waiting != NULL && waiting[i] > 0 ? 1.0 / (1.0 + (double)waiting[i]) : 1.0;
}

__attribute__((unused)) static epp_status base_score(void* self, const epp_call* call,
                                                     const epp_candidates* in, double* out,
                                                     epp_error* err) {
  (void)self;
  (void)call;
  (void)err;
  for (uint32_t i = 0; i < in->count; ++i) out[i] = base_rate(in, i);
  return EPP_OK;
}

__attribute__((unused)) static const epp_scorer base_scorer = {
    sizeof(epp_scorer), EPP_CATEGORY_DISTRIBUTION, BROKEN_SCORE};

__attribute__((unused)) static const void* base_get_interface(void* self, const char* id) {
  (void)self;
  return strcmp(id, EPP_SCORER_ID) == 0 ? &base_scorer : NULL;
}

static const epp_param_spec base_param = {.struct_size = sizeof(epp_param_spec),
                                          .type = EPP_P_F64,
                                          .name = "scale",
                                          .doc = "a number that does nothing",
                                          .default_value = {EPP_P_F64, 1, {.f64 = 1}},
                                          .min = 0.5,
                                          .max = 10};
static const epp_param_spec* const base_params[] = {&base_param};
static const epp_attr_spec base_waiting = {.struct_size = sizeof(epp_attr_spec),
                                           .type = EPP_T_I64,
                                           .scope = EPP_SCOPE_ENDPOINT,
                                           .flags = EPP_ATTR_OPTIONAL,
                                           .key = "WaitingQueueSize",
                                           .default_producer = "core-metrics-extractor"};
static const epp_attr_spec* const base_consumes[] = {&base_waiting};
static const char* const base_interfaces[] = {BROKEN_INTERFACE};

static const epp_plugin_type base_type = {.struct_size = sizeof(epp_plugin_type),
                                          .stability = EPP_STABILITY_BETA,
                                          .param_count = 1,
                                          .consumes_count = 1,
#ifdef BROKEN_PRODUCES
                                          .produces_count = 1,
                                          .produces = BROKEN_PRODUCES,
#endif
                                          .interface_count = 1,
                                          .name = BROKEN_NAME,
                                          .doc = BROKEN_DOC,
                                          .interfaces = base_interfaces,
                                          .params = base_params,
                                          .consumes = base_consumes,
                                          .create = BROKEN_CREATE,
                                          .destroy = BROKEN_DESTROY,
                                          .get_interface = BROKEN_GET_INTERFACE};
static const epp_plugin_type* const base_types[] = {&base_type};
static const epp_module base_module = {.struct_size = sizeof(epp_module),
                                       .flags = BROKEN_FLAGS,
                                       .abi_major = EPP_ABI_MAJOR,
                                       .abi_minor = EPP_ABI_TARGET_MINOR,
                                       .abi_min_minor = EPP_ABI_MIN_MINOR,
                                       .type_count = 1,
                                       .name = BROKEN_NAME,
                                       .version = "1.0.0",
                                       .toolchain = __VERSION__,
                                       .types = base_types};

__attribute__((visibility("default"))) const epp_module* epp_plugin_entry_v1(uint32_t host_major,
                                                                             uint32_t host_minor);
const epp_module* epp_plugin_entry_v1(uint32_t host_major, uint32_t host_minor) {
  (void)host_minor;
  return host_major == EPP_ABI_MAJOR ? &base_module : NULL;
}

#endif
