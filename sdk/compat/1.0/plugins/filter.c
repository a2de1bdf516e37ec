/* golden-filter: a label as a column of symbols, validity bits, headers of the request, endpoints
 * by pointer, a list of texts, memory that lasts as long as the request. */
#include "golden.h"

typedef struct filter {
  const epp_host* host;
  uint32_t banned[8]; /* symbols */
  uint32_t banned_count;
} filter;

static const epp_param_spec banned_param = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_STR_LIST,
    .name = "bannedZones",
    .doc = "zones that are never kept",
    .default_value = {.type = EPP_P_STR_LIST, .present = 0},
};
static const epp_param_spec* const params[] = {&banned_param};

static const epp_attr_spec zone = {
    .struct_size = sizeof(epp_attr_spec),
    .type = EPP_T_SYMBOL,
    .scope = EPP_SCOPE_ENDPOINT,
    .flags = EPP_ATTR_OPTIONAL,
    .key = "label/zone",
};
static const epp_attr_spec* const consumes[] = {&zone, NULL};
static const epp_attr_spec* const produces[] = {NULL};

/* Keeps endpoints of the zone that header x-zone names (all without one), banned ones never, and
 * those of port 1 never. */
static epp_status keep_zone(void* self, const epp_call* call, const epp_candidates* in,
                            uint64_t* keep, epp_error* err) {
  const filter* f = self;
  const epp_column* zones = &in->columns[0];
  const uint32_t* symbols = zones->values;
  uint32_t wanted = 0, asked = 0, i, b;
  uint64_t* calls = *call->state;
  for (i = 0; i < call->request->header_count; ++i) {
    const epp_header* header = &call->request->headers[i];
    if (!golden_equal(header->name, "x-zone")) continue;
    asked = 1;
    wanted = f->host->find(f->host->ctx, header->value);
  }
  if (calls == NULL) {
    calls = call->keep(call->arena, sizeof(uint64_t), sizeof(uint64_t));
    if (calls == NULL) return golden_fail(err, EPP_RESOURCE_EXHAUSTED, "no memory");
    *calls = 0;
    *call->state = calls;
  }
  ++*calls;
  for (i = 0; i < in->count; ++i) {
    const int has =
        symbols != NULL && (zones->validity == NULL || (zones->validity[i / 64] >> (i % 64) & 1));
    const uint32_t symbol = has ? symbols[i] : 0;
    int stays = (!asked || (symbol != 0 && symbol == wanted)) && in->endpoints[i]->port != 1 &&
                in->slots[i] == in->endpoints[i]->slot;
    for (b = 0; b < f->banned_count; ++b) stays = stays && symbol != f->banned[b];
    if (stays) keep[i / 64] |= UINT64_C(1) << (i % 64);
  }
  return EPP_OK;
}
static const epp_filter table = {sizeof(epp_filter), 0, keep_zone};

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  filter* f = calloc(1, sizeof(filter));
  uint64_t i;
  (void)name;
  if (f == NULL) {
    golden_fail(err, EPP_RESOURCE_EXHAUSTED, "out of memory");
    return NULL;
  }
  f->host = host;
  if (values[0].present) {
    for (i = 0; i < values[0].v.list.count && i < 8; ++i) {
      f->banned[f->banned_count++] = host->intern(host->ctx, values[0].v.list.items[i]);
    }
  }
  return f;
}
static void destroy(void* self) { free(self); }
static const void* get_interface(void* self, const char* id) {
  (void)self;
  return strcmp(id, EPP_FILTER_ID) == 0 ? &table : NULL;
}
static const char* const interfaces[] = {EPP_FILTER_ID};

GOLDEN_LIBRARY("golden-filter", "Keeps endpoints of a zone.")
