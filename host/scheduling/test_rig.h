// A pool, and plugins made of functions, wired by hand: what runtime builds from a config.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "epp/plugin.hpp"
#include "host/pool/pool.h"
#include "host/scheduling/cycle.h"

namespace epp::scheduling::test {

// One plugin that is whatever its functions make it.
struct Lambda {
  static constexpr const char* kName = "lambda";
  static constexpr const char* kDoc = "Does what the test says.";
  using FilterFn = std::function<Status(const Call&, const Candidates&, epp::Keep&)>;
  using ScoreFn = std::function<Status(const Call&, const Candidates&, std::span<double>)>;
  using PickFn =
      std::function<Status(const Call&, const Candidates&, std::span<const double>, Picks&)>;
  using ChooseFn = std::function<Status(const Scheduling&, std::span<int32_t>)>;
  using ConcludeFn = std::function<Status(const Scheduling&, uint32_t&)>;
  using ProduceFn = std::function<Status(const Call&, const Candidates&, epp::Outputs&)>;
  FilterFn filter = {};
  ScoreFn score = {};
  PickFn pick = {};
  ChooseFn choose = {};
  ConcludeFn conclude = {};
  ProduceFn produce = {};
  using DecideFn = std::function<Status(const Call&, const Candidates&, bool&)>;
  DecideFn decide = {};
  using HeaderFn = std::function<Status(const Call&, epp::Outputs&)>;
  using AdmitFn = std::function<Status(const Call&, const Candidates&)>;
  HeaderFn header = {};
  FilterFn screen = {};
  AdmitFn admit = {};

  // What the next Create returns.
  static inline const Lambda* next = nullptr;
  static Result<Lambda> Create(const Context&) { return Lambda(*next); }

  Status Filter(const Call& c, const Candidates& in, epp::Keep& keep) const {
    return filter(c, in, keep);
  }
  Status Score(const Call& c, const Candidates& in, std::span<double> out) const {
    return score(c, in, out);
  }
  Status Pick(const Call& c, const Candidates& in, std::span<const double> totals,
              Picks& picks) const {
    return pick(c, in, totals, picks);
  }
  Status Choose(const Call&, const Scheduling& s, const Candidates&,
                std::span<int32_t> decisions) const {
    return choose(s, decisions);
  }
  Status Conclude(const Call&, const Scheduling& s, const Candidates&, uint32_t& primary) const {
    return conclude(s, primary);
  }
  Status Decide(const Call& c, const Candidates& in, bool& yes) const { return decide(c, in, yes); }
  Status Produce(const Call& c, const Candidates& in, epp::Outputs& out) const {
    return produce(c, in, out);
  }
  Status RequestHeader(const Call& c, epp::Outputs& out) const { return header(c, out); }
  Status Screen(const Call& c, const Candidates& in, epp::Keep& keep) const {
    return screen(c, in, keep);
  }
  Status Admit(const Call& c, const Candidates& in) const { return admit(c, in); }
};

struct Watch final : Observer {
  void Called(uint32_t, const BoundPlugin& plugin, Point, uint64_t) override {
    called.push_back(plugin.name());
  }
  void Failed(uint32_t, const BoundPlugin& plugin, Point, epp_status status,
              std::string_view message) override {
    failed.push_back(plugin.name() + " " + std::to_string(status) + " " + std::string(message));
  }
  void BadScores(uint32_t, const BoundPlugin&, uint64_t count) override { bad_scores += count; }

  std::vector<std::string> called;
  std::vector<std::string> failed;
  uint64_t bad_scores = 0;
};

// The best total; of equals the first, or `tie` modulo their number.
inline Lambda::PickFn BestPicker(uint64_t tie = 0) {
  return [tie](const Call&, const Candidates&, std::span<const double> totals, Picks& picks) {
    const double best = *std::max_element(totals.begin(), totals.end());
    std::vector<uint32_t> equals;
    for (uint32_t i = 0; i < totals.size(); ++i) {
      if (totals[i] == best) equals.push_back(i);
    }
    picks.Add(equals[tie % equals.size()]);
    return Status();
  };
}

inline Lambda::ScoreFn Scores(std::vector<double> scores) {
  return [scores](const Call&, const Candidates& in, std::span<double> out) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = scores[in.row(i)];
    return Status();
  };
}

class Rig {
 public:
  explicit Rig(size_t endpoints) {
    for (size_t i = 0; i < endpoints; ++i) AddEndpoint(i);
    pool.Publish();
    wiring.handler = {
        Add("handler", {.choose =
                            [](const Scheduling& s, std::span<int32_t> decisions) {
                              for (size_t p = 0; p < s.size(); ++p) decisions[p] = EPP_DECIDE_RUN;
                              return Status();
                            },
                        .conclude =
                            [](const Scheduling& s, uint32_t& primary) {
                              if (!s.ok(0)) return Status(EPP_INTERNAL, "no target in the first");
                              primary = 0;
                              return Status();
                            }}),
        wiring.plugins.back().instance->Get<epp_profile_handler>(EPP_PROFILE_HANDLER_ID)};
  }

  static std::string Label(size_t i) { return i % 3 ? "zone-" + std::to_string(i % 3) : ""; }

  void AddEndpoint(size_t i) {
    pool::Endpoint::Fields fields;
    fields.name_space = "ns";
    fields.name = "pod-" + std::to_string(1000 + i);
    fields.address = "10.0.0.1";
    fields.port = 8000;
    if (i % 3) fields.labels = {{"zone", Label(i)}};
    pool.Upsert(fields);
  }

  BoundPlugin* Add(std::string name, Lambda lambda) {
    Lambda::next = &lambda;
    const loader::TypeEntry type{&epp::detail::Type<Lambda>::kRecord, nullptr};
    BoundPlugin& bound = wiring.plugins.emplace_back();
    bound.index = static_cast<uint32_t>(wiring.plugins.size() - 1);
    bound.instance = *loader::Instance::Create(type, std::move(name), nullptr, {});
    return &bound;
  }
  Profile& AddProfile(std::string name, Lambda::PickFn pick = BestPicker()) {
    Profile& profile = wiring.profiles.emplace_back();
    BoundPlugin* picker = Add(name + "-picker", {.pick = std::move(pick)});
    profile.name = std::move(name);
    profile.picker = {picker, picker->instance->Get<epp_picker>(EPP_PICKER_ID)};
    return profile;
  }
  BoundPlugin* AddFilter(size_t profile, Lambda::FilterFn filter) {
    BoundPlugin* plugin =
        Add("filter-" + std::to_string(wiring.plugins.size()), {.filter = std::move(filter)});
    wiring.profiles[profile].filters.push_back(
        {plugin, plugin->instance->Get<epp_filter>(EPP_FILTER_ID)});
    return plugin;
  }
  BoundPlugin* AddScorer(size_t profile, double weight, Lambda::ScoreFn score) {
    BoundPlugin* plugin =
        Add("scorer-" + std::to_string(wiring.plugins.size()), {.score = std::move(score)});
    ScorerStep step;
    step.plugin = plugin;
    step.table = plugin->instance->Get<epp_scorer>(EPP_SCORER_ID);
    step.weight = weight;
    wiring.profiles[profile].scorers.push_back(step);
    return plugin;
  }
  // A producer of one attribute, and of those it needs.
  BoundPlugin* AddProducer(std::string name, int32_t type, uint32_t scope,
                           std::vector<uint32_t> needs, Lambda::ProduceFn produce) {
    BoundPlugin* plugin = Add(std::move(name), {.produce = std::move(produce)});
    const auto number = static_cast<uint32_t>(wiring.produced.size());
    wiring.produced.push_back({"key", plugin->name(), type, scope});
    (scope == EPP_SCOPE_REQUEST ? plugin->request_outputs : plugin->outputs).push_back(number);
    ProducerStep step;
    step.plugin = plugin;
    step.table = plugin->instance->Get<epp_producer>(EPP_PRODUCER_ID);
    step.requires_produced = needs;
    wiring.producers.push_back(step);
    for (const uint32_t need : needs) Read(plugin, need);
    return plugin;
  }
  // Puts a decider behind the handler's parameter of that number.
  BoundPlugin* AddDecider(size_t param, Lambda::DecideFn decide) {
    BoundPlugin* plugin =
        Add("decider-" + std::to_string(wiring.plugins.size()), {.decide = std::move(decide)});
    wiring.deciders.resize(std::max(wiring.deciders.size(), param + 1));
    wiring.deciders[param] = {plugin, plugin->instance->Get<epp_decider>(EPP_DECIDER_ID)};
    return plugin;
  }
  // A request-scope attribute of the handler.
  uint32_t AddPublished(int32_t type) {
    const auto number = static_cast<uint32_t>(wiring.produced.size());
    wiring.produced.push_back({"published", "handler", type, EPP_SCOPE_REQUEST});
    wiring.plugins.front().request_outputs.push_back(number);
    return number;
  }
  // What the handler does from now on.
  void SetHandler(Lambda::ChooseFn choose, Lambda::ConcludeFn conclude) {
    auto& handler = *static_cast<Lambda*>(wiring.plugins.front().instance->self());
    handler.choose = std::move(choose);
    handler.conclude = std::move(conclude);
  }
  // A header plugin that makes one attribute of the request.
  BoundPlugin* AddHeader(std::string name, int32_t type, Lambda::HeaderFn header) {
    BoundPlugin* plugin = Add(std::move(name), {.header = std::move(header)});
    plugin->request_outputs.push_back(static_cast<uint32_t>(wiring.produced.size()));
    wiring.produced.push_back({"key", plugin->name(), type, EPP_SCOPE_REQUEST});
    HeaderStep step;
    step.plugin = plugin;
    step.table = plugin->instance->Get<epp_request_header>(EPP_REQUEST_HEADER_ID);
    step.publishes = true;
    wiring.headers.push_back(step);
    return plugin;
  }
  BoundPlugin* AddScreener(std::string name, Lambda::FilterFn screen) {
    BoundPlugin* plugin = Add(std::move(name), {.screen = std::move(screen)});
    wiring.screeners.push_back({plugin, plugin->instance->Get<epp_screener>(EPP_SCREENER_ID)});
    return plugin;
  }
  BoundPlugin* AddAdmitter(std::string name, Lambda::AdmitFn admit) {
    BoundPlugin* plugin = Add(std::move(name), {.admit = std::move(admit)});
    wiring.admitters.push_back({plugin, plugin->instance->Get<epp_admitter>(EPP_ADMITTER_ID)});
    return plugin;
  }
  void Read(BoundPlugin* plugin, uint32_t produced) {
    (wiring.produced[produced].scope == EPP_SCOPE_REQUEST ? plugin->request_columns
                                                          : plugin->columns)
        .push_back({Source::Kind::kProduced, produced});
  }
  Source FrameSource(const char* key, int32_t type, const char* producer = "x") {
    const auto id = pool.attributes().Register(key, producer, type);
    wiring.frame_columns.push_back(*id);
    wiring.frame_column_types.push_back(type);
    return {Source::Kind::kFrame, static_cast<uint32_t>(wiring.frame_columns.size() - 1)};
  }

  // A request over the rows of the current frame, all of them by default.
  void Begin(std::optional<std::vector<uint32_t>> rows = std::nullopt) {
    wiring.profile_names.clear();
    for (const Profile& p : wiring.profiles) wiring.profile_names.push_back(Str(p.name));
    arena.Reset();
    context = {};
    context.wiring = &wiring;
    context.arena = &arena;
    context.kept = &arena;
    context.clock = &clock;
    context.observer = &watch;
    context.request.struct_size = sizeof(epp_request);
    context.request.request_id = Str("req-1");
    context.record = record ? &*record : nullptr;
    context.Prepare();
    auto frame = pool.current();
    const auto all = static_cast<uint32_t>(frame->size());
    if (rows) {
      const std::span<uint32_t> kept = arena.AllocArray<uint32_t>(rows->size());
      std::copy(rows->begin(), rows->end(), kept.begin());
      SetCandidates(context, std::move(frame), kept.data(), static_cast<uint32_t>(rows->size()));
    } else {
      SetCandidates(context, std::move(frame), nullptr, all);
    }
  }
  std::optional<Error> Run() {
    Begin();
    EXPECT_TRUE(Produce(context));
    return Schedule(context);
  }
  // Positions, among the candidates, of the targets of a profile.
  std::vector<uint32_t> Targets(size_t profile = 0) const {
    const epp_profile_result& result = *context.results[profile];
    return {result.target_rows, result.target_rows + result.target_count};
  }
  std::vector<double> Totals(size_t profile = 0) const {
    const auto& scored = context.scored[profile];
    return {scored.totals, scored.totals + scored.list->size()};
  }

  FakeClock clock{5'000'000'000};
  std::shared_ptr<Interner> interner = std::make_shared<Interner>();
  pool::Pool pool{std::make_shared<pool::AttributeRegistry>(), interner, &clock, {}};
  Wiring wiring;
  Watch watch;
  BlockCache cache;
  Arena arena{&cache};
  std::optional<telemetry::DecisionRecord> record;
  RequestContext context;
};

}  // namespace epp::scheduling::test
