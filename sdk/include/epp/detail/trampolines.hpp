// How a class becomes a table of C functions. Included by epp/plugin.hpp only.
//
// Every trampoline is static and noexcept, catches everything, and fills the caller's epp_error.
// Which interfaces a class has is decided at compile time from its members.
#pragma once

namespace epp::detail {

inline void Fill(epp_error* err, epp_status code, std::string_view message) {
  if (err == nullptr) return;
  err->code = code;
  size_t n = std::min(message.size(), sizeof(err->message) - 1);
  if (n < message.size()) {  // not in the middle of a character
    while (n > 0 && (static_cast<unsigned char>(message[n]) & 0xc0) == 0x80) --n;
  }
  if (n) std::memcpy(err->message, message.data(), n);
  err->message[n] = '\0';
}

inline epp_status Report(const Status& status, epp_error* err) {
  if (!status.ok()) Fill(err, status.code(), status.message());
  return status.code();
}

// Runs f and reports its Status; an exception becomes EPP_INTERNAL with its text.
template <class F>
epp_status Guard(epp_error* err, F&& f) noexcept {
#if defined(__cpp_exceptions)
  try {
    return Report(f(), err);
  } catch (const std::exception& e) {
    Fill(err, EPP_INTERNAL, e.what());
  } catch (...) {
    Fill(err, EPP_INTERNAL, "exception that is not a std::exception");
  }
  return EPP_INTERNAL;
#else
  return Report(f(), err);
#endif
}

template <class T>
T& Self(void* self) {
  return *static_cast<T*>(self);
}

// clang-format off
template <class T> concept IsFilter = requires { &T::Filter; };
template <class T> concept IsScorer = requires { &T::Score; };
template <class T> concept IsPicker = requires { &T::Pick; };
template <class T> concept IsProfileHandler = requires { &T::Choose; &T::Conclude; };
template <class T> concept IsDecider = requires { &T::Decide; };
template <class T> concept HasProfileCheck = requires { &T::Check; };
template <class T> concept IsRequestHeader = requires { &T::RequestHeader; };
template <class T> concept IsScreener = requires { &T::Screen; };
template <class T> concept IsProducer = requires { &T::Produce; };
template <class T> concept IsAsyncProducer = requires { &T::StartProduce; &T::FinishProduce; };
template <class T> concept HasCancelProduce = requires { &T::CancelProduce; };
template <class T> concept HasProduceTimeout = requires { &T::ProduceTimeoutNs; };
template <class T> concept HasProduceFailure = requires { T::kOnProduceFailure; };
template <class T> concept IsAdmitter = requires { &T::Admit; };
template <class T> concept IsPreRequest = requires { &T::PreRequest; };
template <class T> concept IsResponse = requires { T::kWants; };
template <class T> concept HasOnHeaders = requires { &T::OnHeaders; };
template <class T> concept HasOnBody = requires { &T::OnBody; };
template <class T> concept IsParser = requires { &T::ParseRequest; };
template <class T> concept HasProtocols = requires { T::kProtocols; };
template <class T> concept HasParseResponse = requires { &T::ParseResponse; };
template <class T> concept IsSource = requires { &T::Plan; };
template <class T> concept IsScraper = requires { &T::Scrape; T::kPayload; };
template <class T> concept IsPoolEvents = requires { &T::Upserted; &T::Removed; };
template <class T> concept HasAttributes = requires(T& t) { t.Consumes(); t.Produces(); };
template <class T> concept IsReadiness = requires { &T::Ready; };
template <class T> concept IsDumpState = requires { &T::Dump; };
template <class T> concept IsState = requires { T::kStateVersion; &T::SaveState; &T::LoadState; };
template <class T> concept HasStateMember =
    requires { T::kStateVersion; } || requires { &T::SaveState; } || requires { &T::LoadState; };
template <class T> concept HasStateFollows = requires { T::kStateFollows; };
template <class T> concept IsService = requires { &T::Start; &T::Drain; &T::Stop; };
template <class T> concept CountsRunning = requires(const T& t) { { t.Running() } -> std::convertible_to<uint64_t>; };
template <class T> concept HasParams = requires { T::kParams; };
template <class T> concept HasConsumes = requires { T::kConsumes; };
template <class T> concept HasProduces = requires { T::kProduces; };
template <class T> concept HasFlags = requires { T::kFlags; };
template <class T> concept HasStability = requires { T::kStability; };
template <class T> concept HasCategory = requires { T::kCategory; };
template <class T> concept HasDeprecated = requires { T::kDeprecated; };
template <class T> concept HasAliases = requires { T::kAliases; };
// clang-format on

// The tables of one class, all constants.
template <class T>
struct Type {
  // ---- tables of declarations ----
  template <size_t N, class E>
  static constexpr auto Pointers(const std::array<E, N>& entries) {
    std::array<const decltype(E::spec)*, N> out{};
    for (size_t i = 0; i < N; ++i) out[i] = &entries[i].spec;
    return out;
  }
  static constexpr auto Params() {
    if constexpr (HasParams<T>)
      return Pointers(T::kParams);
    else
      return std::array<const epp_param_spec*, 0>{};
  }
  static constexpr auto ConsumesTable() {
    if constexpr (HasConsumes<T>)
      return Pointers(T::kConsumes);
    else
      return std::array<const epp_attr_spec*, 0>{};
  }
  static constexpr auto ProducesTable() {
    if constexpr (HasProduces<T>)
      return Pointers(T::kProduces);
    else
      return std::array<const epp_attr_spec*, 0>{};
  }
  static constexpr auto Aliases() {
    if constexpr (HasAliases<T>)
      return T::kAliases;
    else
      return std::array<const char*, 0>{};
  }
  static constexpr uint32_t Flags() {
    if constexpr (HasFlags<T>)
      return T::kFlags;
    else
      return 0;
  }
  static constexpr uint32_t Stability() {
    if constexpr (HasStability<T>)
      return T::kStability;
    else
      return EPP_STABILITY_BETA;
  }
  static constexpr const char* Deprecated() {
    if constexpr (HasDeprecated<T>)
      return T::kDeprecated;
    else
      return nullptr;
  }

  // ---- scheduling ----
  static epp_status Filter(void* self, const epp_call* call, const epp_candidates* in,
                           uint64_t* keep, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      Keep k(keep, in->count);
      return Self<T>(self).Filter(Call(call), Candidates(in), k);
    });
  }
  static epp_status Score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                          epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      return Self<T>(self).Score(Call(call), Candidates(in), std::span(out, in->count));
    });
  }
  static epp_status Pick(void* self, const epp_call* call, const epp_candidates* in,
                         const double* totals, uint32_t* picks, uint32_t* count,
                         epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      Picks p(picks, count);
      return Self<T>(self).Pick(Call(call), Candidates(in), std::span(totals, in->count), p);
    });
  }
  static epp_status Choose(void* self, const epp_call* call, const epp_scheduling* so_far,
                           const epp_candidates* in, int32_t* decisions, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      return Self<T>(self).Choose(Call(call), Scheduling(so_far), Candidates(in),
                                  std::span(decisions, so_far->profile_count));
    });
  }
  static epp_status Conclude(void* self, const epp_call* call, const epp_scheduling* done,
                             const epp_candidates* in, uint32_t* primary, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      return Self<T>(self).Conclude(Call(call), Scheduling(done), Candidates(in), *primary);
    });
  }
  static epp_status Decide(void* self, const epp_call* call, const epp_candidates* in,
                           uint32_t* yes, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      bool answer = false;
      Status status = Self<T>(self).Decide(Call(call), Candidates(in), answer);
      *yes = answer;
      return status;
    });
  }
  static epp_status Check(void* self, const epp_str* names, uint32_t count,
                          epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      if constexpr (HasProfileCheck<T>) return Self<T>(self).Check(std::span(names, count));
      return {};
    });
  }

  // ---- the life of a request ----
  static epp_status RequestHeader(void* self, const epp_call* call, const epp_outputs* out,
                                  epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      Outputs outputs(out, 0);
      return Self<T>(self).RequestHeader(Call(call), outputs);
    });
  }
  static epp_status Screen(void* self, const epp_call* call, const epp_candidates* in,
                           uint64_t* keep, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      Keep k(keep, in->count);
      return Self<T>(self).Screen(Call(call), Candidates(in), k);
    });
  }
  static epp_status Admit(void* self, const epp_call* call, const epp_candidates* in,
                          epp_error* err) noexcept {
    return Guard(err, [&]() -> Status { return Self<T>(self).Admit(Call(call), Candidates(in)); });
  }
  static epp_status Produce(void* self, const epp_call* call, const epp_candidates* in,
                            const epp_outputs* out, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      Outputs outputs(out, in->count);
      return Self<T>(self).Produce(Call(call), Candidates(in), outputs);
    });
  }
  // An operation crosses the border as a box of the shared pointer that the class made.
  template <class U>
  using Box = std::shared_ptr<typename U::Operation>;
  static constexpr uint32_t OnProduceFailure() {
    if constexpr (HasProduceFailure<T>)
      return T::kOnProduceFailure;
    else
      return EPP_ASYNC_FAIL_STOP;
  }
  static uint64_t ProduceTimeoutNs(void* self) noexcept {
    if constexpr (HasProduceTimeout<T>) return Self<T>(self).ProduceTimeoutNs();
    return 0;
  }
  template <class U = T>
  static epp_status StartProduce(void* self, const epp_call* call, const epp_candidates* in,
                                 const epp_outputs* out, const epp_completion* done,
                                 void** operation, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      Outputs outputs(out, in->count);
      auto box = std::make_unique<Box<U>>();
      Status status =
          Self<U>(self).StartProduce(Call(call), Candidates(in), outputs, Completion(*done), *box);
      if (status.ok() && *box != nullptr) *operation = box.release();
      return status;
    });
  }
  template <class U = T>
  static epp_status FinishProduce(void* self, void* operation, const epp_call* call,
                                  const epp_candidates* in, const epp_outputs* out,
                                  epp_error* err) noexcept {
    const std::unique_ptr<Box<U>> box(static_cast<Box<U>*>(operation));
    return Guard(err, [&]() -> Status {
      Outputs outputs(out, in->count);
      return Self<U>(self).FinishProduce(**box, Call(call), Candidates(in), outputs);
    });
  }
  template <class U = T>
  static void CancelProduce(void* self, void* operation) noexcept {
    const std::unique_ptr<Box<U>> box(static_cast<Box<U>*>(operation));
    if constexpr (HasCancelProduce<U>) {
      (void)Guard(nullptr, [&]() -> Status {
        Self<U>(self).CancelProduce(**box);
        return {};
      });
    }
  }
  static epp_status PreRequest(void* self, const epp_call* call, const epp_scheduling* scheduling,
                               const epp_candidates* in, const epp_editor* edit,
                               epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      Editor editor(edit);
      return Self<T>(self).PreRequest(Call(call), Scheduling(scheduling), Candidates(in), editor);
    });
  }
  static epp_status OnHeaders(void* self, const epp_call* call, const epp_response_event* event,
                              const epp_editor* edit, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      if constexpr (HasOnHeaders<T>) {
        Editor editor(edit);
        return Self<T>(self).OnHeaders(Call(call), *event, editor);
      }
      return {};
    });
  }
  static epp_status OnBody(void* self, const epp_call* call, const epp_response_event* event,
                           const epp_editor* edit, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      if constexpr (HasOnBody<T>) {
        Editor editor(edit);
        return Self<T>(self).OnBody(Call(call), *event, editor);
      }
      return {};
    });
  }
  static epp_status ParseRequest(void* self, const epp_call* call, const epp_request* request,
                                 epp_parsed* out, epp_error* err) noexcept {
    return Guard(
        err, [&]() -> Status { return Self<T>(self).ParseRequest(Call(call), *request, *out); });
  }
  static epp_status ParseResponse(void* self, const epp_call* call, const epp_response_event* event,
                                  epp_usage* out, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      if constexpr (HasParseResponse<T>) {
        return Self<T>(self).ParseResponse(Call(call), *event, *out);
      }
      return {};
    });
  }

  // ---- the data layer ----
  static epp_status Plan(void* self, epp_fetch_plan* out, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status { return Self<T>(self).Plan(*out); });
  }
  static epp_status Scrape(void* self, const epp_scrape* in, const epp_sink* out,
                           epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      Sink sink(out);
      return Self<T>(self).Scrape(*in, sink);
    });
  }
  static void Upserted(void* self, const epp_endpoint* e) noexcept {
    Guard(nullptr, [&]() -> Status { return Self<T>(self).Upserted(*e), Status(); });
  }
  static void Removed(void* self, const epp_endpoint* e) noexcept {
    Guard(nullptr, [&]() -> Status { return Self<T>(self).Removed(*e), Status(); });
  }

  // ---- general ----
  template <class R>
  static constexpr bool kLasts = std::is_lvalue_reference_v<R> || std::ranges::borrowed_range<R>;
  static const epp_attr_spec* const* Consumes(void* self, uint32_t* count) noexcept {
    decltype(auto) specs = Self<T>(self).Consumes();
    static_assert(kLasts<decltype(specs)>, "return a reference or a std::span: the host keeps it");
    *count = static_cast<uint32_t>(specs.size());
    return specs.data();
  }
  static const epp_attr_spec* const* Produces(void* self, uint32_t* count) noexcept {
    decltype(auto) specs = Self<T>(self).Produces();
    static_assert(kLasts<decltype(specs)>, "return a reference or a std::span: the host keeps it");
    *count = static_cast<uint32_t>(specs.size());
    return specs.data();
  }
  static epp_status Ready(void* self, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status { return Self<T>(self).Ready(); });
  }
  static epp_status Dump(void* self, const epp_writer* out, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      std::string text;
      Status status = Self<T>(self).Dump(text);
      if (status.ok()) out->write(out->ctx, Str(text));
      return status;
    });
  }
  static epp_status SaveState(void* self, const epp_writer* out, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status {
      std::string bytes;
      Status status = std::as_const(Self<T>(self)).SaveState(bytes);
      if (status.ok() && !bytes.empty()) out->write(out->ctx, Str(bytes));
      return status;
    });
  }
  static epp_status LoadState(void* self, uint32_t version, epp_str bytes,
                              epp_error* err) noexcept {
    return Guard(err, [&]() -> Status { return Self<T>(self).LoadState(version, View(bytes)); });
  }
  static constexpr uint32_t StateFlags() {
    if constexpr (HasStateFollows<T>) return T::kStateFollows ? EPP_STATE_FOLLOWS : 0;
    return 0;
  }
  static epp_status Start(void* self, epp_error* err) noexcept {
    return Guard(err, [&]() -> Status { return Self<T>(self).Start(); });
  }
  static void Drain(void* self, uint64_t deadline_ns) noexcept {
    Guard(nullptr, [&]() -> Status { return Self<T>(self).Drain(deadline_ns), Status(); });
  }
  static void Stop(void* self) noexcept {
    Guard(nullptr, [&]() -> Status { return Self<T>(self).Stop(), Status(); });
  }
  static uint64_t Running(void* self) noexcept {
    if constexpr (CountsRunning<T>) return Self<T>(self).Running();
    return 0;
  }

  // ---- the table of interfaces ----
  static constexpr uint32_t Category() {
    if constexpr (HasCategory<T>)
      return T::kCategory;
    else
      return EPP_CATEGORY_DISTRIBUTION;
  }
  static inline constexpr auto kSuffixPointers = [] {
    if constexpr (requires { T::kSuffixes; })
      return T::kSuffixes;
    else
      return std::array<const char*, 0>{};
  }();
  static inline constexpr auto kProtocolPointers = [] {
    if constexpr (HasProtocols<T>)
      return T::kProtocols;
    else
      return std::array<const char*, 0>{};
  }();

  // Answers get_interface. The tables are instantiated only for interfaces that the class has.
  static const void* GetInterface(void*, const char* id) noexcept {
    const std::string_view want(id);
    if constexpr (IsFilter<T>) {
      static constexpr epp_filter table{sizeof(epp_filter), 0, &Filter};
      if (want == EPP_FILTER_ID) return &table;
    }
    if constexpr (IsScorer<T>) {
      static constexpr epp_scorer table{sizeof(epp_scorer), Category(), &Score};
      if (want == EPP_SCORER_ID) return &table;
    }
    if constexpr (IsPicker<T>) {
      static constexpr epp_picker table{sizeof(epp_picker), 0, &Pick};
      if (want == EPP_PICKER_ID) return &table;
    }
    if constexpr (IsProfileHandler<T>) {
      static constexpr epp_profile_handler table{sizeof(epp_profile_handler), 0, &Choose, &Conclude,
                                                 &Check};
      if (want == EPP_PROFILE_HANDLER_ID) return &table;
    }
    if constexpr (IsDecider<T>) {
      static constexpr epp_decider table{sizeof(epp_decider), 0, &Decide};
      if (want == EPP_DECIDER_ID) return &table;
    }
    if constexpr (IsRequestHeader<T>) {
      static constexpr epp_request_header table{sizeof(epp_request_header), 0, &RequestHeader};
      if (want == EPP_REQUEST_HEADER_ID) return &table;
    }
    if constexpr (IsScreener<T>) {
      static constexpr epp_screener table{sizeof(epp_screener), 0, &Screen};
      if (want == EPP_SCREENER_ID) return &table;
    }
    if constexpr (IsAdmitter<T>) {
      static constexpr epp_admitter table{sizeof(epp_admitter), 0, &Admit};
      if (want == EPP_ADMITTER_ID) return &table;
    }
    if constexpr (IsProducer<T>) {
      static constexpr epp_producer table{sizeof(epp_producer), 0, &Produce};
      if (want == EPP_PRODUCER_ID) return &table;
    }
    static_assert(!(IsProducer<T> && IsAsyncProducer<T>),
                  "a type is epp.producer/1 or epp.async-producer/1");
    if constexpr (IsAsyncProducer<T>) {
      static constexpr epp_async_producer table{sizeof(epp_async_producer), OnProduceFailure(),
                                                &ProduceTimeoutNs,          &StartProduce<T>,
                                                &FinishProduce<T>,          &CancelProduce<T>};
      if (want == EPP_ASYNC_PRODUCER_ID) return &table;
    }
    if constexpr (IsPreRequest<T>) {
      static constexpr epp_pre_request table{sizeof(epp_pre_request), 0, &PreRequest};
      if (want == EPP_PRE_REQUEST_ID) return &table;
    }
    if constexpr (IsResponse<T>) {
      static constexpr epp_response table{sizeof(epp_response), T::kWants, &OnHeaders, &OnBody};
      if (want == EPP_RESPONSE_ID) return &table;
    }
    if constexpr (IsParser<T>) {
      static constexpr epp_parser table{sizeof(epp_parser),
                                        static_cast<uint32_t>(kSuffixPointers.size()),
                                        kSuffixPointers.data(),
                                        kProtocolPointers.data(),
                                        static_cast<uint32_t>(kProtocolPointers.size()),
                                        0,
                                        &ParseRequest,
                                        &ParseResponse};
      if (want == EPP_PARSER_ID) return &table;
    }
    if constexpr (IsSource<T>) {
      static constexpr epp_source table{sizeof(epp_source), 0, &Plan};
      if (want == EPP_SOURCE_ID) return &table;
    }
    if constexpr (IsScraper<T>) {
      static constexpr epp_scraper table{sizeof(epp_scraper), 0, T::kPayload, &Scrape};
      if (want == EPP_SCRAPER_ID) return &table;
    }
    if constexpr (IsPoolEvents<T>) {
      static constexpr epp_pool_events table{sizeof(epp_pool_events), 0, &Upserted, &Removed};
      if (want == EPP_POOL_EVENTS_ID) return &table;
    }
    if constexpr (HasAttributes<T>) {
      static constexpr epp_attributes table{sizeof(epp_attributes), 0, &Consumes, &Produces};
      if (want == EPP_ATTRIBUTES_ID) return &table;
    }
    if constexpr (IsReadiness<T>) {
      static constexpr epp_readiness table{sizeof(epp_readiness), 0, &Ready};
      if (want == EPP_READINESS_ID) return &table;
    }
    if constexpr (IsDumpState<T>) {
      static constexpr epp_dump_state table{sizeof(epp_dump_state), 0, &Dump};
      if (want == EPP_DUMP_STATE_ID) return &table;
    }
    static_assert(IsState<T> || !(HasStateMember<T> || HasStateFollows<T>),
                  "epp.state/1 is kStateVersion, SaveState and LoadState together");
    if constexpr (IsState<T>) {
      static constexpr epp_state table{sizeof(epp_state), T::kStateVersion, StateFlags(), 0,
                                       &SaveState,        &LoadState};
      if (want == EPP_STATE_ID) return &table;
    }
    if constexpr (IsService<T>) {
      static constexpr epp_service table{
          sizeof(epp_service), 0, &Start, &Drain, &Stop, CountsRunning<T> ? &Running : nullptr};
      if (want == EPP_SERVICE_ID) return &table;
    }
    return nullptr;
  }

  static constexpr auto Interfaces() {
    constexpr std::array<const char*, 21> ids{
        IsFilter<T> ? EPP_FILTER_ID : nullptr,
        IsScorer<T> ? EPP_SCORER_ID : nullptr,
        IsPicker<T> ? EPP_PICKER_ID : nullptr,
        IsProfileHandler<T> ? EPP_PROFILE_HANDLER_ID : nullptr,
        IsDecider<T> ? EPP_DECIDER_ID : nullptr,
        IsRequestHeader<T> ? EPP_REQUEST_HEADER_ID : nullptr,
        IsScreener<T> ? EPP_SCREENER_ID : nullptr,
        IsProducer<T> ? EPP_PRODUCER_ID : nullptr,
        IsAsyncProducer<T> ? EPP_ASYNC_PRODUCER_ID : nullptr,
        IsAdmitter<T> ? EPP_ADMITTER_ID : nullptr,
        IsPreRequest<T> ? EPP_PRE_REQUEST_ID : nullptr,
        IsResponse<T> ? EPP_RESPONSE_ID : nullptr,
        IsParser<T> ? EPP_PARSER_ID : nullptr,
        IsSource<T> ? EPP_SOURCE_ID : nullptr,
        IsScraper<T> ? EPP_SCRAPER_ID : nullptr,
        IsPoolEvents<T> ? EPP_POOL_EVENTS_ID : nullptr,
        HasAttributes<T> ? EPP_ATTRIBUTES_ID : nullptr,
        IsReadiness<T> ? EPP_READINESS_ID : nullptr,
        IsDumpState<T> ? EPP_DUMP_STATE_ID : nullptr,
        IsState<T> ? EPP_STATE_ID : nullptr,
        IsService<T> ? EPP_SERVICE_ID : nullptr};
    constexpr size_t n = ids.size() - std::count(ids.begin(), ids.end(), nullptr);
    std::array<const char*, n> out{};
    size_t k = 0;
    for (const char* id : ids) {
      if (id) out[k++] = id;
    }
    return out;
  }

  static void* Create(const epp_host* host, epp_str name, const epp_value* values,
                      epp_error* err) noexcept {
    void* made = nullptr;
    Guard(err, [&]() -> Status {
      Result<T> result = T::Create(Context(host, name, values));
      if (!result.ok())
        return Status(result.status().code(), std::string(result.status().message()));
      made = result.release().release();
      return {};
    });
    return made;
  }
  // A destructor that throws (noexcept(false), that is) has nobody to tell.
  static void Destroy(void* self) noexcept {
    Guard(nullptr, [&]() -> Status {
      delete static_cast<T*>(self);
      return {};
    });
  }

  static inline constexpr auto kParamTable = Params();
  static inline constexpr auto kConsumesTable = ConsumesTable();
  static inline constexpr auto kProducesTable = ProducesTable();
  static inline constexpr auto kAliasTable = Aliases();
  static inline constexpr auto kInterfaceTable = Interfaces();
  static inline constexpr epp_plugin_type kRecord{sizeof(epp_plugin_type),
                                                  Flags(),
                                                  Stability(),
                                                  static_cast<uint32_t>(kParamTable.size()),
                                                  static_cast<uint32_t>(kConsumesTable.size()),
                                                  static_cast<uint32_t>(kProducesTable.size()),
                                                  static_cast<uint32_t>(kAliasTable.size()),
                                                  static_cast<uint32_t>(kInterfaceTable.size()),
                                                  T::kName,
                                                  T::kDoc,
                                                  Deprecated(),
                                                  kAliasTable.data(),
                                                  kInterfaceTable.data(),
                                                  kParamTable.data(),
                                                  kConsumesTable.data(),
                                                  kProducesTable.data(),
                                                  &Create,
                                                  &Destroy,
                                                  &GetInterface};
};

template <class... T>
struct Types {
  static inline constexpr std::array<const epp_plugin_type*, sizeof...(T)> kTable{
      &Type<T>::kRecord...};
};

}  // namespace epp::detail
