// A plugin type that implements every interface, in the simplest way that a test can see.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "epp/plugin.hpp"

namespace epp::sdk_test {

class Everything {
 public:
  static constexpr const char* kName = "everything";
  static constexpr const char* kDoc = "Implements every interface.";
  static constexpr uint32_t kStability = EPP_STABILITY_ALPHA;
  static constexpr uint32_t kCategory = EPP_CATEGORY_AFFINITY;
  static constexpr const char* kDeprecated = "something else";
  static constexpr std::array<const char*, 2> kAliases{"all", "every"};
  static constexpr const char* kModes[] = {"fast", "slow"};
  static constexpr std::array kParams{
      Bool("flag", true, "a flag"),
      Int("count", 3, 0, 10, "a count"),
      Float("ratio", 0.5, 0, 1, "a ratio"),
      String("mode", "fast", "a mode").OneOf(kModes),
      Duration("window", 250'000'000, 0, 60, "a window"),
      StringList("names", "some names").Unset(),
      Plugin("source", nullptr, "another plugin"),
      Json("rules", "anything"),
  };
  enum Param { kFlag, kCount, kRatio, kMode, kWindow, kNames, kSource, kRules };

  static constexpr AttributeKind kSession{"session", EPP_T_SYMBOL, EPP_SCOPE_REQUEST};
  static constexpr std::array kConsumes{
      Needs(attr::kWaitingQueueSize), Needs(attr::kKvCacheUsage),
      Uses(attr::kActiveModels),      Needs(AttributeKind{"label/zone", EPP_T_SYMBOL}),
      Uses(attr::kTokenizedPrompt),   Uses(kSession)};
  enum Consumed { kQueue, kKv, kModels, kZone };
  enum ConsumedOfRequest { kTokens, kSessionId };
  static constexpr std::array kProduces{Makes({"load", EPP_T_I64}),
                                        Makes({"share", EPP_T_F64}),
                                        Makes({"hot", EPP_T_BOOL}),
                                        Makes({"zone", EPP_T_SYMBOL}),
                                        Makes({"models", EPP_T_SYMBOL_LIST}),
                                        Makes({"total", EPP_T_I64, EPP_SCOPE_REQUEST}),
                                        Makes({"unknown", EPP_T_F64, EPP_SCOPE_REQUEST})};
  static constexpr uint32_t kWants = EPP_WANT_HEADERS | EPP_WANT_END | EPP_WANT_USAGE;
  static constexpr std::array kSuffixes{"v1/completions"};
  static constexpr std::array kProtocols{"http"};
  static constexpr const char* kPayload = "text";
  static constexpr uint32_t kStateVersion = 2;
  static constexpr bool kStateFollows = true;

  // What Create saw, and what calls left behind.
  struct Seen {
    bool flag;
    int64_t count;
    double ratio;
    std::string mode;
    int64_t window_ns;
    bool has_names, has_source, has_rules;
    std::vector<std::string> names;
    std::string rules;
  };

  static Result<Everything> Create(const Context& ctx) {
    Everything e;
    e.host_ = ctx.host();
    if (ctx.str(kMode) == "slow" && ctx.i64(kCount) == 0) {
      return Status::Invalid("slow needs a count");
    }
    e.seen_ = {ctx.flag(kFlag),
               ctx.i64(kCount),
               ctx.f64(kRatio),
               std::string(ctx.str(kMode)),
               ctx.ns(kWindow),
               ctx.has(kNames),
               ctx.has(kSource),
               ctx.has(kRules),
               {},
               std::string(ctx.str(kRules))};
    for (const epp_str& s : ctx.list(kNames)) e.seen_.names.emplace_back(View(s));
    static constexpr std::array<std::string_view, 1> kLabels{"kind"};
    static constexpr std::array<std::string_view, 1> kScored{"scored"};
    e.calls_ =
        Metric(ctx.host().raw(), EPP_METRIC_COUNTER, "calls_total", "calls", kLabels).With(kScored);
    ctx.host().Log(EPP_LOG_INFO, "created " + std::string(ctx.name()));
    return e;
  }

  // ---- scheduling ----
  Status Filter(const Call&, const Candidates& in, Keep& keep) const {
    const auto queue = in.column<int64_t>(kQueue);
    for (size_t i = 0; i < in.size(); ++i) keep.SetIf(i, queue.has(i) && queue[i] < 5);
    return {};
  }
  Status Score(const Call& call, const Candidates& in, std::span<double> out) const {
    calls_.Add(1);
    const auto kv = in.column<double>(kKv);
    const auto models = in.list<uint32_t>(kModels);
    const auto zone = in.column<uint32_t>(kZone);
    const uint32_t model = host_.Find(View(call.request().target_model));
    for (size_t i = 0; i < in.size(); ++i) {
      const auto list = models[i];
      const bool active = model && std::find(list.begin(), list.end(), model) != list.end();
      out[i] = (active ? 100 : 0) + (zone.has(i) ? 10 : 0) + 1 - kv[i];
    }
    return {};
  }
  Status Pick(const Call&, const Candidates&, std::span<const double> totals, Picks& picks) const {
    const auto best = std::max_element(totals.begin(), totals.end());
    picks.Add(static_cast<uint32_t>(best - totals.begin()));
    return {};
  }
  // Runs the last profile first and the others only when it failed.
  Status Choose(const Call&, const Scheduling& so_far, const Candidates&,
                std::span<int32_t> decisions) const {
    const size_t last = so_far.size() - 1;
    if (so_far.result(last).state == EPP_PROFILE_NOT_RUN) {
      decisions[last] = EPP_DECIDE_RUN;
      return {};
    }
    for (size_t i = 0; i < last; ++i) {
      decisions[i] = so_far.ok(last) ? EPP_DECIDE_SKIP : EPP_DECIDE_RUN;
    }
    return {};
  }
  Status Conclude(const Call&, const Scheduling& done, const Candidates&, uint32_t& primary) const {
    for (size_t i = done.size(); i-- > 0;) {
      if (done.ok(i)) return primary = static_cast<uint32_t>(i), Status();
    }
    return {EPP_UNAVAILABLE, "no profile has a target"};
  }
  Status Decide(const Call&, const Candidates& in, bool& yes) const {
    if (in.size() == 0) return Status::Invalid("want an endpoint");
    yes = in.column<int64_t>(kQueue)[0] > 5;
    return {};
  }
  Status Check(std::span<const epp_str> names) const {
    return names.size() < 2 ? Status::Invalid("want two profiles") : Status();
  }

  // ---- the life of a request ----
  struct State {
    uint64_t hooks;
  };
  Status RequestHeader(const Call& call, Outputs&) const {
    if (call.header("x-refuse")) return {EPP_UNAUTHENTICATED, "refused"};
    return {};
  }
  Status Screen(const Call&, const Candidates& in, Keep& keep) const {
    for (size_t i = 1; i < in.size(); ++i) keep.Set(i);
    return {};
  }
  Status Admit(const Call& call, const Candidates& in) const {
    if (call.request().priority >= 0) return {};
    return {EPP_RESOURCE_EXHAUSTED, std::to_string(in.size()) + " endpoints are busy"};
  }
  Status Produce(const Call& call, const Candidates& in, Outputs& out) const {
    call.state<State>() = call.Keep<State>();
    ++call.state<State>()->hooks;
    const auto queue = in.column<int64_t>(kQueue);
    int64_t total = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      total += queue[i];
      out.column<int64_t>(0)[i] = queue[i] * 2;
      out.column<double>(1)[i] = 0.25;
      out.column<uint8_t>(2)[i] = queue[i] > 5;
      out.column<uint32_t>(3)[i] = in.column<uint32_t>(kZone)[i];
      if (!queue.has(i)) out.Clear(0, i);
    }
    auto* items = call.Alloc<uint32_t>(in.size());
    auto* offsets = call.Alloc<uint32_t>(in.size() + 1);
    for (uint32_t i = 0; i < in.size(); ++i) {
      items[i] = host_.Intern("m" + std::to_string(i));
      offsets[i + 1] = i + 1;
    }
    out.SetList(4, items, offsets);
    out.Set<int64_t>(0, total);
    out.ClearRequest(1);
    return {};
  }
  Status PreRequest(const Call& call, const Scheduling& s, const Candidates&, Editor& edit) const {
    if (call.state<State>()) ++call.state<State>()->hooks;
    edit.SetHeader("x-target", View(s.result(s.primary()).targets[0]->host_port));
    edit.RemoveHeader("x-old");
    edit.SetMetadata("ns", "cost", 2.5);
    edit.SetMetadata("ns", "who", "me");
    return {};
  }
  Status OnHeaders(const Call&, const epp_response_event& event, Editor& edit) const {
    edit.SetHeader("x-status", std::to_string(event.http_status));
    return {};
  }
  Status OnBody(const Call& call, const epp_response_event& event, Editor& edit) const {
    edit.SetMetadata("ns", "hooks", static_cast<double>(call.state<State>()->hooks));
    edit.SetMetadata("ns", "tokens", static_cast<double>(event.usage->completion_tokens));
    return call.request().body.size ? Status::Invalid("there is a body") : Status();
  }
  Status ParseRequest(const Call& call, const epp_request& request, epp_parsed& out) const {
    const std::string_view body = View(request.body);
    for (size_t i = 0; i < 64; ++i) {
      if (request.body.data[body.size() + i] != 0) return Status::Invalid("no padding");
    }
    if (body.empty() || body[0] != '{') return Status::Invalid("not an object");
    auto* segment = call.Alloc<epp_segment>();
    segment->kind = EPP_SEGMENT_TEXT;
    segment->bytes = request.body;
    out.api = EPP_API_COMPLETIONS;
    out.segments = segment;
    out.segment_count = out.prompt_count = 1;
    return {};
  }
  Status ParseResponse(const Call&, const epp_response_event& event, epp_usage& out) const {
    out.completion_tokens = static_cast<int64_t>(event.bytes.size);
    return {};
  }

  // ---- the data layer ----
  Status Plan(epp_fetch_plan& out) const {
    out.path = Str("/metrics");
    out.payload = Str(kPayload);
    return {};
  }
  Status Scrape(const epp_scrape& in, Sink& sink) const {
    sink.Set(0, static_cast<int64_t>(in.body.size));
    sink.Set(1, 0.75);
    sink.Set(2, true);
    sink.SetSymbol(3, host_.Intern("z1"));
    const std::array symbols{host_.Intern("a"), host_.Intern("b")};
    sink.Set(4, symbols);
    if (in.body.size == 0) {
      sink.Clear(1);
      return Status::Invalid("empty page");
    }
    return {};
  }
  void Upserted(const epp_endpoint&) { ++live_; }
  void Removed(const epp_endpoint&) { --live_; }

  // ---- general ----
  Status Ready() const { return live_ ? Status() : Status(EPP_UNAVAILABLE, "no endpoint"); }
  Status Dump(std::string& out) const {
    out = "{\"mode\":\"" + seen_.mode + "\",\"live\":" + std::to_string(live_) +
          ",\"inherited\":" + std::to_string(inherited_) +
          ",\"inherited\":" + std::to_string(inherited_) +
          ",\"flag\":" + (seen_.flag ? "true" : "false") +
          ",\"count\":" + std::to_string(seen_.count) +
          ",\"window\":" + std::to_string(seen_.window_ns) +
          ",\"names\":" + std::to_string(seen_.names.size()) + ",\"rules\":\"" + seen_.rules +
          "\"}";
    return {};
  }
  Status SaveState(std::string& out) const {
    if (live_ > 100) return {EPP_UNAVAILABLE, "started"};
    out.assign(static_cast<size_t>(live_ + inherited_), 'x');
    return {};
  }
  Status LoadState(uint32_t version, std::string_view bytes) {
    if (version != kStateVersion) return Status::Invalid("version 2 only");
    if (bytes.find_first_not_of('x') != bytes.npos) throw std::runtime_error("not an x");
    inherited_ = static_cast<int>(bytes.size());
    return {};
  }
  Status Start() {
    live_ += 100;
    return {};
  }
  void Drain(uint64_t deadline_ns) { live_ += static_cast<int>(deadline_ns); }
  void Stop() { live_ = 0; }

 private:
  Host host_;
  Series calls_;
  Seen seen_{};
  int live_ = 0;
  int inherited_ = 0;
};

}  // namespace epp::sdk_test
