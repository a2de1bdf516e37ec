/* A library written by hand against abi.h. The macros break one thing each. */
#include <string.h>

#include "epp/abi.h"

#ifndef TEST_NAME_IS
#define TEST_NAME_IS TEST_NAME
#endif
#ifndef TEST_VERSION
#define TEST_VERSION 1
#endif
#ifndef TEST_NOTE_MAJOR
#define TEST_NOTE_MAJOR EPP_ABI_MAJOR
#endif
#ifndef TEST_NOTE_MINOR
#define TEST_NOTE_MINOR EPP_ABI_MINOR
#endif
#ifndef TEST_NOTE_MIN_MINOR
#define TEST_NOTE_MIN_MINOR EPP_ABI_MIN_MINOR
#endif
#ifndef TEST_NOTE_FLAGS
#define TEST_NOTE_FLAGS 0u
#endif
#ifndef TEST_RECORD_SIZE
#define TEST_RECORD_SIZE sizeof(epp_module)
#endif
#ifndef TEST_TYPE_NAME
#define TEST_TYPE_NAME TEST_NAME_IS
#endif
#ifndef TEST_TYPE_COUNT
#define TEST_TYPE_COUNT 1
#endif
#ifndef TEST_CREATE
#define TEST_CREATE create
#endif
#define TEST_WILD ((const char*)0x10)

#ifndef TEST_NO_NOTE
__attribute__((section(".note.epp"), used, aligned(4))) static const epp_abi_note note = {
    4u,
    16u,
    1u,
    {'E', 'P', 'P', 0},
    TEST_NOTE_MAJOR,
    TEST_NOTE_MINOR,
    TEST_NOTE_MIN_MINOR,
    TEST_NOTE_FLAGS};
#endif

#ifdef TEST_TLS_BYTES
static __thread volatile char tls[TEST_TLS_BYTES];
#endif
#ifdef TEST_UNDEFINED
int nobody_defines_this(void);
#endif
#ifdef TEST_USES_PROTOBUF
int protobuf_stub(void);
#endif
#ifdef TEST_SECOND_SYMBOL
__attribute__((visibility("default"))) int second_symbol(void);
int second_symbol(void) { return 2; }
#endif

struct instance {
  const epp_host* host;
  int version;
};
static struct instance the_instance;

__attribute__((unused)) static void* create(const epp_host* host, epp_str name,
                                            const epp_value* values, epp_error* err) {
  (void)name;
  (void)values;
  (void)err;
  the_instance.host = host;
  the_instance.version = TEST_VERSION;
#ifdef TEST_TLS_BYTES
  tls[0] = 1;
#endif
#ifdef TEST_UNDEFINED
  the_instance.version = nobody_defines_this();
#endif
#ifdef TEST_USES_PROTOBUF
  the_instance.version = protobuf_stub();
#endif
  return &the_instance;
}

__attribute__((unused)) static void* create_fails(const epp_host* host, epp_str name,
                                                  const epp_value* values, epp_error* err) {
  (void)host;
  (void)name;
  (void)values;
  err->code = EPP_INVALID_ARGUMENT;
  strcpy(err->message, "value is 7, want less");
  return 0;
}

__attribute__((unused)) static void* create_silent(const epp_host* host, epp_str name,
                                                   const epp_value* values, epp_error* err) {
  (void)host;
  (void)name;
  (void)values;
  (void)err;
  return 0;
}

/* An unknown code, and a message that is neither terminated nor UTF-8. */
__attribute__((unused)) static void* create_odd(const epp_host* host, epp_str name,
                                                const epp_value* values, epp_error* err) {
  (void)host;
  (void)name;
  (void)values;
  err->code = 4711;
  memset(err->message, 0xff, sizeof(err->message));
  return 0;
}

static void destroy(void* self) { (void)self; }

/* What the tests ask: "test.version" points to the version of this build. */
static const void* get_interface(void* self, const char* id) {
  struct instance* instance = self;
  return strcmp(id, "test.version") == 0 ? &instance->version : 0;
}

static const epp_param_spec param = {.struct_size = sizeof(epp_param_spec),
                                     .type = EPP_P_I64,
                                     .name = "value",
                                     .doc = "A number.",
                                     .default_value = {EPP_P_I64, 1, {.i64 = TEST_VERSION}},
                                     .max = 10};
#ifdef TEST_PARAM2
static const epp_param_spec param2 = {.struct_size = sizeof(epp_param_spec),
                                      .type = EPP_P_I64,
                                      .name = TEST_PARAM2,
                                      .doc = "A number.",
                                      .max = 10};
#endif
static const epp_param_spec* const params[] = {
    &param,
#ifdef TEST_PARAM2
    &param2,
#endif
};
static const char* const interfaces[] = {"epp.scorer/1"};

static const epp_plugin_type type = {.struct_size = sizeof(epp_plugin_type),
                                     .stability = EPP_STABILITY_BETA,
                                     .param_count = sizeof(params) / sizeof(params[0]),
                                     .interface_count = 1,
                                     .name = TEST_TYPE_NAME,
                                     .doc = "For tests.",
                                     .interfaces = interfaces,
                                     .params = params,
                                     .create = TEST_CREATE,
                                     .destroy = destroy,
                                     .get_interface = get_interface};
static const epp_plugin_type* const types[] = {&type};

static const epp_module module = {.struct_size = TEST_RECORD_SIZE,
                                  .abi_major = EPP_ABI_MAJOR,
                                  .abi_minor = EPP_ABI_TARGET_MINOR,
                                  .abi_min_minor = EPP_ABI_MIN_MINOR,
                                  .type_count = TEST_TYPE_COUNT,
                                  .name = TEST_NAME_IS,
                                  .version = "1.0.0",
                                  .toolchain = __VERSION__,
                                  .types = types};

__attribute__((visibility("default"))) const epp_module* epp_plugin_entry_v1(uint32_t host_major,
                                                                             uint32_t host_minor);
const epp_module* epp_plugin_entry_v1(uint32_t host_major, uint32_t host_minor) {
  (void)host_major;
  (void)host_minor;
#ifdef TEST_DECLINES
  return 0;
#else
  return &module;
#endif
}
