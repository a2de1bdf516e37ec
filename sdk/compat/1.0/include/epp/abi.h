/* The binary contract between the epp host and a plugin library. ABI 1.0.
 *
 * Reading order: the rules below, then epp_module (what a library offers), epp_plugin_type (what a
 * config can name), epp_call and epp_candidates (what a call gets), then the interface you want to
 * implement. C++ authors include epp/plugin.hpp instead and never see this file.
 *
 * Platform: Linux, LP64, little-endian, glibc. C11 or later, C++17 or later.
 *
 * Growth: data grows by struct_size. Every struct that crosses by pointer starts with it, set by
 * the side that allocates; fields are only appended; a reader tests EPP_HAS and treats an absent
 * field as 0; a longer tail is ignored. Behaviour grows by interface id: a new revision
 * ("epp.scorer/2") beside the old one. The small records marked "frozen" have no size and never
 * change. Padding is always explicit and zero.
 *
 * Strings: epp_str is UTF-8 unless it carries foreign bytes (header values, bodies), is not
 * NUL-terminated, and its data is null only when size is 0. Names in constant tables are
 * NUL-terminated C strings.
 *
 * Memory: nothing is freed by the other side. Host to plugin: valid until the call returns, unless
 * a comment says longer. Plugin to host: constant, or owned by the instance until destroy, or
 * written into memory of the host.
 *
 * Errors: functions return an epp_status (0 is OK) and may fill the caller's epp_error. No
 * exception may leave a function; pointers are never null unless documented.
 *
 * Threads: every function carries one of these tags.
 *
 * - [config]  one call at a time in the process; may block up to 5 s, may allocate
 * - [worker]  concurrent on one instance, on any of host->worker_count workers, each with its own
 *             call->worker; must not block, sleep or do I/O
 * - [pool]    one call at a time per instance, concurrent with [worker]
 * - [scrape]  one call at a time per endpoint, concurrent across endpoints
 * - [any]     callable from anywhere, lock-free or short
 * - [io]      one call at a time in the process, on a thread of the host; must not block
 */
#ifndef EPP_ABI_H_
#define EPP_ABI_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#if __cplusplus >= 201703L
#define EPP_NOEXCEPT noexcept
#else
#define EPP_NOEXCEPT
#endif
extern "C" {
#else
#define EPP_NOEXCEPT
#endif

#define EPP_ABI_MAJOR 1u
#define EPP_ABI_MINOR 0u

/* What the source may name (default: all of this header) and what a host must offer to load the
 * library (default: what the source may name). */
#ifndef EPP_ABI_TARGET_MINOR
#define EPP_ABI_TARGET_MINOR EPP_ABI_MINOR
#endif
#ifndef EPP_ABI_MIN_MINOR
#define EPP_ABI_MIN_MINOR EPP_ABI_TARGET_MINOR
#endif

/* True when the struct behind p is long enough to hold the field. */
#define EPP_HAS(p, type, field) \
  ((p)->struct_size >= offsetof(type, field) + sizeof(((const type*)0)->field))

/* ---- Frozen leaf types ---------------------------------------------------------------------- */

/* Canonical gRPC codes, 0 is OK. An unknown code counts as EPP_INTERNAL. */
typedef int32_t epp_status;
#define EPP_OK 0
#define EPP_CANCELLED 1
#define EPP_UNKNOWN 2
#define EPP_INVALID_ARGUMENT 3
#define EPP_DEADLINE_EXCEEDED 4
#define EPP_NOT_FOUND 5
#define EPP_PERMISSION_DENIED 7
#define EPP_RESOURCE_EXHAUSTED 8
#define EPP_FAILED_PRECONDITION 9
#define EPP_UNIMPLEMENTED 12
#define EPP_INTERNAL 13
#define EPP_UNAVAILABLE 14
#define EPP_UNAUTHENTICATED 16

typedef struct epp_str {
  const char* data;
  uint64_t size; /* bytes */
} epp_str;

/* One attribute of many endpoints, or of one request (then n is 1). values[n] has the C type of the
 * attribute: int64_t, double, uint8_t (bool), uint32_t (symbol), const void* (opaque). List types
 * hold items in values and item range [offsets[i], offsets[i + 1]) of row i; otherwise offsets is
 * null. Bit i of validity (word i / 64, bit i % 64) says whether row i has a value; null means all
 * have. A row without a value reads as 0, null or an empty list, so that a reader for which absent
 * means zero needs no test. values is null only when n is 0 or an optional attribute has no
 * producer; then validity is null too. */
typedef struct epp_column {
  const void* values;
  const uint64_t* validity;
  const uint32_t* offsets; /* [n + 1] for list types */
} epp_column;

/* The same for writing. See epp_producer. */
typedef struct epp_out_column {
  void* values;
  uint64_t* validity;
  uint32_t* offsets;
} epp_out_column;

typedef struct epp_header {
  epp_str name; /* lower case */
  epp_str value;
} epp_header;

/* A parameter's value. present is 0 when the config does not set it and there is no default. */
typedef struct epp_value {
  int32_t type; /* EPP_P_* */
  uint32_t present;
  union {
    int64_t i64; /* EPP_P_BOOL (0 or 1), EPP_P_I64, EPP_P_DURATION (nanoseconds) */
    double f64;  /* EPP_P_F64 */
    epp_str str; /* EPP_P_STR, EPP_P_PLUGIN, EPP_P_JSON (canonical JSON text) */
    struct {
      const epp_str* items;
      uint64_t count;
    } list; /* EPP_P_STR_LIST */
  } v;
} epp_value;

/* ---- Errors --------------------------------------------------------------------------------- */

/* Caller-owned. The callee writes at most sizeof(message) - 1 bytes of UTF-8 and a NUL. */
typedef struct epp_error {
  uint32_t struct_size;
  epp_status code;
  char message[504];
} epp_error;

/* ---- Declarations --------------------------------------------------------------------------- */

#define EPP_P_BOOL 1
#define EPP_P_I64 2
#define EPP_P_F64 3
#define EPP_P_STR 4
#define EPP_P_DURATION 5 /* config text such as "250ms" or "1m30s" */
#define EPP_P_STR_LIST 6
#define EPP_P_PLUGIN 7 /* the name of another plugin instance; it is created first */
#define EPP_P_JSON 8   /* anything; the plugin checks it */

#define EPP_PARAM_REQUIRED 1u
#define EPP_PARAM_DEPRECATED 2u /* accepted, with one warning */
#define EPP_PARAM_IGNORED 4u    /* accepted and never read */
#define EPP_PARAM_SECRET 8u     /* never shown */

/* One parameter of a plugin type. The host decodes, checks and defaults it before create. */
typedef struct epp_param_spec {
  uint32_t struct_size;
  int32_t type;   /* EPP_P_* */
  uint32_t flags; /* EPP_PARAM_* */
  uint32_t choice_count;
  const char* name; /* camelCase as in the config; nested objects are dotted: "weights.cache" */
  const char* doc;  /* one line */
  const char* const* choices; /* [choice_count], for EPP_P_STR; none means any text */
  epp_value default_value;
  double min; /* inclusive; EPP_P_I64, EPP_P_F64, EPP_P_DURATION (seconds) */
  double max;
  /* For EPP_P_PLUGIN: what the named plugin must implement; null means anything. With an id, a name
   * must be that of a declared plugin even where it is the default. */
  const char* interface_id;
} epp_param_spec;

#define EPP_T_I64 1
#define EPP_T_F64 2
#define EPP_T_BOOL 3
#define EPP_T_SYMBOL 4 /* an interned string, see epp_host.intern; 0 is none */
#define EPP_T_SYMBOL_LIST 5
#define EPP_T_OPAQUE 6 /* const void* to what the schema id names */

#define EPP_SCOPE_ENDPOINT 1u /* one value per endpoint */
#define EPP_SCOPE_REQUEST 2u  /* one value per request */

#define EPP_ATTR_OPTIONAL 1u   /* consumes: may have no producer, the column is then null */
#define EPP_ATTR_TYPE_NAMED 2u /* produces: published under the type's name, not the instance's */

/* An attribute that a type reads or writes. Its full name is key "/" producer. For a consumer the
 * producer is the value of the parameter producer_param when that is set and not empty, else
 * default_producer, which the host also creates when nothing in the config produces the attribute
 * (unless optional). A null default_producer matches whoever produces the key; with two of them in
 * one config it must be named. The host itself provides: "label/NAME" (symbol: the endpoint's label
 * NAME) and "metrics-age-ns" (i64: time since the endpoint's last good scrape), both without
 * producer. */
typedef struct epp_attr_spec {
  uint32_t struct_size;
  int32_t type;   /* EPP_T_* */
  uint32_t scope; /* EPP_SCOPE_* */
  uint32_t flags; /* EPP_ATTR_* */
  const char* key;
  const char* default_producer; /* a plugin type; consumes only */
  const char* producer_param;   /* a parameter of this type, or null; consumes only */
  const char* schema;           /* for EPP_T_OPAQUE */
} epp_attr_spec;

/* ---- The pool ------------------------------------------------------------------------------- */

typedef struct epp_label {
  epp_str key;
  epp_str value;
} epp_label;

/* An address that serves a model. Constant while the host shows it. */
typedef struct epp_endpoint {
  uint32_t struct_size;
  uint32_t slot; /* small number, unique among the endpoints that live at one time; reused later */
  uint64_t id;   /* never reused in this process */
  epp_str name;  /* "NAMESPACE/NAME" */
  epp_str address;   /* IPv4, IPv6 without brackets, or host name */
  epp_str host_port; /* ready for a Host header; IPv6 in brackets */
  uint32_t port;
  uint32_t rank;           /* data-parallel rank: the index of the pool's target port */
  const epp_label* labels; /* [label_count], sorted by key */
  uint32_t label_count;
  uint32_t reserved0;
} epp_endpoint;

/* ---- The request ---------------------------------------------------------------------------- */

#define EPP_API_NONE 0 /* not understood; forwarded as it is */
#define EPP_API_COMPLETIONS 1
#define EPP_API_CHAT 2
#define EPP_API_RESPONSES 3
#define EPP_API_CONVERSATIONS 4
#define EPP_API_EMBEDDINGS 5
#define EPP_API_IMAGES 6
#define EPP_API_MESSAGES 7
#define EPP_API_GENERATE 8

#define EPP_SEGMENT_TEXT 1      /* prompt text */
#define EPP_SEGMENT_ROLE 2      /* the role that opens message */
#define EPP_SEGMENT_JSON 3      /* a JSON value that belongs to the prompt: tools, input items */
#define EPP_SEGMENT_TOKEN_IDS 4 /* a JSON array of numbers, each a token id */
#define EPP_SEGMENT_IMAGE 5     /* a URL, or base64 data */
#define EPP_SEGMENT_AUDIO 6     /* base64 data, followed by a TEXT segment flagged FORMAT */
#define EPP_SEGMENT_VIDEO 7     /* a URL */

#define EPP_SEGMENT_ESCAPED 1u /* bytes contains JSON escapes, as in the body */
#define EPP_SEGMENT_FORMAT 2u  /* the format of the audio before it */
#define EPP_SEGMENT_BASE64 4u  /* bytes is data, not a URL */

/* A piece of the prompt, in the order of the prompt: tools, system texts, then per message its role
 * (perhaps empty) and its content, however the body orders its members. Frozen. */
typedef struct epp_segment {
  int32_t kind;    /* EPP_SEGMENT_* */
  uint32_t flags;  /* EPP_SEGMENT_* flags */
  uint32_t prompt; /* index of the prompt; a batch of completions has several */
  /* Index of the message in a conversation. Of EPP_API_RESPONSES: 0 instructions, 1 tools, 2 input.
   * Else 0. */
  uint32_t message;
  epp_str bytes; /* a view into the body, without the quotes of a JSON string */
} epp_segment;

#define EPP_PARSED_STREAM 1u        /* the client asked for a streamed response */
#define EPP_PARSED_SKIP_RESPONSE 2u /* the response means nothing to this parser */
#define EPP_PARSED_CAN_REWRITE 4u   /* body is a JSON object whose model may be replaced */
#define EPP_PARSED_MODEL_PRESENT 8u /* model_offset and model_size are set */

/* What a parser found. All views lead into the body or into memory of the call's arena. */
typedef struct epp_parsed {
  uint32_t struct_size;
  int32_t api;    /* EPP_API_* */
  uint32_t flags; /* EPP_PARSED_* */
  uint32_t prompt_count;
  uint32_t segment_count;
  uint32_t reserved0;
  const epp_segment* segments;
  epp_str model;             /* unescaped; empty when absent or not a string */
  epp_str cache_salt;        /* unescaped */
  int64_t max_output_tokens; /* -1 when not given */
  /* Byte range, in the body, of the value of "model" (quotes included), or, when it is absent, the
   * place right behind the opening brace of the object with size 0. */
  uint64_t model_offset;
  uint64_t model_size;
  uint64_t member_count; /* members of the top-level object; 0 means it is empty */
} epp_parsed;

#define EPP_REQUEST_BODYLESS 1u

/* One client request, from its headers to the end of its response. */
typedef struct epp_request {
  uint32_t struct_size;
  uint32_t flags;
  uint64_t number;    /* unique in this process */
  epp_str request_id; /* x-request-id, the client's or generated */
  epp_str path;       /* without query */
  epp_str model;      /* as the client named it */
  epp_str target_model;
  epp_str fairness_id;
  epp_str objective;
  int32_t priority;
  uint32_t header_count;
  const epp_header* headers; /* [header_count], lower-case names, the last of a repeated name */
  uint64_t body_size;        /* bytes as received */
  epp_str body;              /* empty in response hooks */
  const epp_parsed* parsed;  /* null before parsing, for bodyless requests, in response hooks */
  uint64_t received_ns;      /* monotonic: arrival of the headers */
} epp_request;

/* ---- A call --------------------------------------------------------------------------------- */

/* Passed to every [worker] function. */
typedef struct epp_call {
  uint32_t struct_size;
  uint32_t worker;      /* [0, host->worker_count); no two calls with the same worker overlap */
  uint64_t now_ns;      /* monotonic, taken when the host began this step of the request */
  uint64_t deadline_ns; /* monotonic; 0 means none */
  const epp_request* request; /* null outside a request */
  /* Request-scope attributes, in the order of consumes[] (those of that scope only), n = 1. */
  const epp_column* request_columns;
  /* This instance's own slot in this request: null at its first hook, then what it stored, until
   * the last hook of the request. What it points to must come from keep if a response hook reads
   * it. */
  void** state;
  /* Memory that the host frees, for both functions below. Never null for sizes up to 16 MiB. A
   * stream may be open for minutes: keep little. */
  void* arena;
  /* Until the request was sent on, pre-request hooks included; in response hooks until the hook
   * returns. What producers make is gone then, too. */
  void* (*alloc)(void* arena, uint64_t size, uint64_t align)EPP_NOEXCEPT;
  /* Until the last hook of the request. */
  void* (*keep)(void* arena, uint64_t size, uint64_t align)EPP_NOEXCEPT;
} epp_call;

/* The endpoints of a call, as dense columns. */
typedef struct epp_candidates {
  uint32_t struct_size;
  uint32_t count; /* n */
  uint32_t column_count;
  uint32_t reserved0;
  /* Endpoint-scope attributes, in the order of consumes[] (those of that scope only). */
  const epp_column* columns;
  const epp_endpoint* const* endpoints; /* [n] */
  const uint32_t* slots;                /* [n], endpoints[i]->slot */
  /* [n], position of each among the candidates of the request, the list that producers saw. */
  const uint32_t* rows;
  uint64_t frame; /* number of the pool snapshot that the columns come from */
} epp_candidates;

/* ---- Host services -------------------------------------------------------------------------- */

#define EPP_LOG_TRACE 0
#define EPP_LOG_DEBUG 1
#define EPP_LOG_INFO 2
#define EPP_LOG_WARN 3
#define EPP_LOG_ERROR 4

#define EPP_METRIC_COUNTER 1
#define EPP_METRIC_GAUGE 2
#define EPP_METRIC_HISTOGRAM 3

/* What an instance may ask of the host. Valid from before create to after destroy. All [any] except
 * where noted. */
typedef struct epp_host {
  uint32_t struct_size;
  uint32_t abi_minor;
  uint32_t worker_count;
  uint32_t reserved0;
  void* ctx;
  int32_t (*log_enabled)(void* ctx, int32_t level) EPP_NOEXCEPT;
  void (*log)(void* ctx, int32_t level, epp_str message) EPP_NOEXCEPT;
  uint64_t (*mono_ns)(void* ctx) EPP_NOEXCEPT; /* CLOCK_MONOTONIC */
  uint64_t (*unix_ns)(void* ctx) EPP_NOEXCEPT;
  uint64_t (*random_u64)(void* ctx) EPP_NOEXCEPT;
  /* The number of a string, the same for equal strings in the whole process, never 0. For strings
   * of the operator or the pool: they are kept for ever. Use find for a client's strings. */
  uint32_t (*intern)(void* ctx, epp_str text) EPP_NOEXCEPT;
  uint32_t (*find)(void* ctx, epp_str text) EPP_NOEXCEPT; /* 0 when never interned */
  epp_str (*symbol_text)(void* ctx,
                         uint32_t symbol) EPP_NOEXCEPT; /* lives as long as the process */
  /* [config], within create only. A handle, or 0 with err filled. The name is prefixed with
   * "epp_plugin_" unless the plugin comes with the host. The same name in a later generation gives
   * the same series. bounds are the upper bounds of a histogram. */
  uint64_t (*metric_register)(void* ctx, int32_t kind, epp_str name, epp_str help,
                              const epp_str* label_names, uint32_t label_count,
                              const double* bounds, uint32_t bound_count,
                              epp_error* err) EPP_NOEXCEPT;
  /* A series of a metric; resolve once, then use with metric_add. May take a lock. 0 on failure. */
  uint64_t (*metric_series)(void* ctx, uint64_t metric, const epp_str* label_values,
                            uint32_t label_count) EPP_NOEXCEPT;
  /* Counter: adds. Gauge: sets. Histogram: observes. A series of 0 is ignored. */
  void (*metric_add)(void* ctx, uint64_t series, double value) EPP_NOEXCEPT;
  /* A further table of the host by id, or null. */
  const void* (*get_extension)(void* ctx, const char* id)EPP_NOEXCEPT;
} epp_host;

/* ---- Host extensions ------------------------------------------------------------------------ */

/* Tables that get_extension answers, each of the instance that asked. A host without its I/O thread
 * (a test, a check) may answer null. Every callback is called exactly once unless it was cancelled:
 * before an instance is destroyed the host ends its timers and exchanges with EPP_CANCELLED, then
 * [config]; no callback runs during destroy or after it. */

/* status: EPP_OK when the time has come. */
typedef void (*epp_timer_fn)(void* arg, epp_status status) EPP_NOEXCEPT;

/* "epp.host.timer/1". */
#define EPP_HOST_TIMER_ID "epp.host.timer/1"
typedef struct epp_host_timer {
  uint32_t struct_size;
  uint32_t reserved0;
  void* ctx;
  /* [any] Calls fire once, [io], at a time of the monotonic clock or soon after it. Returns
   * the timer's number, or 0 when the instance has more than 65536 or is being destroyed. */
  uint64_t (*set)(void* ctx, uint64_t at_ns, epp_timer_fn fire, void* arg) EPP_NOEXCEPT;
  /* [any] 1: fire will not be called. 0: it was, or is being called right now. */
  int32_t (*cancel)(void* ctx, uint64_t timer) EPP_NOEXCEPT;
} epp_host_timer;

/* Everything is copied before send returns. */
typedef struct epp_http_request {
  uint32_t struct_size;
  uint32_t header_count;
  epp_str method;            /* "GET" or "POST" */
  epp_str url;               /* http[s]://HOST[:PORT][/PATH][?QUERY] */
  const epp_header* headers; /* [header_count], besides Host and Content-Length */
  epp_str body;
  uint64_t timeout_ns;     /* of the whole exchange */
  uint64_t max_body_bytes; /* of the response; 0: 16 MiB */
} epp_http_request;

/* Valid during the callback. */
typedef struct epp_http_response {
  uint32_t struct_size;
  /* EPP_OK for any HTTP status; EPP_DEADLINE_EXCEEDED; EPP_UNAVAILABLE when the server was not
   * reached or the answer broke off; EPP_RESOURCE_EXHAUSTED when it was too large; EPP_CANCELLED
   * when the instance ends. */
  epp_status status;
  int32_t http_status; /* 0 without an answer */
  uint32_t reserved0;
  epp_str content_type;
  epp_str body;
  epp_str error; /* of a status that is not EPP_OK, for people */
} epp_http_response;

typedef void (*epp_http_fn)(void* arg, const epp_http_response* response) EPP_NOEXCEPT;

/* "epp.host.http/1". HTTP/1.1 over connections that are kept and shared. An exchange whose kept
 * connection turns out to be dead is sent once more. */
#define EPP_HOST_HTTP_ID "epp.host.http/1"
typedef struct epp_host_http {
  uint32_t struct_size;
  uint32_t reserved0;
  void* ctx;
  /* [any] Calls done once, [io]. Returns the exchange's number, or 0 with err filled
   * (a url that cannot be used, too many exchanges): done is then not called. */
  uint64_t (*send)(void* ctx, const epp_http_request* request, epp_http_fn done, void* arg,
                   epp_error* err) EPP_NOEXCEPT;
  /* [any] 1: done will not be called. 0: it was, or is being called right now. */
  int32_t (*cancel)(void* ctx, uint64_t exchange) EPP_NOEXCEPT;
} epp_host_http;

/* ---- Interfaces: scheduling ----------------------------------------------------------------- */

/* "epp.filter/1". Says which candidates stay. */
#define EPP_FILTER_ID "epp.filter/1"
typedef struct epp_filter {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [worker] keep: bitmap of in->count bits in ceil(count / 64) words, all 0 at entry; set the bits
   * of those that stay. On error all stay and the failure is counted. */
  epp_status (*filter)(void* self, const epp_call* call, const epp_candidates* in, uint64_t* keep,
                       epp_error* err) EPP_NOEXCEPT;
} epp_filter;

/* "epp.scorer/1". Rates candidates: 0 worst, 1 best. */
#define EPP_SCORER_ID "epp.scorer/1"
#define EPP_CATEGORY_AFFINITY 1u
#define EPP_CATEGORY_DISTRIBUTION 2u
#define EPP_CATEGORY_BALANCE 3u
typedef struct epp_scorer {
  uint32_t struct_size;
  uint32_t category; /* EPP_CATEGORY_*, for display */
  /* [worker] out[in->count], all 0 at entry. The host clamps to [0, 1]; a value that is not finite
   * counts as 0. On error the scorer contributes nothing to this request. */
  epp_status (*score)(void* self, const epp_call* call, const epp_candidates* in, double* out,
                      epp_error* err) EPP_NOEXCEPT;
} epp_scorer;

/* "epp.picker/1". Chooses and orders. */
#define EPP_PICKER_ID "epp.picker/1"
typedef struct epp_picker {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [worker] totals[in->count]: weighted sums. Writes distinct positions of in, best first, to
   * picks[0 .. *pick_count), capacity in->count. in->count is at least 1. */
  epp_status (*pick)(void* self, const epp_call* call, const epp_candidates* in,
                     const double* totals, uint32_t* picks, uint32_t* pick_count,
                     epp_error* err) EPP_NOEXCEPT;
} epp_picker;

#define EPP_PROFILE_NOT_RUN 0
#define EPP_PROFILE_OK 1      /* has at least one target */
#define EPP_PROFILE_FAILED 2  /* ran; no candidate was left, or a plugin failed */
#define EPP_PROFILE_SKIPPED 3 /* the handler decided not to run it */

/* The outcome of one profile. */
typedef struct epp_profile_result {
  uint32_t struct_size;
  int32_t state; /* EPP_PROFILE_* */
  uint32_t target_count;
  uint32_t reserved0;
  const epp_endpoint* const* targets; /* [target_count], best first */
  const uint32_t* target_rows;        /* [target_count], position among the request's candidates */
} epp_profile_result;

/* What a profile handler may do besides giving its answer. Valid during the call. */
#define EPP_NO_ROW UINT32_MAX
typedef struct epp_steering {
  uint32_t struct_size;
  uint32_t reserved0;
  void* ctx;
  /* Asks the decider that params[param] names (EPP_P_PLUGIN with interface_id EPP_DECIDER_ID) about
   * the request's candidate at row, or about none of them (EPP_NO_ROW). 1 means yes. 0 means no,
   * which is also the answer for a parameter that names nobody and of a decider that fails. */
  uint32_t (*ask)(void* ctx, uint32_t param, uint32_t row) EPP_NOEXCEPT;
  /* The proxy is told this port, 0 to 65535, in place of every target's own. Nothing else changes:
   * results and hooks keep the endpoints that were picked. */
  void (*set_destination_port)(void* ctx, uint32_t port) EPP_NOEXCEPT;
  /* The request-scope attributes of produces[], in their order, n = 1; null when there are none.
   * All without value at entry. What the call gives a value (values[0], bit 0 of validity) has it
   * from then on, for the profiles that run next and for the hooks; the rest stays as it was. */
  epp_out_column* request_columns;
} epp_steering;

/* All profiles of the generation, in the order of the config. */
typedef struct epp_scheduling {
  uint32_t struct_size;
  uint32_t profile_count;
  uint32_t primary; /* index; profile_count until it is known */
  uint32_t reserved0;
  const epp_str* names;                     /* [profile_count] */
  const epp_profile_result* const* results; /* [profile_count] */
  const epp_steering* steering;             /* for the profile handler; null in hooks */
} epp_scheduling;

/* "epp.decider/1". Says, when the profile handler asks, whether a further stage is worth running.
 */
#define EPP_DECIDER_ID "epp.decider/1"
typedef struct epp_decider {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [worker] `in` is the one endpoint that the question is about, or nobody (in->count 0). *yes is
   * 0 at entry; any other value is a yes. On error the answer is no and the failure is counted. */
  epp_status (*decide)(void* self, const epp_call* call, const epp_candidates* in, uint32_t* yes,
                       epp_error* err) EPP_NOEXCEPT;
} epp_decider;

/* "epp.profile-handler/1". Chooses which profiles run, and which of them decides. What it produces
 * is of request scope, and published through so_far->steering. */
#define EPP_PROFILE_HANDLER_ID "epp.profile-handler/1"
#define EPP_DECIDE_NOTHING 0
#define EPP_DECIDE_RUN 1
#define EPP_DECIDE_SKIP 2 /* marks it EPP_PROFILE_SKIPPED */
typedef struct epp_profile_handler {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [worker] Called in rounds; decisions[profile_count], all 0 at entry. Profiles told to run are
   * run, then it is called again; a round without EPP_DECIDE_RUN is the last. A profile that has
   * been run is not run again. `in` is every candidate of the request. */
  epp_status (*choose)(void* self, const epp_call* call, const epp_scheduling* so_far,
                       const epp_candidates* in, int32_t* decisions, epp_error* err) EPP_NOEXCEPT;
  /* [worker] Names the primary profile, whose targets go to the proxy. An error ends the request.
   */
  epp_status (*conclude)(void* self, const epp_call* call, const epp_scheduling* done,
                         const epp_candidates* in, uint32_t* primary, epp_error* err) EPP_NOEXCEPT;
  /* [config] May this handler work with the given profiles? Called once, after create. */
  epp_status (*check)(void* self, const epp_str* names, uint32_t profile_count,
                      epp_error* err) EPP_NOEXCEPT;
} epp_profile_handler;

/* ---- Interfaces: the life of a request ------------------------------------------------------ */

/* "epp.producer/1". Computes attributes for one request before it is scheduled. */
#define EPP_PRODUCER_ID "epp.producer/1"
typedef struct epp_outputs {
  uint32_t struct_size;
  uint32_t reserved0;
  /* In the order of produces[], split by scope. Fixed-size types: values and validity are memory of
   * the host, values all 0, validity all 1; clear a bit to say "no value". List types: the plugin
   * sets values and offsets to memory from call->alloc (offsets[n + 1]). */
  epp_out_column* columns;         /* endpoint scope, n = in->count */
  epp_out_column* request_columns; /* request scope, n = 1 */
} epp_outputs;
typedef struct epp_producer {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [worker] On error its attributes have no value for this request, producers that depend on it
   * do not run, and the request goes on. */
  epp_status (*produce)(void* self, const epp_call* call, const epp_candidates* in,
                        const epp_outputs* out, epp_error* err) EPP_NOEXCEPT;
} epp_producer;

/* How a plugin says that an operation can be finished. May be copied. Frozen. */
typedef struct epp_completion {
  uint64_t token; /* never 0 */
  void* ctx;
  /* [any] Once is enough; once too often, or after the operation ended, does nothing. */
  void (*complete)(void* ctx, uint64_t token) EPP_NOEXCEPT;
} epp_completion;

#define EPP_ASYNC_FAIL_STOP 0u /* no later producer of the request runs */
#define EPP_ASYNC_FAIL_SKIP 1u /* only those that need its attributes do not run */

/* "epp.async-producer/1". A producer that waits for somebody else. Instead of epp.producer/1: while
 * it waits, the request is suspended and no thread is held up.
 *
 * start either writes the outputs, or begins an operation and leaves it in *operation. Then exactly
 * one of finish and cancel follows, on the worker of the request, and ends the operation: finish
 * after complete, cancel when the time is up or the request is over. Outputs and the call's memory
 * are there in start and finish only; between them an operation works in memory of its own. */
#define EPP_ASYNC_PRODUCER_ID "epp.async-producer/1"
typedef struct epp_async_producer {
  uint32_t struct_size;
  /* EPP_ASYNC_FAIL_*: what an error or the end of its time means for the producers after it. Either
   * way its attributes have no value for this request, and the request goes on. */
  uint32_t on_failure;
  /* [config] Once, after create: how long an operation may take, in ns; 0 is the host's 400 ms. */
  uint64_t (*timeout_ns)(void* self) EPP_NOEXCEPT;
  /* [worker] *operation is null at entry. call->deadline_ns is set. complete may be called before
   * start returns. On error there is no operation. */
  epp_status (*start)(void* self, const epp_call* call, const epp_candidates* in,
                      const epp_outputs* out, const epp_completion* done, void** operation,
                      epp_error* err) EPP_NOEXCEPT;
  /* [worker] Writes the outputs, with the request and the candidates of start. */
  epp_status (*finish)(void* self, void* operation, const epp_call* call, const epp_candidates* in,
                       const epp_outputs* out, epp_error* err) EPP_NOEXCEPT;
  void (*cancel)(void* self, void* operation) EPP_NOEXCEPT; /* [worker] */
} epp_async_producer;

/* "epp.request-header/1". Looks at a parsed request before any endpoint is known, and before it may
 * have to wait for its turn. */
#define EPP_REQUEST_HEADER_ID "epp.request-header/1"
typedef struct epp_request_header {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [worker] out->request_columns are as for epp_producer; out->columns is null, so no attribute of
   * endpoints can be produced here. For a type that is also a producer both are null: it writes its
   * attributes there. An error ends the request with its code and message. */
  epp_status (*request_header)(void* self, const epp_call* call, const epp_outputs* out,
                               epp_error* err) EPP_NOEXCEPT;
} epp_request_header;

/* "epp.screener/1". Says which endpoints a request may be served by at all, whatever the profiles
 * want. Runs before the producers, so the columns of what they make have no value yet. */
#define EPP_SCREENER_ID "epp.screener/1"
typedef struct epp_screener {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [worker] keep is as for epp_filter. Every screener is shown the same endpoints; those that all
   * of them keep are the candidates. When none is left the request is refused with 503. On error
   * all stay and the failure is counted. */
  epp_status (*screen)(void* self, const epp_call* call, const epp_candidates* in, uint64_t* keep,
                       epp_error* err) EPP_NOEXCEPT;
} epp_screener;

/* "epp.admitter/1". Says whether a request is served at all. Runs after the producers. */
#define EPP_ADMITTER_ID "epp.admitter/1"
typedef struct epp_admitter {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [worker] EPP_OK admits. EPP_INTERNAL and EPP_UNKNOWN mean that the plugin failed: counted, and
   * the request goes on. Any other code denies, with err->message for the client; the first denial
   * ends the request. `in` is every candidate of the request. */
  epp_status (*admit)(void* self, const epp_call* call, const epp_candidates* in,
                      epp_error* err) EPP_NOEXCEPT;
} epp_admitter;

/* Changes to what is sent on. Valid during the call that it is passed to. */
typedef struct epp_editor {
  uint32_t struct_size;
  uint32_t reserved0;
  void* ctx;
  /* Sets (or replaces) a header. name is lower case. Bytes are copied. */
  void (*set_header)(void* ctx, epp_str name, epp_str value) EPP_NOEXCEPT;
  void (*remove_header)(void* ctx, epp_str name) EPP_NOEXCEPT;
  /* Dynamic metadata for the proxy: a number or a text at name_space/key. */
  void (*set_metadata_number)(void* ctx, epp_str name_space, epp_str key,
                              double value) EPP_NOEXCEPT;
  void (*set_metadata_text)(void* ctx, epp_str name_space, epp_str key, epp_str value) EPP_NOEXCEPT;
} epp_editor;

/* "epp.pre-request/1". Runs when the targets are known, before the request is sent on. */
#define EPP_PRE_REQUEST_ID "epp.pre-request/1"
typedef struct epp_pre_request {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [worker] All hooks run; an error then fails the request with its code. `in` is every candidate
   * of the request, with this instance's columns. */
  epp_status (*pre_request)(void* self, const epp_call* call, const epp_scheduling* scheduling,
                            const epp_candidates* in, const epp_editor* edit,
                            epp_error* err) EPP_NOEXCEPT;
} epp_pre_request;

/* Token counts as the model server reports them. A count that is absent is -1. */
typedef struct epp_usage {
  uint32_t struct_size;
  uint32_t events; /* streamed events that carried output, in this chunk */
  int64_t prompt_tokens;
  int64_t completion_tokens;
  int64_t total_tokens;
  int64_t cached_tokens;
} epp_usage;

#define EPP_CHUNK_FIRST 1u
#define EPP_CHUNK_LAST 2u
#define EPP_CHUNK_SSE 4u /* the response is a stream of server-sent events */
#define EPP_SERVED_REPORTED                                             \
  8u /* the proxy named the endpoint that answered; else it is the pick \
      */

#define EPP_END_NONE 0
#define EPP_END_NATURAL 1
#define EPP_END_CLIENT_DISCONNECT 2
#define EPP_END_EVICTED 3
#define EPP_END_ERROR 4

/* The head or a part of the response. */
typedef struct epp_response_event {
  uint32_t struct_size;
  uint32_t flags;            /* EPP_CHUNK_* */
  int32_t http_status;       /* 0 when unknown */
  int32_t end;               /* EPP_END_*; set with EPP_CHUNK_LAST only */
  const epp_header* headers; /* of the response, lower-case names */
  uint32_t header_count;
  uint32_t reserved0;
  epp_str bytes;              /* this chunk, unless only the end was asked for */
  const epp_usage* usage;     /* accumulated so far, events included; null when not asked for */
  const epp_endpoint* served; /* the endpoint that answered, null when unknown */
} epp_response_event;

/* "epp.response/1". Watches the response. */
#define EPP_RESPONSE_ID "epp.response/1"
#define EPP_WANT_HEADERS 1u
#define EPP_WANT_FIRST 2u  /* the first body chunk */
#define EPP_WANT_CHUNKS 4u /* every body chunk */
#define EPP_WANT_END 8u    /* the end, exactly once for every request whose pre-request hooks ran */
#define EPP_WANT_USAGE 16u /* event.usage filled */
typedef struct epp_response {
  uint32_t struct_size;
  uint32_t wants; /* EPP_WANT_*: what nobody wants is not asked of the proxy */
  /* [worker] Errors are logged and change nothing. May set headers (unless null edit). */
  epp_status (*on_headers)(void* self, const epp_call* call, const epp_response_event* event,
                           const epp_editor* edit, epp_error* err) EPP_NOEXCEPT;
  /* [worker] Chunks come in order. edit carries metadata only, and only with the last chunk. */
  epp_status (*on_body)(void* self, const epp_call* call, const epp_response_event* event,
                        const epp_editor* edit, epp_error* err) EPP_NOEXCEPT;
} epp_response;

/* "epp.parser/1". Understands one API. */
#define EPP_PARSER_ID "epp.parser/1"
typedef struct epp_parser {
  uint32_t struct_size;
  uint32_t suffix_count;
  const char* const* suffixes;  /* path suffixes claimed, no outer slashes; none means fallback */
  const char* const* protocols; /* pool protocols served; none means any */
  uint32_t protocol_count;
  uint32_t reserved0;
  /* [worker] request has path, headers and body; 64 readable zero bytes follow the body, which must
   * not be changed. out is zeroed, max_output_tokens -1. An error is answered with 400 and its
   * message, or with the status of another code. */
  epp_status (*parse_request)(void* self, const epp_call* call, const epp_request* request,
                              epp_parsed* out, epp_error* err) EPP_NOEXCEPT;
  /* [worker] event is a chunk as received, or the whole body. Fills what this chunk carries; out
   * has all counts -1 and events 0. Errors are logged. */
  epp_status (*parse_response)(void* self, const epp_call* call, const epp_response_event* event,
                               epp_usage* out, epp_error* err) EPP_NOEXCEPT;
} epp_parser;

/* ---- Interfaces: the data layer ------------------------------------------------------------- */

#define EPP_SOURCE_TLS 1u
#define EPP_SOURCE_TLS_INSECURE 2u /* do not verify the server */
#define EPP_SOURCE_NODE_ADDRESS 4u /* fetch from the node, not the pod */

/* What to fetch from every endpoint. Strings live as long as the instance. */
typedef struct epp_fetch_plan {
  uint32_t struct_size;
  uint32_t flags; /* EPP_SOURCE_* */
  epp_str path;
  uint32_t port; /* 0: the endpoint's own */
  uint32_t reserved0;
  uint64_t interval_ns;    /* 0: the host's tick */
  uint64_t max_body_bytes; /* 0: the host's limit */
  epp_str payload;         /* what comes, e.g. "prometheus-text" or "openai-models" */
  epp_str ca_file;
  epp_str cert_file;
  epp_str key_file;
} epp_fetch_plan;

/* "epp.source/1". Says what to fetch; the host fetches. */
#define EPP_SOURCE_ID "epp.source/1"
typedef struct epp_source {
  uint32_t struct_size;
  uint32_t reserved0;
  epp_status (*plan)(void* self, epp_fetch_plan* out, epp_error* err) EPP_NOEXCEPT; /* [config] */
} epp_source;

/* Where a scraper writes. attr is an index into produces[]. Values replace the former ones; an
 * attribute that is not written keeps its value. Valid during the call. */
typedef struct epp_sink {
  uint32_t struct_size;
  uint32_t reserved0;
  void* ctx;
  void (*set_i64)(void* ctx, uint32_t attr, int64_t value) EPP_NOEXCEPT; /* also EPP_T_BOOL */
  void (*set_f64)(void* ctx, uint32_t attr, double value) EPP_NOEXCEPT;
  void (*set_symbol)(void* ctx, uint32_t attr, uint32_t symbol) EPP_NOEXCEPT;
  void (*set_symbols)(void* ctx, uint32_t attr, const uint32_t* symbols,
                      uint32_t count) EPP_NOEXCEPT;
  void (*clear)(void* ctx, uint32_t attr) EPP_NOEXCEPT; /* to "no value" */
} epp_sink;

typedef struct epp_scrape {
  uint32_t struct_size;
  uint32_t reserved0;
  const epp_endpoint* endpoint;
  epp_str body; /* of a 200 answer; 64 readable zero bytes follow it */
  epp_str content_type;
  uint64_t now_ns; /* monotonic */
} epp_scrape;

/* "epp.scraper/1". Turns fetched bytes into attributes of an endpoint. */
#define EPP_SCRAPER_ID "epp.scraper/1"
typedef struct epp_scraper {
  uint32_t struct_size;
  uint32_t reserved0;
  const char* payload; /* what it reads; must equal the source's */
  /* [scrape] What was written before an error stays. Returns OK when the page counts as a good
   * sample of the endpoint. */
  epp_status (*scrape)(void* self, const epp_scrape* in, const epp_sink* out,
                       epp_error* err) EPP_NOEXCEPT;
} epp_scraper;

/* "epp.pool-events/1". Told of endpoints before any request can pick them, and after the last frame
 * that had them is gone. Requests in flight may still name a removed endpoint. */
#define EPP_POOL_EVENTS_ID "epp.pool-events/1"
typedef struct epp_pool_events {
  uint32_t struct_size;
  uint32_t reserved0;
  void (*upserted)(void* self, const epp_endpoint* endpoint) EPP_NOEXCEPT; /* [pool] */
  void (*removed)(void* self, const epp_endpoint* endpoint) EPP_NOEXCEPT;  /* [pool] */
} epp_pool_events;

/* ---- Interfaces: general -------------------------------------------------------------------- */

/* "epp.attributes/1". For types whose attributes depend on their parameters; replaces the tables of
 * the type. Called after create; pointers live as long as the instance. */
#define EPP_ATTRIBUTES_ID "epp.attributes/1"
typedef struct epp_attributes {
  uint32_t struct_size;
  uint32_t reserved0;
  const epp_attr_spec* const* (*consumes)(void* self, uint32_t* count)EPP_NOEXCEPT; /* [config] */
  const epp_attr_spec* const* (*produces)(void* self, uint32_t* count)EPP_NOEXCEPT; /* [config] */
} epp_attributes;

/* "epp.readiness/1". */
#define EPP_READINESS_ID "epp.readiness/1"
typedef struct epp_readiness {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [any] EPP_OK, or EPP_UNAVAILABLE with the reason. Must be quick. */
  epp_status (*ready)(void* self, epp_error* err) EPP_NOEXCEPT;
} epp_readiness;

/* "epp.dump-state/1". State for people, as JSON; no prompt, no hash, no header value. */
#define EPP_DUMP_STATE_ID "epp.dump-state/1"
typedef struct epp_writer {
  uint32_t struct_size;
  uint32_t reserved0;
  void* ctx;
  void (*write)(void* ctx, epp_str text) EPP_NOEXCEPT;
} epp_writer;
typedef struct epp_dump_state {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [any] Writes one JSON value, at most 256 KiB. */
  epp_status (*dump)(void* self, const epp_writer* out, epp_error* err) EPP_NOEXCEPT;
} epp_dump_state;

/* "epp.state/1". What an instance has learned outlives it: when the code, parameters or bindings of
 * an instance change, a new one of the same name and type takes its place, and the host carries the
 * state of the old one over. The bytes never leave the process, so endpoint ids and interned
 * symbols in them keep their meaning; nothing else from the host does. An instance whose state
 * cannot be carried over starts empty, which never stops a reload and is reported as "state lost".
 */
#define EPP_STATE_ID "epp.state/1"
#define EPP_STATE_FOLLOWS 1u /* what the old instance still learns, or forgets, matters */
typedef struct epp_state {
  uint32_t struct_size;
  uint32_t version; /* of what save writes; its meaning is the type's own */
  uint32_t flags;   /* EPP_STATE_* */
  uint32_t reserved0;
  /* [config] Concurrent with [worker], [pool] and [scrape] calls; must not hold them up. Writes as
   * often as it likes, 1 GiB in all at most. Nothing written means nothing to carry. */
  epp_status (*save)(void* self, const epp_writer* out, epp_error* err) EPP_NOEXCEPT;
  /* [config] On the new instance, after it was told of the pool's endpoints and before its first
   * [worker] call; [pool] and [scrape] calls may be concurrent. version is the saver's: a loader
   * may read older ones, and refuses what it does not know. The bytes come from another build, so
   * they are not to be trusted. On error the instance must be as before the call.
   *
   * With EPP_STATE_FOLLOWS in both tables, save and load are repeated on the same two instances,
   * about every 100 ms, while requests that began on the old one still run, and once after the
   * last; [worker] calls are then concurrent. Each load replaces what earlier ones brought, empty
   * bytes included, and keeps what the new instance learned itself; save includes what is still
   * inherited. So counts of requests in flight stay whole: the old ones go down to zero there and
   * here.
   *
   * EPP_TYPE_SERIAL: every copy is carried to the one of the same worker; its save still runs
   * beside that worker's calls. */
  epp_status (*load)(void* self, uint32_t version, epp_str bytes, epp_error* err) EPP_NOEXCEPT;
} epp_state;

/* "epp.service/1". A plugin that runs something of its own, such as a listener. It may own threads;
 * stop joins them. When the config changes, the service of the former generation and that of the
 * new one run side by side until the former has drained. */
#define EPP_SERVICE_ID "epp.service/1"
typedef struct epp_service {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [config] When its generation is complete and before it serves. An error refuses the whole
   * config; stop is not called then. */
  epp_status (*start)(void* self, epp_error* err) EPP_NOEXCEPT;
  /* [config] Finish what runs, take nothing new; returns at once. The host calls stop when running
   * says 0, or at deadline_ns (monotonic), whatever comes first. */
  void (*drain)(void* self, uint64_t deadline_ns) EPP_NOEXCEPT;
  /* [config] Cuts what still runs; returns when nothing runs any more. */
  void (*stop)(void* self) EPP_NOEXCEPT;
  /* [any] How many pieces of work are under way: streams, requests. Null: not known, so a drain
   * lasts until its deadline. */
  uint64_t (*running)(void* self) EPP_NOEXCEPT;
} epp_service;

/* "epp.host.listener/1", a table of the host. Listening TCP sockets that stay open while services
 * come and go: whoever borrows an address that another service listens on gets the same socket, so
 * that connections wait in the kernel while one hands over to the other, and none is refused. ctx
 * is that of the epp_host. */
#define EPP_HOST_LISTENER_ID "epp.host.listener/1"
typedef struct epp_host_listener {
  uint32_t struct_size;
  uint32_t reserved0;
  /* [config] address is "IPv4:port" or "[IPv6]:port"; port 0 means any free one, and the same
   * address borrowed again then finds it. *fd is a descriptor of the caller's own, listening,
   * non-blocking, close-on-exec. It shares the socket, so close alone does not take it out of an
   * epoll set: remove it first. Errors: EPP_INVALID_ARGUMENT, EPP_UNAVAILABLE with the reason. */
  epp_status (*borrow)(void* ctx, epp_str address, int32_t* fd, epp_error* err) EPP_NOEXCEPT;
  /* [any] Closes a borrowed descriptor, and the socket with the last of them. */
  void (*give_back)(void* ctx, int32_t fd) EPP_NOEXCEPT;
} epp_host_listener;

/* ---- Well-known opaque attributes --------------------------------------------------------------
 */

/* Schema "epp.text/1": a text of a client, const epp_str*, request scope. Not a symbol, since
 * symbols are kept for ever. Lives as long as the request phase. */
#define EPP_TEXT_SCHEMA "epp.text/1"

/* Schema "epp.tokenized-prompt/1": the request's prompts as token ids (real or estimated),
 * attribute key "TokenizedPrompt", request scope. Lives as long as the request. */
#define EPP_TOKENIZED_PROMPT_SCHEMA "epp.tokenized-prompt/1"
#define EPP_MODALITY_IMAGE 1
#define EPP_MODALITY_AUDIO 2
#define EPP_MODALITY_VIDEO 3
typedef struct epp_media {
  int32_t modality;
  uint32_t prompt;
  uint64_t offset; /* in tokens, within the prompt */
  uint64_t length; /* in tokens */
  epp_str hash;
} epp_media;
typedef struct epp_tokenized_prompt {
  uint32_t struct_size;
  uint32_t prompt_count;
  const uint32_t* tokens;  /* all prompts, one after another */
  const uint64_t* offsets; /* [prompt_count + 1] into tokens */
  epp_str cache_salt;
  const epp_media* media; /* [media_count], by prompt and offset */
  uint32_t media_count;
  uint32_t estimated; /* 1: four bytes of text stand for a token */
} epp_tokenized_prompt;

/* ---- What a library offers ------------------------------------------------------------------ */

#define EPP_STABILITY_ALPHA 1u /* loads only where experimental plugins are allowed */
#define EPP_STABILITY_BETA 2u
#define EPP_STABILITY_STABLE 3u

#define EPP_TYPE_ANY_PARAMS 1u /* unknown parameters are accepted and ignored */
#define EPP_TYPE_SERIAL 2u     /* not thread-safe: the host makes one instance per worker */

/* A plugin type: what a config names. */
typedef struct epp_plugin_type {
  uint32_t struct_size;
  uint32_t flags;     /* EPP_TYPE_* */
  uint32_t stability; /* EPP_STABILITY_* */
  uint32_t param_count;
  uint32_t consumes_count;
  uint32_t produces_count;
  uint32_t alias_count;
  uint32_t interface_count;
  const char* name;              /* [a-z0-9-] */
  const char* doc;               /* one or two sentences */
  const char* deprecated;        /* null, or what to use instead; accepted with one warning */
  const char* const* aliases;    /* deprecated names of this type */
  const char* const* interfaces; /* ids that get_interface answers, for listings */
  const epp_param_spec* const* params;
  const epp_attr_spec* const* consumes;
  const epp_attr_spec* const* produces;
  /* [config] values are in the order of params. Returns the instance, or null with err filled. name
   * and values are valid during the call only; host until destroy returned. */
  void* (*create)(const epp_host* host, epp_str name, const epp_value* values,
                  epp_error* err)EPP_NOEXCEPT;
  void (*destroy)(void* self) EPP_NOEXCEPT; /* [config] */
  /* [config] A constant table, or null when the id is not implemented. */
  const void* (*get_interface)(void* self, const char* id)EPP_NOEXCEPT;
} epp_plugin_type;

#define EPP_MODULE_UNLOADABLE 1u /* dlclose really removes it; checked by the host */

typedef struct epp_module {
  uint32_t struct_size;
  uint32_t flags; /* EPP_MODULE_* */
  uint32_t abi_major;
  uint32_t abi_minor;     /* built against */
  uint32_t abi_min_minor; /* needed */
  uint32_t type_count;
  const char* name;      /* [a-z0-9][a-z0-9-]{0,62}, the file is NAME.so */
  const char* version;   /* of the library, semver */
  const char* toolchain; /* for bug reports */
  const epp_plugin_type* const* types;
} epp_module;

/* The one exported symbol. Returns a constant; must not allocate, log, start threads or touch the
 * host. Null means "not this host". */
typedef const epp_module* (*epp_plugin_entry_fn)(uint32_t host_major,
                                                 uint32_t host_minor)EPP_NOEXCEPT;
#define EPP_PLUGIN_ENTRY "epp_plugin_entry_v1"

/* The ELF note (section .note.epp, owner "EPP", type 1) that lets a host refuse a library before
 * any of its code runs. Frozen. */
typedef struct epp_abi_note {
  uint32_t owner_size; /* 4 */
  uint32_t desc_size;  /* 16 */
  uint32_t type;       /* 1 */
  char owner[4];       /* "EPP" */
  uint32_t abi_major;
  uint32_t abi_minor;
  uint32_t abi_min_minor;
  uint32_t flags; /* equal to epp_module.flags */
} epp_abi_note;

#define EPP_DEFINE_NOTE(flags_)                                                                   \
  __attribute__((section(".note.epp"), used, aligned(4))) static const epp_abi_note epp_note = {  \
      4u,    16u, 1u, {'E', 'P', 'P', 0}, EPP_ABI_MAJOR, EPP_ABI_TARGET_MINOR, EPP_ABI_MIN_MINOR, \
      flags_}

#ifdef __cplusplus
} /* extern "C" */
static_assert(sizeof(void*) == 8, "epp supports 64-bit platforms only");
#else
_Static_assert(sizeof(void*) == 8, "epp supports 64-bit platforms only");
#endif

#endif /* EPP_ABI_H_ */
