/* golden-scraper: a source and a scraper in one, told of the pool, ready once it has read a page,
 * with a state that people can read and one that survives it. */
#include <stdatomic.h>

#include "golden.h"

typedef struct scraper {
  const epp_host* host;
  char path[64];
  atomic_int endpoints;
  atomic_ullong pages;
} scraper;

static const epp_param_spec path_param = {
    .struct_size = sizeof(epp_param_spec),
    .type = EPP_P_STR,
    .name = "path",
    .doc = "path of the page",
    .default_value = {.type = EPP_P_STR, .present = 1, .v = {.str = {"/metrics", 8}}},
};
static const epp_param_spec* const params[] = {&path_param};
static const epp_attr_spec* const consumes[] = {NULL};
static const epp_attr_spec waiting = {
    .struct_size = sizeof(epp_attr_spec),
    .type = EPP_T_I64,
    .scope = EPP_SCOPE_ENDPOINT,
    .key = "WaitingQueueSize",
};
static const epp_attr_spec usage = {
    .struct_size = sizeof(epp_attr_spec),
    .type = EPP_T_F64,
    .scope = EPP_SCOPE_ENDPOINT,
    .key = "KVCacheUsagePercent",
};
static const epp_attr_spec* const produces[] = {&waiting, &usage, NULL};

static epp_status plan(void* self, epp_fetch_plan* out, epp_error* err) {
  scraper* s = self;
  (void)err;
  out->path.data = s->path;
  out->path.size = strlen(s->path);
  out->payload.data = "golden-page";
  out->payload.size = 11;
  return EPP_OK;
}
static const epp_source source_table = {sizeof(epp_source), 0, plan};

/* The number behind the last space of the first line that starts with key; 0 when there is none. */
static int find_number(epp_str body, const char* key, double* out) {
  const uint64_t size = strlen(key);
  uint64_t at = 0, end, space;
  while (at < body.size) {
    for (end = at; end < body.size && body.data[end] != '\n'; ++end) continue;
    if (end - at > size && memcmp(body.data + at, key, size) == 0) {
      char text[40];
      char* rest;
      for (space = end; space > at && body.data[space - 1] != ' '; --space) continue;
      if (end - space == 0 || end - space >= sizeof(text)) return 0;
      memcpy(text, body.data + space, end - space);
      text[end - space] = '\0';
      *out = strtod(text, &rest);
      return *rest == '\0';
    }
    at = end + 1;
  }
  return 0;
}

static epp_status scrape(void* self, const epp_scrape* in, const epp_sink* out, epp_error* err) {
  scraper* s = self;
  double value;
  int found = 0;
  if (in->endpoint == NULL) return golden_fail(err, EPP_INTERNAL, "no endpoint");
  if (find_number(in->body, "vllm:num_requests_waiting{", &value)) {
    out->set_i64(out->ctx, 0, (int64_t)value);
    ++found;
  } else {
    out->clear(out->ctx, 0);
  }
  if (find_number(in->body, "vllm:kv_cache_usage_perc{", &value)) {
    out->set_f64(out->ctx, 1, value);
    ++found;
  }
  if (found == 0) return golden_fail(err, EPP_INVALID_ARGUMENT, "no known line");
  atomic_fetch_add(&s->pages, 1);
  return EPP_OK;
}
static const epp_scraper scraper_table = {sizeof(epp_scraper), 0, "golden-page", scrape};

static void upserted(void* self, const epp_endpoint* endpoint) {
  scraper* s = self;
  if (endpoint->id != 0) atomic_fetch_add(&s->endpoints, 1);
}
static void removed(void* self, const epp_endpoint* endpoint) {
  scraper* s = self;
  if (endpoint->id != 0) atomic_fetch_sub(&s->endpoints, 1);
}
static const epp_pool_events events_table = {sizeof(epp_pool_events), 0, upserted, removed};

static epp_status ready(void* self, epp_error* err) {
  scraper* s = self;
  if (atomic_load(&s->pages) == 0) return golden_fail(err, EPP_UNAVAILABLE, "no page yet");
  return EPP_OK;
}
static const epp_readiness ready_table = {sizeof(epp_readiness), 0, ready};

static epp_status dump(void* self, const epp_writer* out, epp_error* err) {
  scraper* s = self;
  char text[64];
  epp_str piece;
  (void)err;
  piece.data = text;
  piece.size = (uint64_t)snprintf(text, sizeof(text), "{\"pages\":%llu}", atomic_load(&s->pages));
  out->write(out->ctx, piece);
  return EPP_OK;
}
static const epp_dump_state dump_table = {sizeof(epp_dump_state), 0, dump};

static epp_status save(void* self, const epp_writer* out, epp_error* err) {
  scraper* s = self;
  const unsigned long long pages = atomic_load(&s->pages);
  epp_str piece;
  (void)err;
  piece.data = (const char*)&pages;
  piece.size = sizeof(pages);
  out->write(out->ctx, piece);
  return EPP_OK;
}
static epp_status load(void* self, uint32_t version, epp_str bytes, epp_error* err) {
  scraper* s = self;
  unsigned long long pages;
  if (version != 1 || bytes.size != sizeof(pages)) {
    return golden_fail(err, EPP_INVALID_ARGUMENT, "state of another version");
  }
  memcpy(&pages, bytes.data, sizeof(pages));
  atomic_store(&s->pages, pages);
  return EPP_OK;
}
static const epp_state state_table = {sizeof(epp_state), 1, 0, 0, save, load};

static void* create(const epp_host* host, epp_str name, const epp_value* values, epp_error* err) {
  scraper* s = calloc(1, sizeof(scraper));
  const epp_str path = values[0].v.str;
  (void)name;
  if (s == NULL || path.size == 0 || path.size >= sizeof(s->path)) {
    golden_fail(err, EPP_INVALID_ARGUMENT, "path is empty or too long");
    free(s);
    return NULL;
  }
  s->host = host;
  memcpy(s->path, path.data, path.size);
  return s;
}
static void destroy(void* self) { free(self); }
static const void* get_interface(void* self, const char* id) {
  (void)self;
  if (strcmp(id, EPP_SOURCE_ID) == 0) return &source_table;
  if (strcmp(id, EPP_SCRAPER_ID) == 0) return &scraper_table;
  if (strcmp(id, EPP_POOL_EVENTS_ID) == 0) return &events_table;
  if (strcmp(id, EPP_READINESS_ID) == 0) return &ready_table;
  if (strcmp(id, EPP_DUMP_STATE_ID) == 0) return &dump_table;
  if (strcmp(id, EPP_STATE_ID) == 0) return &state_table;
  return NULL;
}
static const char* const interfaces[] = {EPP_SOURCE_ID,    EPP_SCRAPER_ID,    EPP_POOL_EVENTS_ID,
                                         EPP_READINESS_ID, EPP_DUMP_STATE_ID, EPP_STATE_ID};

GOLDEN_LIBRARY("golden-scraper", "Reads queue and cache of a Prometheus page.")
