/* golden-scorer: columns of numbers, one of them optional; every scalar parameter; memory of the
 * call; a metric, a log line, an error. */
#include "golden.h"

typedef struct scorer {
  const epp_host* host;
  uint64_t calls; /* a series */
  double weight;
  int64_t limit;
  int inverse;
} scorer;

static const char* const modes[] = {"plain", "inverse"};
static const epp_param_spec weight_param = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_F64,
    .name = "cacheWeight",
    .doc = "weight of the cache against the queue",
    .default_value = {.type = EPP_P_F64, .present = 1, .v = {.f64 = 0.5}},
    .min = 0,
    .max = 1,
};
static const epp_param_spec limit_param = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_I64,
    .name = "limit",
    .doc = "more candidates than this are an error",
    .default_value = {.type = EPP_P_I64, .present = 1, .v = {.i64 = 100000}},
    .min = 1,
    .max = 1e9,
};
static const epp_param_spec mode_param = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_STR,
    .choice_count = 2,
    .name = "mode",
    .doc = "whether the best are the worst",
    .choices = modes,
    .default_value = {.type = EPP_P_STR, .present = 1, .v = {.str = {"plain", 5}}},
};
static const epp_param_spec* const params[] = {&weight_param, &limit_param, &mode_param};

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
    .flags = EPP_ATTR_OPTIONAL,
    .key = "KVCacheUsagePercent",
    .default_producer = "core-metrics-extractor",
};
static const epp_attr_spec* const consumes[] = {&waiting, &usage, NULL};
static const epp_attr_spec* const produces[] = {NULL};

static epp_status score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                        epp_error* err) {
  const scorer* s = self;
  const int64_t* queue = in->columns[0].values;
  const double* used = in->columns[1].values; /* null without a producer */
  int64_t longest = 1;
  double* queue_score;
  uint32_t i;
  if (in->count > s->limit) return golden_fail(err, EPP_RESOURCE_EXHAUSTED, "too many candidates");
  if (in->count == 0) return EPP_OK;
  queue_score = call->alloc(call->arena, in->count * sizeof(double), sizeof(double));
  if (queue_score == NULL) return golden_fail(err, EPP_RESOURCE_EXHAUSTED, "no memory");
  for (i = 0; i < in->count; ++i) {
    if (queue[i] > longest) longest = queue[i];
  }
  for (i = 0; i < in->count; ++i) queue_score[i] = 1 - (double)queue[i] / (double)longest;
  for (i = 0; i < in->count; ++i) {
    const double cache = used == NULL ? 0 : 1 - used[i];
    const double total = queue_score[i] * (1 - s->weight) + cache * s->weight;
    out[i] = s->inverse ? 1 - total : total;
    if (!(out[i] >= 0)) out[i] = 0; /* no number, too */
    if (out[i] > 1) out[i] = 1;
  }
  s->host->metric_add(s->host->ctx, s->calls, 1);
  return EPP_OK;
}
static const epp_scorer table = {sizeof(epp_scorer), EPP_CATEGORY_BALANCE, score};

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  static const epp_str label = {"instance", 8};
  static const epp_str metric = {"golden_scorer_calls_total", 25};
  static const epp_str help = {"Calls.", 6};
  scorer* s = calloc(1, sizeof(scorer));
  uint64_t family;
  if (s == NULL) {
    golden_fail(err, EPP_RESOURCE_EXHAUSTED, "out of memory");
    return NULL;
  }
  s->host = host;
  s->weight = values[0].v.f64;
  s->limit = values[1].v.i64;
  s->inverse = golden_equal(values[2].v.str, "inverse");
  if (s->inverse && s->weight == 0) {
    golden_fail(err, EPP_INVALID_ARGUMENT, "mode \"inverse\" needs a cacheWeight");
    free(s);
    return NULL;
  }
  family =
      host->metric_register(host->ctx, EPP_METRIC_COUNTER, metric, help, &label, 1, NULL, 0, err);
  if (family != 0) s->calls = host->metric_series(host->ctx, family, &name, 1);
  if (host->log_enabled(host->ctx, EPP_LOG_DEBUG)) {
    static const epp_str text = {"golden scorer created", 21};
    host->log(host->ctx, EPP_LOG_DEBUG, text);
  }
  return s;
}
static void destroy(void* self) { free(self); }
static const void* get_interface(void* self, const char* id) {
  (void)self;
  return strcmp(id, EPP_SCORER_ID) == 0 ? &table : NULL;
}
static const char* const interfaces[] = {EPP_SCORER_ID};

GOLDEN_LIBRARY("golden-scorer", "Rates queue and cache.")
