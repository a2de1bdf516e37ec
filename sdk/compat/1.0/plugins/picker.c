/* golden-picker: totals, randomness, names of endpoints, an extension that no host of 1.0 has. */
#include "golden.h"

typedef struct picker {
  const epp_host* host;
  int shuffle;
  int has_extension;
} picker;

static const epp_param_spec shuffle_param = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_BOOL,
    .name = "shuffle",
    .doc = "whether equals are ordered at random, not by name",
    .default_value = {.type = EPP_P_BOOL, .present = 1, .v = {.i64 = 0}},
    .max = 1,
};
static const epp_param_spec* const params[] = {&shuffle_param};
static const epp_attr_spec* const consumes[] = {NULL};
static const epp_attr_spec* const produces[] = {NULL};

static int before(const picker* p, const epp_candidates* in, const double* totals, uint32_t a,
                  uint32_t b) {
  const epp_str x = in->endpoints[a]->name, y = in->endpoints[b]->name;
  const uint64_t n = x.size < y.size ? x.size : y.size;
  int order;
  if (totals[a] != totals[b]) return totals[a] > totals[b];
  if (p->shuffle) return (int)(p->host->random_u64(p->host->ctx) & 1);
  order = n == 0 ? 0 : memcmp(x.data, y.data, n);
  return order != 0 ? order < 0 : x.size < y.size;
}

/* All candidates, best first. */
static epp_status pick(void* self, const epp_call* call, const epp_candidates* in,
                       const double* totals, uint32_t* picks, uint32_t* pick_count,
                       epp_error* err) {
  const picker* p = self;
  uint32_t i, at;
  if (EPP_HAS(call, epp_call, deadline_ns) && call->deadline_ns != 0 &&
      call->deadline_ns < call->now_ns) {
    return golden_fail(err, EPP_DEADLINE_EXCEEDED, "too late");
  }
  for (i = 0; i < in->count; ++i) {
    for (at = i; at > 0 && before(p, in, totals, i, picks[at - 1]); --at) picks[at] = picks[at - 1];
    picks[at] = i;
  }
  *pick_count = in->count;
  return EPP_OK;
}
static const epp_picker table = {sizeof(epp_picker), 0, pick};

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  picker* p = calloc(1, sizeof(picker));
  (void)name;
  if (p == NULL) {
    golden_fail(err, EPP_RESOURCE_EXHAUSTED, "out of memory");
    return NULL;
  }
  p->host = host;
  p->shuffle = values[0].v.i64 != 0;
  p->has_extension = host->get_extension(host->ctx, "epp.unheard-of/1") != NULL;
  if (p->has_extension) {
    golden_fail(err, EPP_INTERNAL, "the host answers for what it cannot know");
    free(p);
    return NULL;
  }
  return p;
}
static void destroy(void* self) { free(self); }
static const void* get_interface(void* self, const char* id) {
  (void)self;
  return strcmp(id, EPP_PICKER_ID) == 0 ? &table : NULL;
}
static const char* const interfaces[] = {EPP_PICKER_ID};

GOLDEN_LIBRARY("golden-picker", "Orders all candidates by their totals.")
