// The pool, the request and the response of epp/testing.hpp.
#pragma once

#include "epp/detail/testing_values.hpp"

namespace epp::test {

// ---- The pool ---------------------------------------------------------------------------------

// Endpoints and their attributes: Pool pool(3); pool.Set(epp::attr::kWaitingQueueSize, {0, 5, 9});
// Endpoint i is "default/pod-i" at 10.0.0.(i + 1):8000 until a setter says otherwise.
class Pool {
 public:
  explicit Pool(size_t n = 0) {
    while (size() < n) Add();
  }
  size_t size() const { return endpoints_.size(); }

  // Adds an endpoint; attributes that are set already have no value there.
  size_t Add(std::string name = "") {
    const size_t i = endpoints_.size();
    endpoints_.push_back(std::make_unique<Endpoint>());
    Endpoint& e = *endpoints_[i];
    e.name = name.empty() ? "default/pod-" + std::to_string(i) : std::move(name);
    e.address = "10.0." + std::to_string((i + 1) / 250) + "." + std::to_string((i + 1) % 250);
    e.raw = {};
    e.raw.struct_size = sizeof(epp_endpoint);
    e.raw.slot = static_cast<uint32_t>(i);
    e.raw.id = ++last_id_;
    e.raw.port = 8000;
    e.Refresh();
    return i;
  }
  Pool& Name(size_t i, std::string name) {
    At(i).name = std::move(name);
    return Refresh(i);
  }
  Pool& Address(size_t i, std::string address) {
    At(i).address = std::move(address);
    return Refresh(i);
  }
  Pool& Port(size_t i, uint32_t port) {
    At(i).raw.port = port;
    return Refresh(i);
  }
  Pool& Rank(size_t i, uint32_t rank) {
    At(i).raw.rank = rank;
    return *this;
  }
  Pool& Slot(size_t i, uint32_t slot) {
    At(i).raw.slot = slot;
    return *this;
  }
  Pool& Label(size_t i, std::string key, std::string value) {
    At(i).labels[std::move(key)] = std::move(value);
    return Refresh(i);
  }
  // The endpoint is gone and another one took its slot: a new id.
  Pool& Replace(size_t i) {
    At(i).raw.id = ++last_id_;
    return *this;
  }
  const epp_endpoint& endpoint(size_t i) const {
    if (i >= size()) Misuse("the pool has no row " + std::to_string(i));
    return endpoints_[i]->raw;
  }

  // The attribute's value on every endpoint; std::nullopt for "no value". It reaches every instance
  // that consumes the key (and the producer, when the name has that part).
  Pool& Set(const AttributeName& name, std::initializer_list<Cell> cells) {
    columns_[name.text()] = cells;
    return *this;
  }
  template <class T>
  Pool& Set(const AttributeName& name, const std::vector<T>& values) {
    columns_[name.text()].assign(values.begin(), values.end());
    return *this;
  }
  // A list attribute: pool.SetLists(epp::attr::kActiveModels, {{"a", "b"}, {}}).
  Pool& SetLists(const AttributeName& name, std::initializer_list<Cell::Texts> lists) {
    columns_[name.text()].assign(lists.begin(), lists.end());
    return *this;
  }
  const std::map<std::string, std::vector<Cell>>& columns() const { return columns_; }

 private:
  struct Endpoint {
    std::string name, address, host_port;
    Labels labels;
    std::vector<epp_label> label_views;
    epp_endpoint raw;

    void Refresh() {
      const bool v6 = address.find(':') != std::string::npos;
      host_port = (v6 ? "[" + address + "]" : address) + ":" + std::to_string(raw.port);
      label_views.clear();
      for (const auto& [k, v] : labels) label_views.push_back({Str(k), Str(v)});
      raw.name = Str(name);
      raw.address = Str(address);
      raw.host_port = Str(host_port);
      raw.labels = label_views.data();
      raw.label_count = static_cast<uint32_t>(label_views.size());
    }
  };
  Endpoint& At(size_t i) {
    static_cast<void>(endpoint(i));
    return *endpoints_[i];
  }
  Pool& Refresh(size_t i) {
    endpoints_[i]->Refresh();
    return *this;
  }

  uint64_t last_id_ = 1000;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  std::map<std::string, std::vector<Cell>> columns_;
};

// The candidates of a call: a whole pool, or some of its rows. Borrows the pool.
class Selection {
 public:
  Selection(const Pool& pool) : pool_(&pool) {  // NOLINT(google-explicit-constructor)
    for (size_t i = 0; i < pool.size(); ++i) rows_.push_back(i);
  }
  Selection(const Pool& pool, std::vector<size_t> rows) : pool_(&pool), rows_(std::move(rows)) {}
  const Pool& pool() const { return *pool_; }
  const std::vector<size_t>& rows() const { return rows_; }

 private:
  const Pool* pool_;
  std::vector<size_t> rows_;
};

// ---- The request ------------------------------------------------------------------------------

// One request, from its headers to the end of its response. The arena and every instance's state
// slot live as long as it, so pass the same object to all hooks of one request.
class Request {
 public:
  Request() {
    parsed_.max_output_tokens = -1;
    raw_.number = 1;
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  Request& Header(std::string name, std::string value) {
    headers_.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  Request& Path(std::string v) { return Put(path_, std::move(v)); }
  Request& RequestId(std::string v) { return Put(request_id_, std::move(v)); }
  Request& FairnessId(std::string v) { return Put(fairness_id_, std::move(v)); }
  Request& Objective(std::string v) { return Put(objective_, std::move(v)); }
  Request& Priority(int32_t v) { return Put(raw_.priority, v); }
  Request& Number(uint64_t v) { return Put(raw_.number, v); }
  Request& ReceivedNs(uint64_t v) { return Put(raw_.received_ns, v); }
  Request& Bodyless() { return Put(raw_.flags, raw_.flags | EPP_REQUEST_BODYLESS); }
  // The model as the client named it; the target is the same unless TargetModel says otherwise.
  Request& Model(std::string v) { return Put(model_, std::move(v)); }
  Request& TargetModel(std::string v) { return Put(target_model_, std::move(v)); }
  // The bytes as received. Without them the body is the segments, one after another.
  Request& Body(std::string_view v) { return Put(body_, std::string(v)); }
  // call->worker and call->deadline_ns.
  Request& Worker(uint32_t v) { return Put(worker_, v); }
  Request& DeadlineNs(uint64_t v) { return Put(deadline_ns_, v); }

  // What a parser found. Each of these makes the request a parsed one.
  Request& Api(int32_t api) {
    return Parsed([&](epp_parsed& p) { p.api = api; });
  }
  Request& Flags(uint32_t flags) {
    return Parsed([&](epp_parsed& p) { p.flags |= flags; });
  }
  Request& Stream() { return Flags(EPP_PARSED_STREAM); }
  Request& CacheSalt(std::string v) {
    cache_salt_ = std::move(v);
    return Parsed([](epp_parsed&) {});
  }
  Request& MaxOutputTokens(int64_t n) {
    return Parsed([&](epp_parsed& p) { p.max_output_tokens = n; });
  }
  Request& Prompt(std::string_view text, uint32_t prompt = 0) {
    return Segment(EPP_SEGMENT_TEXT, text, 0, prompt);
  }
  Request& Segment(int32_t kind, std::string_view bytes, uint32_t flags = 0, uint32_t prompt = 0,
                   uint32_t message = 0) {
    segment_texts_.emplace_back(bytes);
    segments_.push_back({kind, flags, prompt, message, {}});
    return Parsed([&](epp_parsed& p) { p.prompt_count = std::max(p.prompt_count, prompt + 1); });
  }
  // A parser's own result; its views must outlive the request (those of ParseRequest do).
  Request& Parsed(const epp_parsed& parsed) {
    given_parsed_ = parsed;
    return *this;
  }

  // What the decider that a parameter of the profile handler names says from now on; no by default.
  Request& Answer(std::string param, bool yes) {
    answers_[std::move(param)] = yes;
    return *this;
  }
  // A question of the profile handler.
  struct Question {
    std::string param;
    std::optional<uint32_t> row;
    bool operator==(const Question&) const = default;
  };
  const std::vector<Question>& asked() const { return asked_; }
  // What the profile handler wants the proxy to be told.
  std::optional<uint32_t> destination_port() const { return destination_port_; }

  // Request-scope attributes. An opaque value is not copied.
  Request& Set(const AttributeName& name, Cell value) {
    attributes_[name.text()] = std::move(value);
    return *this;
  }
  // Token ids of one prompt, as the attribute "TokenizedPrompt".
  Request& Tokens(std::vector<uint32_t> tokens, bool estimated = false) {
    tokens_ = std::move(tokens);
    token_offsets_ = {0, tokens_.size()};
    tokenized_ = {};
    tokenized_.struct_size = sizeof(tokenized_);
    tokenized_.prompt_count = 1;
    tokenized_.tokens = tokens_.data();
    tokenized_.offsets = token_offsets_.data();
    tokenized_.estimated = estimated;
    return Set(attr::kTokenizedPrompt, Cell(static_cast<const void*>(&tokenized_)));
  }
  epp_tokenized_prompt& tokenized() { return tokenized_; }

  // ---- for the driver ----
  bool Ask(std::string param, std::optional<uint32_t> row) {
    const bool yes = answers_[param];
    asked_.push_back({std::move(param), row});
    return yes;
  }
  void DestinationPort(uint32_t port) { destination_port_ = port; }
  const std::map<std::string, Cell>& attributes() const { return attributes_; }
  Arena& arena() { return arena_; }
  void** state(const void* instance) { return &states_[instance]; }
  uint32_t worker() const { return worker_; }
  uint64_t deadline_ns() const { return deadline_ns_; }

  // The request as the ABI shows it. Valid until the next setter. In response hooks without body.
  const epp_request* Build(uint64_t now_ns, bool with_body = true) {
    PlaceBody();
    header_views_.clear();
    for (const auto& [k, v] : headers_) header_views_.push_back({Str(k), Str(v)});
    if (raw_.received_ns == 0) raw_.received_ns = now_ns;
    raw_.struct_size = sizeof(epp_request);
    raw_.request_id = Str(request_id_);
    raw_.path = Str(path_);
    raw_.model = Str(model_);
    raw_.target_model = Str(target_model_.empty() ? model_ : target_model_);
    raw_.fairness_id = Str(fairness_id_);
    raw_.objective = Str(objective_);
    raw_.header_count = static_cast<uint32_t>(header_views_.size());
    raw_.headers = header_views_.data();
    raw_.body_size = body_size_;
    raw_.body = with_body ? epp_str{padded_.get(), body_size_} : epp_str{};
    raw_.parsed = nullptr;
    if (given_parsed_) {
      raw_.parsed = &*given_parsed_;
    } else if (is_parsed_) {
      parsed_.struct_size = sizeof(epp_parsed);
      parsed_.segment_count = static_cast<uint32_t>(segments_.size());
      parsed_.segments = segments_.data();
      parsed_.model = Str(model_);
      parsed_.cache_salt = Str(cache_salt_);
      raw_.parsed = &parsed_;
    }
    return &raw_;
  }

 private:
  template <class T, class V>
  Request& Put(T& field, V value) {
    field = std::move(value);
    return *this;
  }
  template <class F>
  Request& Parsed(F&& set) requires std::invocable<F, epp_parsed&> {
    is_parsed_ = true;
    set(parsed_);
    return *this;
  }
  // Copies the body to an allocation of its own with 64 zero bytes behind it, once, so that views
  // into it stay valid; and points the segments into it.
  void PlaceBody() {
    std::string text;
    if (body_) {
      text = *body_;
    } else {
      for (const std::string& s : segment_texts_) text += s;
    }
    if (!padded_ || std::string_view(padded_.get(), body_size_) != text) {
      if (padded_) old_bodies_.push_back(std::move(padded_));
      body_size_ = text.size();
      padded_ = std::make_unique<char[]>(text.size() + 64);
      if (!text.empty()) std::memcpy(padded_.get(), text.data(), text.size());
    }
    const std::string_view body(padded_.get(), body_size_);
    size_t from = 0;
    for (size_t i = 0; i < segments_.size(); ++i) {
      const std::string& s = segment_texts_[i];
      const size_t at = body.find(s, from);
      segments_[i].bytes = at == body.npos ? Str(s) : Str(body.substr(at, s.size()));
      if (at != body.npos) from = at + s.size();
    }
  }

  std::vector<std::pair<std::string, std::string>> headers_;
  std::vector<epp_header> header_views_;
  std::string path_ = "/v1/completions", request_id_ = "request-1", fairness_id_, objective_;
  std::string model_, target_model_, cache_salt_;
  std::optional<std::string> body_;
  std::unique_ptr<char[]> padded_;
  std::vector<std::unique_ptr<char[]>> old_bodies_;
  uint64_t body_size_ = 0;
  bool is_parsed_ = false;
  std::deque<std::string> segment_texts_;
  std::vector<epp_segment> segments_;
  epp_parsed parsed_{};
  std::optional<epp_parsed> given_parsed_;
  epp_request raw_{};
  uint32_t worker_ = 0;
  uint64_t deadline_ns_ = 0;
  std::vector<uint32_t> tokens_;
  std::vector<uint64_t> token_offsets_;
  epp_tokenized_prompt tokenized_{};
  std::map<std::string, Cell> attributes_;
  std::map<std::string, bool> answers_;
  std::vector<Question> asked_;
  std::optional<uint32_t> destination_port_;
  std::map<const void*, void*> states_;
  Arena arena_;
};

// ---- Profiles ---------------------------------------------------------------------------------

// The profiles of a fake config and what came of them. Rows are positions among the candidates.
class Profiles {
 public:
  Profiles(std::initializer_list<const char*> names) : names_(names.begin(), names.end()) {
    results_.resize(names_.size());
  }
  Profiles& Ok(std::string_view name, std::vector<uint32_t> rows) {
    At(name) = {rows.empty() ? EPP_PROFILE_FAILED : EPP_PROFILE_OK, std::move(rows)};
    return *this;
  }
  Profiles& Failed(std::string_view name) {
    At(name) = {EPP_PROFILE_FAILED, {}};
    return *this;
  }
  Profiles& Skipped(std::string_view name) {
    At(name) = {EPP_PROFILE_SKIPPED, {}};
    return *this;
  }
  Profiles& Primary(std::string_view name) {
    primary_ = Index(name);
    return *this;
  }
  size_t size() const { return names_.size(); }
  const std::string& name(size_t i) const { return names_[i]; }
  int32_t state(size_t i) const { return results_[i].state; }
  std::vector<epp_str> name_views() const {
    std::vector<epp_str> out;
    for (const std::string& n : names_) out.push_back(Str(n));
    return out;
  }

  // The ABI's view of the whole, for one call.
  class Built {
   public:
    Built(const Profiles& p, const Selection& in, const epp_steering* steering = nullptr)
        : names_(p.name_views()) {
      for (const Outcome& r : p.results_) {
        std::vector<const epp_endpoint*>& targets = targets_.emplace_back();
        for (const uint32_t row : r.rows) {
          if (row >= in.rows().size()) Misuse("a profile's row is not a candidate");
          targets.push_back(&in.pool().endpoint(in.rows()[row]));
        }
        results_.push_back({sizeof(epp_profile_result), r.state,
                            static_cast<uint32_t>(r.rows.size()), 0, targets.data(),
                            r.rows.data()});
      }
      for (const epp_profile_result& r : results_) pointers_.push_back(&r);
      raw_ = {sizeof(epp_scheduling),
              static_cast<uint32_t>(p.size()),
              static_cast<uint32_t>(p.primary_.value_or(p.size())),
              0,
              names_.data(),
              pointers_.data(),
              steering};
    }
    Built(const Built&) = delete;
    Built& operator=(const Built&) = delete;
    const epp_scheduling* raw() const { return &raw_; }

   private:
    std::vector<epp_str> names_;
    std::deque<std::vector<const epp_endpoint*>> targets_;
    std::deque<epp_profile_result> results_;
    std::vector<const epp_profile_result*> pointers_;
    epp_scheduling raw_{};
  };

 private:
  struct Outcome {
    int32_t state = EPP_PROFILE_NOT_RUN;
    std::vector<uint32_t> rows;
  };
  size_t Index(std::string_view name) const {
    const auto it = std::find(names_.begin(), names_.end(), name);
    if (it == names_.end()) Misuse("there is no profile \"" + std::string(name) + "\"");
    return static_cast<size_t>(it - names_.begin());
  }
  Outcome& At(std::string_view name) { return results_[Index(name)]; }

  std::vector<std::string> names_;
  std::vector<Outcome> results_;
  std::optional<size_t> primary_;
};

// ---- The response -----------------------------------------------------------------------------

// The head of a response, or a part of its body. Every setter keeps its bytes.
class Event {
 public:
  Event() { raw_.http_status = 200; }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  Event& Status(int32_t code) {
    raw_.http_status = code;
    return *this;
  }
  Event& Header(std::string name, std::string value) {
    headers_.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  Event& Bytes(std::string_view bytes) {
    bytes_ = bytes;
    return *this;
  }
  Event& First() { return Flag(EPP_CHUNK_FIRST); }
  Event& Sse() { return Flag(EPP_CHUNK_SSE); }
  Event& Last(int32_t end = EPP_END_NATURAL) {
    raw_.end = end;
    return Flag(EPP_CHUNK_LAST);
  }
  // Counts so far; -1 is absent.
  Event& Usage(int64_t prompt, int64_t completion, int64_t cached = -1, uint32_t events = 0) {
    const int64_t total = prompt >= 0 && completion >= 0 ? prompt + completion : -1;
    usage_ = epp_usage{sizeof(epp_usage), events, prompt, completion, total, cached};
    return *this;
  }
  // The proxy named the endpoint; without it Served is only the pick.
  Event& Reported() { return Flag(EPP_SERVED_REPORTED); }
  Event& Served(const Pool& pool, size_t row) {
    raw_.served = &pool.endpoint(row);
    return *this;
  }
  const epp_response_event* Build() {
    header_views_.clear();
    for (const auto& [k, v] : headers_) header_views_.push_back({Str(k), Str(v)});
    raw_.struct_size = sizeof(epp_response_event);
    raw_.headers = header_views_.data();
    raw_.header_count = static_cast<uint32_t>(header_views_.size());
    raw_.bytes = epp_str{bytes_.empty() ? nullptr : bytes_.data(), bytes_.size()};
    raw_.usage = usage_ ? &*usage_ : nullptr;
    return &raw_;
  }

 private:
  Event& Flag(uint32_t flag) {
    raw_.flags |= flag;
    return *this;
  }
  std::vector<std::pair<std::string, std::string>> headers_;
  std::vector<epp_header> header_views_;
  std::string bytes_;
  std::optional<epp_usage> usage_;
  epp_response_event raw_{};
};

}  // namespace epp::test
