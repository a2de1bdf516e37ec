/* What the golden plugins share: errors, and the records of a library with one type.
 *
 * Written against ABI 1.0 and nothing younger. Never changed once 1.0 is released: these sources
 * stand for the libraries that are out there. */
#ifndef GOLDEN_H_
#define GOLDEN_H_

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "epp/abi.h"

static inline epp_status golden_fail(epp_error* err, epp_status code, const char* message) {
  err->code = code;
  snprintf(err->message, sizeof(err->message), "%s", message);
  return code;
}

static inline int golden_equal(epp_str text, const char* other) {
  return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

#define GOLDEN_COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

/* Needs: params[], consumes[], produces[], interfaces[], create, destroy, get_interface. */
#define GOLDEN_LIBRARY(name_, doc_)                                                             \
  static const epp_plugin_type golden_type = {                                                  \
      .struct_size = sizeof(epp_plugin_type),                                                   \
      .stability = EPP_STABILITY_STABLE,                                                        \
      .param_count = GOLDEN_COUNT(params),                                                      \
      .consumes_count = GOLDEN_COUNT(consumes) - 1,                                             \
      .produces_count = GOLDEN_COUNT(produces) - 1,                                             \
      .interface_count = GOLDEN_COUNT(interfaces),                                              \
      .name = name_,                                                                            \
      .doc = doc_,                                                                              \
      .interfaces = interfaces,                                                                 \
      .params = params,                                                                         \
      .consumes = consumes,                                                                     \
      .produces = produces,                                                                     \
      .create = create,                                                                         \
      .destroy = destroy,                                                                       \
      .get_interface = get_interface,                                                           \
  };                                                                                            \
  static const epp_plugin_type* const golden_types[] = {&golden_type};                          \
  static const epp_module golden_module = {                                                     \
      .struct_size = sizeof(epp_module),                                                        \
      .abi_major = EPP_ABI_MAJOR,                                                               \
      .abi_minor = EPP_ABI_TARGET_MINOR,                                                        \
      .abi_min_minor = EPP_ABI_MIN_MINOR,                                                       \
      .type_count = 1,                                                                          \
      .name = name_,                                                                            \
      .version = "1.0.0",                                                                       \
      .toolchain = __VERSION__,                                                                 \
      .types = golden_types,                                                                    \
  };                                                                                            \
  EPP_DEFINE_NOTE(0u);                                                                          \
  __attribute__((visibility("default"))) const epp_module* epp_plugin_entry_v1(uint32_t major,  \
                                                                               uint32_t minor); \
  const epp_module* epp_plugin_entry_v1(uint32_t major, uint32_t minor) {                       \
    (void)minor;                                                                                \
    return major == EPP_ABI_MAJOR ? &golden_module : NULL;                                      \
  }

#endif
