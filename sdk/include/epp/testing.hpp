// A fake host for unit tests of plugins: no server, no config file, no network.
//
//   epp::test::Pool pool(3);
//   pool.Set(epp::attr::kWaitingQueueSize, {0, 5, 10});
//   auto scorer = epp::test::Make<Shortest>({{"idleBelow", 4}});        // a class, or
//   auto scorer = epp::test::Make("shortest-queue", {{"idleBelow", 4}});  // a type of the
//   plugin.cc EXPECT_THAT(scorer.Score(pool), ElementsAre(1.0, 0.5, 0.0));          // linked into
//   this test
//
// Everything goes through the C tables, as in the real host, so a built library can be tested the
// same way: epp::test::Library lib("shortest.so"); auto scorer = lib.Make("shortest-queue").
//
// Which attributes a plugin gets follows from what it declares; a pool or a request may hold more.
// An attribute that is required and not set has no value on any endpoint; one that is optional and
// not set is a null column. "label/NAME" comes from the endpoints' labels, "metrics-age-ns" is 0.
//
// EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), IsEmpty()) finds mistakes in
// the declarations. Give the output of a producer to its consumers with Produced::AddTo.
//
// When a call fails its result is empty and status() holds the error. Wrong use (an interface the
// type lacks, a row the pool lacks) and breaches of the contract throw std::logic_error. Calls may
// run concurrently on one instance when each has its own Request and `Worker`. Needs C++20, no test
// framework; the values print themselves in GoogleTest.
#pragma once

#include <dlfcn.h>

#include <chrono>
#include <functional>

#include "epp/detail/testing_columns.hpp"
#include "epp/detail/testing_io.hpp"
#include "epp/detail/testing_lint.hpp"
#include "epp/detail/testing_request.hpp"
#include "epp/detail/testing_steering.hpp"

// Defined by EPP_LIBRARY when the test links (or includes) the plugin's source.
extern "C" __attribute__((weak)) const epp_module* epp_plugin_entry_v1(
    uint32_t host_major, uint32_t host_minor) EPP_NOEXCEPT;

namespace epp::test {

// What a hook changed. A removed header is nullopt; metadata is by "namespace/key".
struct Edits {
  std::map<std::string, std::optional<std::string>> headers;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
};

// Attributes by key, as a producer or a scraper wrote them.
struct Produced {
  std::map<std::string, std::vector<Cell>> columns;  // endpoint scope, one cell per candidate
  std::map<std::string, Cell> request;               // request scope, or of a scraped endpoint

  const std::vector<Cell>& column(const AttributeName& name) const {
    const auto it = columns.find(name.text());
    if (it == columns.end()) Misuse("attribute \"" + name.text() + "\" was not produced");
    return it->second;
  }
  bool has(const AttributeName& name) const {
    return columns.count(name.text()) != 0 || request.count(name.text()) != 0;
  }
  // As the host does between a producer (of all endpoints of the pool) and its consumers.
  void AddTo(Pool& pool, Request& to) const {
    for (const auto& [key, cells] : columns) pool.Set(key, cells);
    for (const auto& [key, cell] : request) to.Set(key, cell);
  }
  // None when it was not written, or cleared.
  Cell value(const AttributeName& name) const {
    const auto it = request.find(name.text());
    return it == request.end() ? Cell() : it->second;
  }
};

// What a profile handler did with a request. See Instance::Schedule.
struct Schedule {
  std::vector<std::vector<std::string>> rounds;  // the profiles that ran, round by round
  std::vector<std::string> skipped;
  std::string primary;  // empty on error
};

// One configured plugin, created and destroyed through its type record.
class Instance {
 public:
  Instance(const epp_plugin_type& type, const Params& params, Host* host = nullptr,
           std::string_view name = "under-test")
      : type_(type),
        own_host_(host ? nullptr : std::make_unique<Host>()),
        host_(host ? host : own_host_.get()) {
    const DecodedParams decoded(type, params);
    status_ = decoded.status().code();
    error_ = decoded.status().message();
    if (status_ != EPP_OK) return;
    epp_error err = NewError();
    host_->SetCreating(true);
    self_ = type.create(host_->raw(), Str(name), decoded.values(), &err);
    host_->SetCreating(false);
    if (self_ == nullptr) Note(err.code == EPP_OK ? EPP_INTERNAL : err.code, err);
    if (self_ != nullptr) LoadAttributes(decoded);
  }
  ~Instance() {
    if (self_) type_.destroy(self_);
  }
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  // False when create (or the check of the parameters before it) failed; see error().
  bool ok() const { return self_ != nullptr; }
  // Of the last call, or of create.
  epp_status status() const {
    const std::lock_guard lock(mu_);
    return status_;
  }
  std::string error() const {
    const std::lock_guard lock(mu_);
    return error_;
  }
  Host& host() { return *host_; }
  const epp_plugin_type& type() const { return type_; }
  bool Has(const char* interface_id) { return type_.get_interface(Self(), interface_id); }

  // ---- scheduling ----

  // Which of the candidates stay, as positions in `in`.
  std::vector<size_t> Filter(const Selection& in, Request& request) {
    const auto& table = Table<epp_filter>(EPP_FILTER_ID);
    BoundCall call = Bind(in, request);
    const auto keep = Exact<uint64_t>((in.rows().size() + 63) / 64);
    std::vector<size_t> out;
    if (!Run([&](epp_error* e) {
          return table.filter(Self(), call.call(), call.candidates(), keep.get(), e);
        })) {
      return out;
    }
    for (size_t i = 0; i < in.rows().size(); ++i) {
      if (keep[i / 64] >> (i % 64) & 1) out.push_back(i);
    }
    return out;
  }
  std::vector<size_t> Filter(const Selection& in) {
    Request request;
    return Filter(in, request);
  }

  // As the scorer wrote them: not clamped.
  std::vector<double> Score(const Selection& in, Request& request) {
    const auto& table = Table<epp_scorer>(EPP_SCORER_ID);
    BoundCall call = Bind(in, request);
    const size_t n = in.rows().size();
    const auto out = Exact<double>(n);
    if (!Run([&](epp_error* e) {
          return table.score(Self(), call.call(), call.candidates(), out.get(), e);
        })) {
      return {};
    }
    return {out.get(), out.get() + n};
  }
  std::vector<double> Score(const Selection& in) {
    Request request;
    return Score(in, request);
  }

  // Positions in `in`, best first. totals has one value per candidate.
  std::vector<size_t> Pick(const Selection& in, const std::vector<double>& totals,
                           Request& request) {
    const auto& table = Table<epp_picker>(EPP_PICKER_ID);
    const size_t n = in.rows().size();
    if (totals.size() != n || n == 0) Misuse("Pick needs candidates and a total for each");
    BoundCall call = Bind(in, request);
    const auto sums = Exact<double>(n);
    std::copy(totals.begin(), totals.end(), sums.get());
    const auto picks = Exact<uint32_t>(n);
    uint32_t count = 0;
    if (!Run([&](epp_error* e) {
          return table.pick(Self(), call.call(), call.candidates(), sums.get(), picks.get(), &count,
                            e);
        })) {
      return {};
    }
    if (count > n) Misuse("the picker reports more picks than candidates");
    std::vector<size_t> out(picks.get(), picks.get() + count);
    std::vector<size_t> sorted = out;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
      Misuse("the picker picked a candidate twice");
    }
    if (!sorted.empty() && sorted.back() >= n) Misuse("the picker picked what is no candidate");
    return out;
  }
  std::vector<size_t> Pick(const Selection& in, const std::vector<double>& totals) {
    Request request;
    return Pick(in, totals, request);
  }

  // May the handler work with these profiles?
  epp::Status Check(const Profiles& profiles) {
    const auto& table = Table<epp_profile_handler>(EPP_PROFILE_HANDLER_ID);
    const std::vector<epp_str> names = profiles.name_views();
    Run([&](epp_error* e) {
      return table.check(Self(), names.data(), static_cast<uint32_t>(names.size()), e);
    });
    return AsStatus();
  }
  // One round: a decision (EPP_DECIDE_*) per profile. Deciders answer as the request says, and what
  // the handler publishes becomes an attribute of the request.
  std::vector<int32_t> Choose(const Profiles& so_far, const Selection& in, Request& request) {
    const auto& table = Table<epp_profile_handler>(EPP_PROFILE_HANDLER_ID);
    BoundCall call = Bind(in, request);
    const Steering steering(type_, produces_, in.rows().size(), request);
    const Profiles::Built built(so_far, in, steering.raw());
    const auto decisions = Exact<int32_t>(so_far.size());
    if (!Run([&](epp_error* e) {
          return table.choose(Self(), call.call(), built.raw(), call.candidates(), decisions.get(),
                              e);
        })) {
      return {};
    }
    steering.Publish(*host_);
    return {decisions.get(), decisions.get() + so_far.size()};
  }
  // The index of the primary profile.
  std::optional<uint32_t> Conclude(const Profiles& done, const Selection& in, Request& request) {
    const auto& table = Table<epp_profile_handler>(EPP_PROFILE_HANDLER_ID);
    BoundCall call = Bind(in, request);
    const Steering steering(type_, produces_, in.rows().size(), request);
    const Profiles::Built built(done, in, steering.raw());
    auto primary = static_cast<uint32_t>(done.size());
    if (!Run([&](epp_error* e) {
          return table.conclude(Self(), call.call(), built.raw(), call.candidates(), &primary, e);
        })) {
      return std::nullopt;
    }
    steering.Publish(*host_);
    return primary;
  }
  // What a decider says about the candidate, or about none.
  bool Decide(const Selection& in, Request& request) {
    const auto& table = Table<epp_decider>(EPP_DECIDER_ID);
    if (in.rows().size() > 1) Misuse("a decider is asked about one candidate, or none");
    BoundCall call = Bind(in, request);
    uint32_t yes = 0;
    const bool ok = Run([&](epp_error* e) {
      return table.decide(Self(), call.call(), call.candidates(), &yes, e);
    });
    return ok && yes != 0;
  }
  // The whole loop. results says what a profile that runs gives: rows, best first; a profile that
  // is not listed fails. `profiles` ends with the outcomes and the primary.
  test::Schedule Schedule(Profiles& profiles,
                          const std::map<std::string, std::vector<uint32_t>>& results,
                          const Selection& in, Request& request) {
    test::Schedule out;
    for (size_t round = 0; round <= profiles.size(); ++round) {
      const std::vector<int32_t> decisions = Choose(profiles, in, request);
      if (status() != EPP_OK) return out;
      std::vector<std::string> ran;
      for (size_t i = 0; i < decisions.size(); ++i) {
        const std::string& name = profiles.name(i);
        if (profiles.state(i) == EPP_PROFILE_OK || profiles.state(i) == EPP_PROFILE_FAILED) {
          continue;
        }
        if (decisions[i] == EPP_DECIDE_SKIP && profiles.state(i) == EPP_PROFILE_NOT_RUN) {
          profiles.Skipped(name);
          out.skipped.push_back(name);
        } else if (decisions[i] == EPP_DECIDE_RUN) {
          const auto it = results.find(name);
          profiles.Ok(name, it == results.end() ? std::vector<uint32_t>{} : it->second);
          ran.push_back(name);
        }
      }
      if (ran.empty()) break;
      out.rounds.push_back(std::move(ran));
    }
    const std::optional<uint32_t> primary = Conclude(profiles, in, request);
    if (!primary) return out;
    if (*primary >= profiles.size()) Misuse("the handler named no primary profile");
    out.primary = profiles.name(*primary);
    profiles.Primary(out.primary);
    return out;
  }

  // ---- the life of a request ----

  // The request attributes it sets.
  Produced RequestHeader(Request& request) {
    const auto& table = Table<epp_request_header>(EPP_REQUEST_HEADER_ID);
    BoundCall call = Bind(Selection(no_pool_), request);
    const bool producer = Has(EPP_PRODUCER_ID) || Has(EPP_ASYNC_PRODUCER_ID);
    OutputColumns outputs(producer ? std::vector<const epp_attr_spec*>() : produces_, 0);
    epp_outputs shown = *outputs.raw();
    shown.columns = nullptr;
    if (producer) shown.request_columns = nullptr;
    if (!Run([&](epp_error* e) { return table.request_header(Self(), call.call(), &shown, e); })) {
      return {};
    }
    Produced out;
    outputs.Read(*host_, out.columns, out.request);
    return out;
  }
  // Which of the endpoints may serve the request, as positions in `in`.
  std::vector<size_t> Screen(const Selection& in, Request& request) {
    const auto& table = Table<epp_screener>(EPP_SCREENER_ID);
    BoundCall call = Bind(in, request);
    const auto keep = Exact<uint64_t>((in.rows().size() + 63) / 64);
    std::vector<size_t> out;
    if (!Run([&](epp_error* e) {
          return table.screen(Self(), call.call(), call.candidates(), keep.get(), e);
        })) {
      return out;
    }
    for (size_t i = 0; i < in.rows().size(); ++i) {
      if (keep[i / 64] >> (i % 64) & 1) out.push_back(i);
    }
    return out;
  }
  // OK, or why the request is not admitted.
  epp::Status Admit(const Selection& in, Request& request) {
    const auto& table = Table<epp_admitter>(EPP_ADMITTER_ID);
    BoundCall call = Bind(in, request);
    Run([&](epp_error* e) { return table.admit(Self(), call.call(), call.candidates(), e); });
    return AsStatus();
  }
  // A producer that waits: what came of its start. One of Finish and Cancel ends it, at the latest
  // the destructor. The instance, the selection's pool and the request outlive it.
  class Operation {
   public:
    Operation(Instance& instance, const Selection& in, Request& request)
        : instance_(instance),
          table_(instance.Table<epp_async_producer>(EPP_ASYNC_PRODUCER_ID)),
          call_(instance.Bind(in, request)),
          outputs_(instance.produces_, in.rows().size()) {
      const epp_completion done = signal_.completion();
      started_ = instance_.Run([&](epp_error* e) {
        return table_.start(instance_.Self(), call_.call(), call_.candidates(), outputs_.raw(),
                            &done, &operation_, e);
      });
      if (!started_ && operation_ != nullptr) Misuse("start failed and left an operation");
    }
    ~Operation() {
      if (pending()) Cancel();
    }
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    // It has begun and not ended.
    bool pending() const { return operation_ != nullptr; }
    bool completed() { return signal_.Wait(std::chrono::seconds(0)); }
    // What it wrote, once it is complete; waits for that for at most `patience` of real time. Empty
    // on error.
    Produced Finish(std::chrono::nanoseconds patience = std::chrono::seconds(20)) {
      if (pending()) {
        if (!signal_.Wait(patience)) Misuse("the operation was not completed");
        void* const operation = std::exchange(operation_, nullptr);
        started_ = instance_.Run([&](epp_error* e) {
          return table_.finish(instance_.Self(), operation, call_.call(), call_.candidates(),
                               outputs_.raw(), e);
        });
      }
      Produced out;
      if (started_) outputs_.Read(*instance_.host_, out.columns, out.request);
      return out;
    }
    void Cancel() { table_.cancel(instance_.Self(), std::exchange(operation_, nullptr)); }

   private:
    Instance& instance_;
    const epp_async_producer& table_;
    BoundCall call_;
    OutputColumns outputs_;
    Signal signal_;
    void* operation_ = nullptr;
    bool started_ = false;
  };

  // Of either kind of producer; one that waits is waited for.
  Produced Produce(const Selection& in, Request& request) {
    if (Has(EPP_ASYNC_PRODUCER_ID)) return Operation(*this, in, request).Finish();
    const auto& table = Table<epp_producer>(EPP_PRODUCER_ID);
    BoundCall call = Bind(in, request);
    OutputColumns outputs(produces_, in.rows().size());
    if (!Run([&](epp_error* e) {
          return table.produce(Self(), call.call(), call.candidates(), outputs.raw(), e);
        })) {
      return {};
    }
    Produced out;
    outputs.Read(*host_, out.columns, out.request);
    return out;
  }
  Edits PreRequest(const Profiles& profiles, const Selection& in, Request& request) {
    const auto& table = Table<epp_pre_request>(EPP_PRE_REQUEST_ID);
    BoundCall call = Bind(in, request);
    const Profiles::Built built(profiles, in);
    Edits edits;
    const epp_editor editor = MakeEditor(edits);
    Run([&](epp_error* e) {
      return table.pre_request(Self(), call.call(), built.raw(), call.candidates(), &editor, e);
    });
    return edits;
  }
  // EPP_WANT_* of epp.response/1.
  uint32_t Wants() { return Table<epp_response>(EPP_RESPONSE_ID).wants; }
  Edits OnHeaders(Event& event, Request& request) {
    return Respond(event, request, Table<epp_response>(EPP_RESPONSE_ID).on_headers);
  }
  Edits OnBody(Event& event, Request& request) {
    return Respond(event, request, Table<epp_response>(EPP_RESPONSE_ID).on_body);
  }
  // The views of the result live as long as the request and its body.
  std::optional<epp_parsed> ParseRequest(Request& request) {
    const auto& table = Table<epp_parser>(EPP_PARSER_ID);
    BoundCall call = Bind(Selection(no_pool_), request);
    const epp_request* r = request.Build(host_->mono_ns());
    const std::string before(View(r->body));
    epp_parsed out{};
    out.struct_size = sizeof(out);
    out.max_output_tokens = -1;
    const bool ok =
        Run([&](epp_error* e) { return table.parse_request(Self(), call.call(), r, &out, e); });
    if (before != View(r->body)) Misuse("the parser changed the body");
    if (!ok) return std::nullopt;
    return out;
  }
  std::optional<epp_usage> ParseResponse(Event& event, Request& request) {
    const auto& table = Table<epp_parser>(EPP_PARSER_ID);
    BoundCall call = Bind(Selection(no_pool_), request, false);
    epp_usage out{sizeof(epp_usage), 0, -1, -1, -1, -1};
    if (!Run([&](epp_error* e) {
          return table.parse_response(Self(), call.call(), event.Build(), &out, e);
        })) {
      return std::nullopt;
    }
    return out;
  }

  // ---- the data layer ----

  // Its strings live as long as the instance.
  std::optional<epp_fetch_plan> Plan() {
    const auto& table = Table<epp_source>(EPP_SOURCE_ID);
    epp_fetch_plan out{};
    out.struct_size = sizeof(out);
    if (!Run([&](epp_error* e) { return table.plan(Self(), &out, e); })) return std::nullopt;
    return out;
  }
  // What was written, as `request` of the result, also when the page was refused (see status()).
  Produced Scrape(std::string_view body, const epp_endpoint& endpoint,
                  std::string_view content_type = "text/plain; version=0.0.4") {
    const auto& table = Table<epp_scraper>(EPP_SCRAPER_ID);
    const auto padded = Exact<char>(body.size() + 64);
    std::copy(body.begin(), body.end(), padded.get());
    epp_scrape in{};
    in.struct_size = sizeof(in);
    in.endpoint = &endpoint;
    in.body = {padded.get(), body.size()};
    in.content_type = Str(content_type);
    in.now_ns = host_->mono_ns();
    SinkRecord sink(produces_, *host_);
    Run([&](epp_error* e) { return table.scrape(Self(), &in, sink.raw(), e); });
    Produced out;
    out.request = sink.values();
    return out;
  }
  Produced Scrape(std::string_view body) { return Scrape(body, one_endpoint_.endpoint(0)); }
  void Upserted(const epp_endpoint& endpoint) {
    Table<epp_pool_events>(EPP_POOL_EVENTS_ID).upserted(Self(), &endpoint);
  }
  void Upserted(const Pool& pool) {
    for (size_t i = 0; i < pool.size(); ++i) Upserted(pool.endpoint(i));
  }
  void Removed(const epp_endpoint& endpoint) {
    Table<epp_pool_events>(EPP_POOL_EVENTS_ID).removed(Self(), &endpoint);
  }

  // ---- general ----

  epp::Status Ready() {
    const auto& table = Table<epp_readiness>(EPP_READINESS_ID);
    Run([&](epp_error* e) { return table.ready(Self(), e); });
    return AsStatus();
  }
  std::string Dump() {
    const auto& table = Table<epp_dump_state>(EPP_DUMP_STATE_ID);
    std::string text;
    const epp_writer writer{sizeof(epp_writer), 0, &text, [](void* ctx, epp_str s) noexcept {
                              static_cast<std::string*>(ctx)->append(View(s));
                            }};
    Run([&](epp_error* e) { return table.dump(Self(), &writer, e); });
    if (text.size() > 256u << 10) Misuse("the dump is longer than 256 KiB");
    return text;
  }
  std::string SaveState() {
    const auto& table = StateTable();
    std::string bytes;
    const epp_writer writer{sizeof(epp_writer), 0, &bytes, [](void* ctx, epp_str s) noexcept {
                              static_cast<std::string*>(ctx)->append(View(s));
                            }};
    if (!Run([&](epp_error* e) { return table.save(Self(), &writer, e); })) return {};
    if (bytes.size() > 1u << 30) Misuse("the state is longer than 1 GiB");
    return bytes;
  }
  // The bytes are copied to where reading behind them is seen by a sanitizer.
  epp::Status LoadState(uint32_t version, std::string_view bytes) {
    const auto& table = StateTable();
    const auto copy = Exact<char>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), copy.get());
    Run([&](epp_error* e) {
      return table.load(Self(), version, {bytes.empty() ? nullptr : copy.get(), bytes.size()}, e);
    });
    return AsStatus();
  }
  const epp_state& StateTable() {
    const auto& table = Table<epp_state>(EPP_STATE_ID);
    if (table.save == nullptr || table.load == nullptr) Misuse("epp.state/1: a function is null");
    if (table.flags & ~EPP_STATE_FOLLOWS) Misuse("epp.state/1: unknown flags");
    return table;
  }
  epp::Status Start() {
    const auto& table = Table<epp_service>(EPP_SERVICE_ID);
    Run([&](epp_error* e) { return table.start(Self(), e); });
    return AsStatus();
  }
  void Drain(uint64_t deadline_ns) {
    Table<epp_service>(EPP_SERVICE_ID).drain(Self(), deadline_ns);
  }
  void Stop() { Table<epp_service>(EPP_SERVICE_ID).stop(Self()); }

  // The table behind an id, for what has no member here. Throws when the type lacks it.
  template <class Interface>
  const Interface& Table(const char* id) {
    const void* table = type_.get_interface(Self(), id);
    if (table == nullptr) Misuse(std::string(type_.name) + " does not implement " + id);
    const auto* typed = static_cast<const Interface*>(table);
    if (typed->struct_size < sizeof(Interface)) Misuse(std::string(id) + ": table is too short");
    return *typed;
  }
  void* Self() {
    if (self_ == nullptr) Misuse("create failed: " + error());
    return self_;
  }

 private:
  static epp_error NewError() { return {sizeof(epp_error), EPP_OK, {}}; }
  void Note(epp_status status, const epp_error& err) {
    const std::lock_guard lock(mu_);
    status_ = status;
    error_.assign(err.message, strnlen(err.message, sizeof(err.message)));
  }
  template <class F>
  bool Run(F&& f) {
    epp_error err = NewError();
    const epp_status status = f(&err);
    Note(status, err);
    return status == EPP_OK;
  }
  epp::Status AsStatus() const {
    const std::lock_guard lock(mu_);
    return status_ == EPP_OK ? epp::Status() : epp::Status(status_, error_);
  }
  void LoadAttributes(const DecodedParams& params) {
    std::span consumes(type_.consumes, type_.consumes_count);
    std::span produces(type_.produces, type_.produces_count);
    if (Has(EPP_ATTRIBUTES_ID)) {
      const auto& table = Table<epp_attributes>(EPP_ATTRIBUTES_ID);
      uint32_t count = 0;
      const epp_attr_spec* const* specs = table.consumes(self_, &count);
      consumes = {specs, count};
      specs = table.produces(self_, &count);
      produces = {specs, count};
    }
    produces_.assign(produces.begin(), produces.end());
    for (const epp_attr_spec* spec : consumes) {
      consumes_.push_back({spec, params.Producer(type_, *spec)});
    }
  }
  BoundCall Bind(const Selection& in, Request& request, bool with_body = true) {
    return {consumes_, in, request, *host_, this, with_body};
  }
  Edits Respond(Event& event, Request& request,
                epp_status (*hook)(void*, const epp_call*, const epp_response_event*,
                                   const epp_editor*, epp_error*) EPP_NOEXCEPT) {
    BoundCall call = Bind(Selection(no_pool_), request, false);
    Edits edits;
    const epp_editor editor = MakeEditor(edits);
    Run([&](epp_error* e) { return hook(Self(), call.call(), event.Build(), &editor, e); });
    return edits;
  }
  static epp_editor MakeEditor(Edits& edits) {
    static constexpr auto key = [](epp_str name_space, epp_str k) {
      return std::string(View(name_space)) + "/" + std::string(View(k));
    };
    epp_editor e{};
    e.struct_size = sizeof(e);
    e.ctx = &edits;
    e.set_header = [](void* c, epp_str name, epp_str value) noexcept {
      static_cast<Edits*>(c)->headers[std::string(View(name))] = std::string(View(value));
    };
    e.remove_header = [](void* c, epp_str name) noexcept {
      static_cast<Edits*>(c)->headers[std::string(View(name))] = std::nullopt;
    };
    e.set_metadata_number = [](void* c, epp_str ns, epp_str k, double value) noexcept {
      static_cast<Edits*>(c)->numbers[key(ns, k)] = value;
    };
    e.set_metadata_text = [](void* c, epp_str ns, epp_str k, epp_str value) noexcept {
      static_cast<Edits*>(c)->texts[key(ns, k)] = std::string(View(value));
    };
    return e;
  }

  const epp_plugin_type& type_;
  std::unique_ptr<Host> own_host_;
  Host* host_;
  void* self_ = nullptr;
  std::vector<Consumed> consumes_;
  std::vector<const epp_attr_spec*> produces_;
  const Pool no_pool_{0};
  const Pool one_endpoint_{1};
  mutable std::mutex mu_;
  epp_status status_ = EPP_OK;
  std::string error_;
};

// Carries what `from` has learned to its successor, as the host does at a reload: call it before
// `to` gets its first request. With kStateFollows, call it again while requests of `from` end.
inline epp::Status MoveState(Instance& from, Instance& to) {
  const std::string bytes = from.SaveState();
  if (from.status() != EPP_OK) return {from.status(), from.error()};
  const uint32_t follows = from.StateTable().flags & to.StateTable().flags & EPP_STATE_FOLLOWS;
  if (bytes.empty() && !follows) return {};
  return to.LoadState(from.StateTable().version, bytes);
}

// ---- Where instances come from ----------------------------------------------------------------

// Of a class. Without a host the instance has its own.
template <class T>
Instance Make(const Params& params = {}, Host* host = nullptr,
              std::string_view name = "under-test") {
  return Instance(epp::detail::Type<T>::kRecord, params, host, name);
}

// A plugin library: a file, or the one that is linked into this program.
class Library {
 public:
  explicit Library(const std::string& path) {
    handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) {
      error_ = dlerror();
      return;
    }
    void* symbol = dlsym(handle_, EPP_PLUGIN_ENTRY);
    if (symbol == nullptr) {
      error_ = path + " does not export " EPP_PLUGIN_ENTRY;
      return;
    }
    Enter(reinterpret_cast<epp_plugin_entry_fn>(symbol));
  }
  static Library Linked() { return Library(&epp_plugin_entry_v1); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (handle_) dlclose(handle_);
  }
  bool ok() const { return module_ != nullptr; }
  const std::string& error() const { return error_; }
  const epp_module& module() const {
    if (!ok()) Misuse(error_);
    return *module_;
  }
  // The type of that name, or null.
  const epp_plugin_type* Find(std::string_view type) const {
    for (const epp_plugin_type* t : std::span(module().types, module().type_count)) {
      if (t->name == type) return t;
    }
    return nullptr;
  }
  // The library must outlive the instance.
  Instance Make(std::string_view type, const Params& params = {}, Host* host = nullptr,
                std::string_view name = "under-test") const {
    const epp_plugin_type* t = Find(type);
    if (t == nullptr) {
      Misuse(std::string(module().name) + " has no plugin type \"" + std::string(type) + "\"");
    }
    return Instance(*t, params, host, name);
  }

 private:
  explicit Library(epp_plugin_entry_fn entry) { Enter(entry); }
  void Enter(epp_plugin_entry_fn entry) {
    if (entry == nullptr) {
      error_ = "no plugin is linked into this program: it has no EPP_LIBRARY";
      return;
    }
    module_ = entry(EPP_ABI_MAJOR, EPP_ABI_MINOR);
    if (module_ == nullptr) {
      error_ = "the library refuses this host";
    } else if (module_->abi_major != EPP_ABI_MAJOR || module_->abi_min_minor > EPP_ABI_MINOR) {
      error_ = "the library needs another ABI";
      module_ = nullptr;
    }
  }

  void* handle_ = nullptr;
  const epp_module* module_ = nullptr;
  std::string error_;
};

// Of a plugin type in the source that is linked into this test.
inline Instance Make(std::string_view type, const Params& params = {}, Host* host = nullptr,
                     std::string_view name = "under-test") {
  return Library::Linked().Make(type, params, host, name);
}

}  // namespace epp::test
