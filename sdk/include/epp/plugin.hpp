// The C++ layer over epp/abi.h: write a class, list it in EPP_LIBRARY, and it is a plugin.
//
//   class Shortest {
//    public:
//     static constexpr const char* kName = "shortest-queue";
//     static constexpr const char* kDoc = "Prefers endpoints with a short waiting queue.";
//     static constexpr std::array kParams{epp::Int("idleBelow", 0, 0, 1e6, "counts as empty")};
//     static constexpr std::array kConsumes{epp::Needs(epp::attr::kWaitingQueueSize)};
//     static epp::Result<Shortest> Create(const epp::Context& ctx) { return Shortest(ctx.i64(0)); }
//     epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) const;
//   };
//   EPP_LIBRARY("shortest", "1.0.0", Shortest)
//
// What a class can do follows from the members it has:
//
//   Filter(call, candidates, Keep&)                 epp.filter/1
//   Score(call, candidates, span<double>)           epp.scorer/1
//   Pick(call, candidates, totals, Picks&)          epp.picker/1
//   Choose(call, scheduling, candidates, decisions) and Conclude(..., uint32_t& primary)
//                                                   epp.profile-handler/1 (+ Check(names))
//   Decide(call, candidates, bool& yes)             epp.decider/1
//   RequestHeader(call, Outputs&)                   epp.request-header/1
//   Screen(call, candidates, Keep&)                 epp.screener/1
//   Produce(call, candidates, Outputs&)             epp.producer/1
//   Operation, StartProduce(call, candidates, Outputs&, Completion, shared_ptr<Operation>&) and
//   FinishProduce(Operation&, call, candidates, Outputs&)
//                                                   epp.async-producer/1 (+ CancelProduce,
//                                                   ProduceTimeoutNs, kOnProduceFailure)
//   Admit(call, candidates), an error denies        epp.admitter/1
//   PreRequest(call, scheduling, candidates, Editor&)  epp.pre-request/1
//   kWants, OnHeaders/OnBody(call, event, Editor&)  epp.response/1
//   kSuffixes, ParseRequest, ParseResponse          epp.parser/1
//   Plan(epp_fetch_plan&)                           epp.source/1
//   kPayload, Scrape(const Scrape&, Sink&)          epp.scraper/1
//   Upserted(endpoint), Removed(endpoint)           epp.pool-events/1
//   Consumes(), Produces() (spans or references)    epp.attributes/1
//   Ready() / Dump(std::string&)                    epp.readiness/1, epp.dump-state/1
//   kStateVersion, SaveState(std::string&) const, LoadState(version, string_view)
//                                                   epp.state/1 (+ kStateFollows)
//   Start(), Drain(deadline_ns), Stop()             epp.service/1 (+ Running() const)
//
// [worker] members run concurrently on one object; make them const, or synchronise. A class that
// cannot do either sets `static constexpr uint32_t kFlags = EPP_TYPE_SERIAL`. Exceptions that reach
// the border become EPP_INTERNAL with their text. Works with -fno-exceptions and -fno-rtti.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "epp/abi.h"

#if defined(__cpp_exceptions)
#include <exception>
#endif

namespace epp {

inline std::string_view View(epp_str s) { return s.size ? std::string_view(s.data, s.size) : ""; }
inline epp_str Str(std::string_view s) { return {s.data(), s.size()}; }

// A status with its text. OK is free.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(epp_status code, std::string message)  // NOLINT: implicit on purpose
      : error_(std::make_unique<Error>(Error{code, std::move(message)})) {}
  static Status Invalid(std::string message) { return {EPP_INVALID_ARGUMENT, std::move(message)}; }
  bool ok() const { return error_ == nullptr; }
  epp_status code() const { return error_ ? error_->code : EPP_OK; }
  std::string_view message() const { return error_ ? std::string_view(error_->message) : ""; }

 private:
  struct Error {
    epp_status code;
    std::string message;
  };
  std::unique_ptr<Error> error_;
};

// What Create returns: an object, or why there is none. T may be immovable: return a unique_ptr.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) requires std::move_constructible<T>  // NOLINT: implicit on purpose
      : value_(std::make_unique<T>(std::move(value))) {}
  Result(std::unique_ptr<T> value) : value_(std::move(value)) {}  // NOLINT
  Result(Status status) : status_(std::move(status)) {}           // NOLINT
  bool ok() const { return value_ != nullptr; }
  const Status& status() const { return status_; }
  std::unique_ptr<T> release() { return std::move(value_); }

 private:
  std::unique_ptr<T> value_;
  Status status_;
};

// ---- Declarations -----------------------------------------------------------------------------

// One parameter; build it with the functions below and refine it with the members.
struct Param {
  epp_param_spec spec{};
  constexpr Param Required() const { return With(EPP_PARAM_REQUIRED); }
  constexpr Param Deprecated() const { return With(EPP_PARAM_DEPRECATED); }
  constexpr Param Ignored() const { return With(EPP_PARAM_IGNORED); }
  constexpr Param Secret() const { return With(EPP_PARAM_SECRET); }
  constexpr Param Unset() const {  // no default: ctx.has(i) is false until the config sets it
    Param p = *this;
    p.spec.default_value.present = 0;
    return p;
  }
  // Of a Plugin(): what the named plugin must be, such as EPP_DECIDER_ID.
  constexpr Param Implementing(const char* interface_id) const {
    Param p = *this;
    p.spec.interface_id = interface_id;
    return p;
  }
  template <size_t N>
  constexpr Param OneOf(const char* const (&choices)[N]) const {
    Param p = *this;
    p.spec.choices = choices;
    p.spec.choice_count = N;
    return p;
  }

 private:
  constexpr Param With(uint32_t flag) const {
    Param p = *this;
    p.spec.flags |= flag;
    return p;
  }
};

namespace detail {
constexpr double kInf = __builtin_inf();
constexpr size_t Length(const char* s) { return s ? std::char_traits<char>::length(s) : 0; }
constexpr Param MakeParam(int32_t type, const char* name, const char* doc, double min, double max) {
  Param p;
  p.spec.struct_size = sizeof(epp_param_spec);
  p.spec.type = type;
  p.spec.name = name;
  p.spec.doc = doc;
  p.spec.min = min;
  p.spec.max = max;
  p.spec.default_value.type = type;
  p.spec.default_value.present = 1;
  return p;
}
constexpr Param MakeInt(int32_t type, const char* name, int64_t def, double min, double max,
                        const char* doc) {
  Param p = MakeParam(type, name, doc, min, max);
  p.spec.default_value.v.i64 = def;
  return p;
}
constexpr Param MakeText(int32_t type, const char* name, const char* def, const char* doc) {
  Param p = MakeParam(type, name, doc, -kInf, kInf);
  p.spec.default_value.v.str = epp_str{def, Length(def)};
  p.spec.default_value.present = def != nullptr;
  return p;
}
}  // namespace detail

constexpr Param Bool(const char* name, bool def, const char* doc) {
  return detail::MakeInt(EPP_P_BOOL, name, def, 0, 1, doc);
}
constexpr Param Int(const char* name, int64_t def, double min, double max, const char* doc) {
  return detail::MakeInt(EPP_P_I64, name, def, min, max, doc);
}
constexpr Param Float(const char* name, double def, double min, double max, const char* doc) {
  Param p = detail::MakeParam(EPP_P_F64, name, doc, min, max);
  p.spec.default_value.v.f64 = def;
  return p;
}
// def in nanoseconds, min and max in seconds.
constexpr Param Duration(const char* name, int64_t def_ns, double min_s, double max_s,
                         const char* doc) {
  return detail::MakeInt(EPP_P_DURATION, name, def_ns, min_s, max_s, doc);
}
// A null default means unset.
constexpr Param String(const char* name, const char* def, const char* doc) {
  return detail::MakeText(EPP_P_STR, name, def, doc);
}
constexpr Param Plugin(const char* name, const char* def, const char* doc) {
  return detail::MakeText(EPP_P_PLUGIN, name, def, doc);
}
constexpr Param Json(const char* name, const char* doc) {
  return detail::MakeText(EPP_P_JSON, name, nullptr, doc);
}
constexpr Param StringList(const char* name, const char* doc) {
  return detail::MakeParam(EPP_P_STR_LIST, name, doc, -detail::kInf, detail::kInf);
}

// One attribute; build it with Needs, Uses or Makes.
struct Attribute {
  epp_attr_spec spec{};
  constexpr Attribute From(const char* producer_param) const {
    Attribute a = *this;
    a.spec.producer_param = producer_param;
    return a;
  }
  constexpr Attribute Optional() const {
    Attribute a = *this;
    a.spec.flags |= EPP_ATTR_OPTIONAL;
    return a;
  }
  constexpr Attribute TypeNamed() const {
    Attribute a = *this;
    a.spec.flags |= EPP_ATTR_TYPE_NAMED;
    return a;
  }
};

// What an attribute is, apart from who uses it.
struct AttributeKind {
  const char* key;
  int32_t type;
  uint32_t scope = EPP_SCOPE_ENDPOINT;
  const char* producer = nullptr;
  const char* schema = nullptr;
};

constexpr Attribute Needs(const AttributeKind& k) {
  return {{sizeof(epp_attr_spec), k.type, k.scope, 0, k.key, k.producer, nullptr, k.schema}};
}
constexpr Attribute Uses(const AttributeKind& k) { return Needs(k).Optional(); }
constexpr Attribute Makes(const AttributeKind& k) {
  return {{sizeof(epp_attr_spec), k.type, k.scope, 0, k.key, nullptr, nullptr, k.schema}};
}

// The attributes that plugins of this project exchange.
namespace attr {
inline constexpr const char* kCore = "core-metrics-extractor";
inline constexpr const char* kApprox = "approx-prefix-cache-producer";
inline constexpr const char* kLoad = "inflight-load-producer";
// Requests; fraction 0..1; adapter names; tokens; blocks.
inline constexpr AttributeKind kWaitingQueueSize{"WaitingQueueSize", EPP_T_I64, 1, kCore};
inline constexpr AttributeKind kRunningRequestsSize{"RunningRequestsSize", EPP_T_I64, 1, kCore};
inline constexpr AttributeKind kKvCacheUsage{"KVCacheUsagePercent", EPP_T_F64, 1, kCore};
inline constexpr AttributeKind kActiveModels{"ActiveModels", EPP_T_SYMBOL_LIST, 1, kCore};
inline constexpr AttributeKind kWaitingModels{"WaitingModels", EPP_T_SYMBOL_LIST, 1, kCore};
inline constexpr AttributeKind kMaxActiveModels{"MaxActiveModels", EPP_T_I64, 1, kCore};
inline constexpr AttributeKind kCacheBlockSize{"CacheBlockSize", EPP_T_I64, 1, kCore};
inline constexpr AttributeKind kCacheNumBlocks{"CacheNumBlocks", EPP_T_I64, 1, kCore};
// Prefix match of the request on each endpoint, in blocks of kPrefixBlockSize tokens.
inline constexpr AttributeKind kPrefixMatchBlocks{"PrefixCacheMatchInfoDataKey.matchBlocks",
                                                  EPP_T_I64, 1, kApprox};
inline constexpr AttributeKind kPrefixTotalBlocks{"PrefixCacheMatchInfoDataKey.totalBlocks",
                                                  EPP_T_I64, 2, kApprox};
inline constexpr AttributeKind kPrefixBlockSize{"PrefixCacheMatchInfoDataKey.blockSizeTokens",
                                                EPP_T_I64, 2, kApprox};
// Requests and tokens this process has sent to an endpoint and that have not ended there.
inline constexpr AttributeKind kInflightRequests{"InFlightLoadDataKey.requests", EPP_T_I64, 1,
                                                 kLoad};
inline constexpr AttributeKind kInflightTokens{"InFlightLoadDataKey.tokens", EPP_T_I64, 1, kLoad};
inline constexpr AttributeKind kUncachedRequestTokens{"UncachedRequestTokensDataKey", EPP_T_I64, 1,
                                                      kLoad};
inline constexpr AttributeKind kTokenizedPrompt{"TokenizedPrompt", EPP_T_OPAQUE, 2,
                                                "token-producer", EPP_TOKENIZED_PROMPT_SCHEMA};
// Provided by the host.
inline constexpr AttributeKind kMetricsAge{"metrics-age-ns", EPP_T_I64, 1, nullptr};
}  // namespace attr

// ---- What Create gets -------------------------------------------------------------------------

// Host services. Cheap to copy; valid until the instance is destroyed.
class Host {
 public:
  explicit Host(const epp_host* host = nullptr) : h_(host) {}
  uint32_t workers() const { return h_->worker_count; }
  uint64_t mono_ns() const { return h_->mono_ns(h_->ctx); }
  uint64_t unix_ns() const { return h_->unix_ns(h_->ctx); }
  uint64_t random_u64() const { return h_->random_u64(h_->ctx); }
  // Uniform in [0, 1).
  double random_unit() const { return static_cast<double>(random_u64() >> 11) * 0x1.0p-53; }
  uint32_t Intern(std::string_view text) const { return h_->intern(h_->ctx, Str(text)); }
  uint32_t Find(std::string_view text) const { return h_->find(h_->ctx, Str(text)); }
  std::string_view Text(uint32_t symbol) const { return View(h_->symbol_text(h_->ctx, symbol)); }
  bool LogEnabled(int32_t level) const { return h_->log_enabled(h_->ctx, level) != 0; }
  void Log(int32_t level, std::string_view message) const {
    if (LogEnabled(level)) h_->log(h_->ctx, level, Str(message));
  }
  // A further table of the host, or null when this host has none of that id.
  template <class Table>
  const Table* Extension(const char* id) const {
    return static_cast<const Table*>(h_->get_extension(h_->ctx, id));
  }
  const epp_host* raw() const { return h_; }

 private:
  const epp_host* h_;
};

// The host's timers (epp.host.timer/1). `fn` runs on the host's I/O thread and must not block; when
// the instance ends it is dropped instead.
class Timers {
 public:
  explicit Timers(Host host)
      : t_(static_cast<const epp_host_timer*>(
            host.raw()->get_extension(host.raw()->ctx, EPP_HOST_TIMER_ID))) {}
  // False on a host that has none.
  bool ok() const { return t_ != nullptr; }
  // The timer's number; 0 when it could not be set.
  template <class F>
  uint64_t At(uint64_t mono_ns, F fn) const {
    if (!ok()) return 0;
    auto box = std::make_unique<F>(std::move(fn));
    const uint64_t timer = t_->set(
        t_->ctx, mono_ns,
        [](void* arg, epp_status status) noexcept {
          const std::unique_ptr<F> f(static_cast<F*>(arg));
          if (status == EPP_OK) (*f)();
        },
        box.get());
    if (timer != 0) (void)box.release();
    return timer;
  }

 private:
  const epp_host_timer* t_;
};

// The host's HTTP client (epp.host.http/1). `fn` gets a const epp_http_response& on the host's I/O
// thread and must not block; when the instance ends it is dropped instead.
class Http {
 public:
  explicit Http(Host host)
      : h_(static_cast<const epp_host_http*>(
            host.raw()->get_extension(host.raw()->ctx, EPP_HOST_HTTP_ID))) {}
  bool ok() const { return h_ != nullptr; }
  template <class F>
  Status Send(const epp_http_request& request, F fn) const {
    if (!ok()) return {EPP_UNIMPLEMENTED, "this host has no HTTP client"};
    auto box = std::make_unique<F>(std::move(fn));
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    const uint64_t exchange = h_->send(
        h_->ctx, &request,
        [](void* arg, const epp_http_response* response) noexcept {
          const std::unique_ptr<F> f(static_cast<F*>(arg));
          if (response->status != EPP_CANCELLED) (*f)(*response);
        },
        box.get(), &err);
    if (exchange == 0) return {err.code == EPP_OK ? EPP_UNAVAILABLE : err.code, err.message};
    (void)box.release();
    return {};
  }

 private:
  const epp_host_http* h_;
};

// A metric and one resolved series of it. Register in Create.
class Series {
 public:
  Series() = default;
  Series(const epp_host* host, uint64_t id) : host_(host), id_(id) {}
  void Add(double value) const {
    if (id_) host_->metric_add(host_->ctx, id_, value);
  }

 private:
  const epp_host* host_ = nullptr;
  uint64_t id_ = 0;
};

class Metric {
 public:
  Metric() = default;
  Metric(const epp_host* host, int32_t kind, std::string_view name, std::string_view help,
         std::span<const std::string_view> labels = {}, std::span<const double> bounds = {})
      : host_(host) {
    std::array<epp_str, 8> names{};
    const size_t n = std::min(labels.size(), names.size());
    for (size_t i = 0; i < n; ++i) names[i] = Str(labels[i]);
    epp_error err{sizeof(epp_error), 0, {}};
    id_ = host->metric_register(host->ctx, kind, Str(name), Str(help), names.data(),
                                static_cast<uint32_t>(n), bounds.data(),
                                static_cast<uint32_t>(bounds.size()), &err);
  }
  Series With(std::span<const std::string_view> values = {}) const {
    std::array<epp_str, 8> texts{};
    const size_t n = std::min(values.size(), texts.size());
    for (size_t i = 0; i < n; ++i) texts[i] = Str(values[i]);
    if (id_ == 0) return {};
    return {host_, host_->metric_series(host_->ctx, id_, texts.data(), static_cast<uint32_t>(n))};
  }

 private:
  const epp_host* host_ = nullptr;
  uint64_t id_ = 0;
};

// The instance's name and its parameters, by index into kParams. Valid during Create.
class Context {
 public:
  Context(const epp_host* host, epp_str name, const epp_value* values)
      : host_(host), name_(name), values_(values) {}
  Host host() const { return Host(host_); }
  std::string_view name() const { return View(name_); }
  bool has(size_t i) const { return values_[i].present != 0; }
  bool flag(size_t i) const { return values_[i].v.i64 != 0; }
  int64_t i64(size_t i) const { return values_[i].v.i64; }
  double f64(size_t i) const { return values_[i].v.f64; }
  int64_t ns(size_t i) const { return values_[i].v.i64; }
  std::string_view str(size_t i) const { return has(i) ? View(values_[i].v.str) : ""; }
  std::span<const epp_str> list(size_t i) const {
    if (!has(i)) return {};
    return {values_[i].v.list.items, values_[i].v.list.count};
  }

 private:
  const epp_host* host_;
  epp_str name_;
  const epp_value* values_;
};

// ---- What calls get ---------------------------------------------------------------------------

// A fixed-size column. T must be the C type of the attribute (see epp_column).
template <class T>
class Column {
 public:
  Column(const epp_column& c, size_t n) : c_(&c), n_(c.values ? n : 0) {}
  bool empty() const { return n_ == 0; }
  size_t size() const { return n_; }
  T operator[](size_t i) const { return n_ ? static_cast<const T*>(c_->values)[i] : T{}; }
  bool has(size_t i) const {
    return n_ && (!c_->validity || (c_->validity[i / 64] >> (i % 64) & 1));
  }
  std::span<const T> values() const { return {static_cast<const T*>(c_->values), n_}; }

 private:
  const epp_column* c_;
  size_t n_;
};

// A list column: operator[] is the list of row i.
template <class T>
class ListColumn {
 public:
  ListColumn(const epp_column& c, size_t n) : c_(&c), n_(c.offsets ? n : 0) {}
  std::span<const T> operator[](size_t i) const {
    if (n_ == 0) return {};
    return {static_cast<const T*>(c_->values) + c_->offsets[i],
            c_->offsets[i + 1] - c_->offsets[i]};
  }

 private:
  const epp_column* c_;
  size_t n_;
};

class Call {
 public:
  explicit Call(const epp_call* call) : c_(call) {}
  const epp_request& request() const { return *c_->request; }
  uint32_t worker() const { return c_->worker; }
  uint64_t now_ns() const { return c_->now_ns; }
  template <class T>
  Column<T> column(size_t i) const {
    return {c_->request_columns[i], 1};
  }
  // The value of a header (lower-case name), or nothing.
  std::optional<std::string_view> header(std::string_view name) const {
    const std::span<const epp_header> headers(c_->request->headers, c_->request->header_count);
    for (const epp_header& h : headers) {
      if (View(h.name) == name) return View(h.value);
    }
    return std::nullopt;
  }
  // n default-constructed objects, never destroyed, that live until the request was sent on (in
  // response hooks: until the hook returns). Null when the request has used up its memory.
  template <class T>
  T* Alloc(size_t n = 1) const {
    return Make<T>(c_->alloc(c_->arena, n * sizeof(T), alignof(T)), n);
  }
  // The same until the last hook of the request, which may be minutes away: keep little.
  template <class T>
  T* Keep(size_t n = 1) const {
    return Make<T>(c_->keep(c_->arena, n * sizeof(T), alignof(T)), n);
  }
  // This instance's own pointer in this request; null at first.
  template <class T>
  T*& state() const {
    return *reinterpret_cast<T**>(c_->state);
  }
  const epp_call& raw() const { return *c_; }

 private:
  template <class T>
  static T* Make(void* memory, size_t n) {
    static_assert(std::is_trivially_destructible_v<T>);
    return memory ? new (memory) T[n]{} : nullptr;
  }

  const epp_call* c_;
};

class Candidates {
 public:
  explicit Candidates(const epp_candidates* in) : in_(in) {}
  size_t size() const { return in_->count; }
  const epp_endpoint& endpoint(size_t i) const { return *in_->endpoints[i]; }
  uint32_t slot(size_t i) const { return in_->slots[i]; }
  uint32_t row(size_t i) const { return in_->rows[i]; }
  template <class T>
  Column<T> column(size_t i) const {
    return {in_->columns[i], in_->count};
  }
  template <class T>
  ListColumn<T> list(size_t i) const {
    return {in_->columns[i], in_->count};
  }
  const epp_candidates& raw() const { return *in_; }

 private:
  const epp_candidates* in_;
};

// The label's value, or "" when the endpoint has no such label (then *present is false).
inline std::string_view Label(const epp_endpoint& e, std::string_view key,
                              bool* present = nullptr) {
  for (const epp_label& l : std::span(e.labels, e.label_count)) {
    if (View(l.key) == key) {
      if (present) *present = true;
      return View(l.value);
    }
  }
  if (present) *present = false;
  return "";
}

class Keep {
 public:
  Keep(uint64_t* words, size_t n) : words_(words), n_(n) {}
  void Set(size_t i) { words_[i / 64] |= uint64_t{1} << (i % 64); }
  void SetIf(size_t i, bool keep) { words_[i / 64] |= uint64_t{keep} << (i % 64); }
  void All() {
    for (size_t i = 0; i < n_; ++i) Set(i);
  }

 private:
  uint64_t* words_;
  size_t n_;
};

class Picks {
 public:
  Picks(uint32_t* picks, uint32_t* count) : picks_(picks), count_(count) { *count = 0; }
  void Add(uint32_t i) { picks_[(*count_)++] = i; }
  size_t size() const { return *count_; }

 private:
  uint32_t* picks_;
  uint32_t* count_;
};

class Scheduling {
 public:
  explicit Scheduling(const epp_scheduling* s) : s_(s) {}
  size_t size() const { return s_->profile_count; }
  std::string_view name(size_t i) const { return View(s_->names[i]); }
  const epp_profile_result& result(size_t i) const { return *s_->results[i]; }
  bool ok(size_t i) const { return result(i).state == EPP_PROFILE_OK; }
  uint32_t primary() const { return s_->primary; }
  // Index of the profile, or size() when there is none of that name.
  size_t Find(std::string_view profile) const {
    size_t i = 0;
    while (i < size() && name(i) != profile) ++i;
    return i;
  }

  // For profile handlers, in Choose and Conclude; elsewhere these do nothing. See epp_steering.
  // The answer of the decider that kParams[param] names, about a candidate of the request or none.
  bool Ask(size_t param, uint32_t row = EPP_NO_ROW) const {
    return steering() && steering()->ask(steering()->ctx, static_cast<uint32_t>(param), row) != 0;
  }
  // i counts the request-scope attributes of kProduces.
  template <class T>
  void Publish(size_t i, T value) const {
    if (steering() == nullptr) return;
    const epp_out_column& out = steering()->request_columns[i];
    static_cast<T*>(out.values)[0] = value;
    out.validity[0] |= 1;
  }
  void SetDestinationPort(uint32_t port) const {
    if (steering()) steering()->set_destination_port(steering()->ctx, port);
  }

 private:
  const epp_steering* steering() const {
    return EPP_HAS(s_, epp_scheduling, steering) ? s_->steering : nullptr;
  }
  const epp_scheduling* s_;
};

class Outputs {
 public:
  Outputs(const epp_outputs* out, size_t n) : out_(out), n_(n) {}
  // Values of endpoint-scope attribute i: zeroed, one per candidate.
  template <class T>
  std::span<T> column(size_t i) const {
    return {static_cast<T*>(out_->columns[i].values), n_};
  }
  template <class T>
  void Set(size_t i, T value) const {  // request scope
    static_cast<T*>(out_->request_columns[i].values)[0] = value;
  }
  // List attribute i: offsets[n + 1] and the items they lead to, both from Call::Alloc.
  void SetList(size_t i, uint32_t* items, uint32_t* offsets) const {
    out_->columns[i].values = items;
    out_->columns[i].offsets = offsets;
  }
  void ClearRequest(size_t i) const { out_->request_columns[i].validity[0] = 0; }
  void Clear(size_t i, size_t row) const {
    out_->columns[i].validity[row / 64] &= ~(uint64_t{1} << (row % 64));
  }

 private:
  const epp_outputs* out_;
  size_t n_;
};

// Says that the operation it was handed out for can be finished. Any thread, also too late.
class Completion {
 public:
  Completion() = default;
  explicit Completion(const epp_completion& c) : c_(c) {}
  void operator()() const {
    if (c_.complete) c_.complete(c_.ctx, c_.token);
  }

 private:
  epp_completion c_{};
};

class Editor {
 public:
  explicit Editor(const epp_editor* e) : e_(e) {}
  void SetHeader(std::string_view name, std::string_view value) const {
    if (e_) e_->set_header(e_->ctx, Str(name), Str(value));
  }
  void RemoveHeader(std::string_view name) const {
    if (e_) e_->remove_header(e_->ctx, Str(name));
  }
  void SetMetadata(std::string_view name_space, std::string_view key, double value) const {
    if (e_) e_->set_metadata_number(e_->ctx, Str(name_space), Str(key), value);
  }
  void SetMetadata(std::string_view name_space, std::string_view key,
                   std::string_view value) const {
    if (e_) e_->set_metadata_text(e_->ctx, Str(name_space), Str(key), Str(value));
  }

 private:
  const epp_editor* e_;
};

class Sink {
 public:
  explicit Sink(const epp_sink* s) : s_(s) {}
  void Set(uint32_t attr, std::integral auto v) const {
    s_->set_i64(s_->ctx, attr, static_cast<int64_t>(v));
  }
  void Set(uint32_t attr, std::floating_point auto v) const {
    s_->set_f64(s_->ctx, attr, static_cast<double>(v));
  }
  void SetSymbol(uint32_t attr, uint32_t symbol) const { s_->set_symbol(s_->ctx, attr, symbol); }
  void Set(uint32_t attr, std::span<const uint32_t> symbols) const {
    s_->set_symbols(s_->ctx, attr, symbols.data(), static_cast<uint32_t>(symbols.size()));
  }
  void Clear(uint32_t attr) const { s_->clear(s_->ctx, attr); }

 private:
  const epp_sink* s_;
};

}  // namespace epp

#include "epp/detail/trampolines.hpp"

// Defines the library: its name (the file is NAME.so), its version, and its plugin types.
#define EPP_LIBRARY(name_, version_, ...)                                                  \
  EPP_DEFINE_NOTE(0u);                                                                     \
  static constexpr epp_module epp_library_module = {                                       \
      sizeof(epp_module),                                                                  \
      0u,                                                                                  \
      EPP_ABI_MAJOR,                                                                       \
      EPP_ABI_TARGET_MINOR,                                                                \
      EPP_ABI_MIN_MINOR,                                                                   \
      static_cast<uint32_t>(::epp::detail::Types<__VA_ARGS__>::kTable.size()),             \
      name_,                                                                               \
      version_,                                                                            \
      __VERSION__,                                                                         \
      ::epp::detail::Types<__VA_ARGS__>::kTable.data()};                                   \
  extern "C" __attribute__((visibility("default"))) const epp_module* epp_plugin_entry_v1( \
      uint32_t host_major, uint32_t host_minor) EPP_NOEXCEPT;                              \
  const epp_module* epp_plugin_entry_v1(uint32_t host_major, uint32_t) EPP_NOEXCEPT {      \
    return host_major == EPP_ABI_MAJOR ? &epp_library_module : nullptr;                    \
  }
