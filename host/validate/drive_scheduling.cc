// Filters, scorers, pickers and profile handlers. See drive.h.
#include <algorithm>
#include <array>
#include <cmath>

#include "host/base/str_cat.h"
#include "host/validate/case_numbers.h"
#include "host/validate/drive.h"

namespace epp::validate {

void Driver::Filter(RequestRun& run) {
  const auto* const table = Get<epp_filter>(EPP_FILTER_ID);
  if (table == nullptr) return;
  Frame frame(instance_, world_, scenario_, run);
  const size_t n = run.rows.size();
  const size_t words = (n + 63) / 64;
  auto* const keep = frame.memory().Array<uint64_t>("keep", words);
  const epp_status status = Run("filter", frame, table->filter, frame.call(), frame.in(), keep);
  if (status == EPP_OK && n % 64 != 0 && (keep[words - 1] >> (n % 64)) != 0) {
    Breach(AnswerCase(), "filter", "set bits of keep beyond the last candidate");
  }
  transcript_.Add("filter", status, BytesOf(keep, words));
}

std::optional<std::vector<double>> Driver::Score(RequestRun& run) {
  const auto* const table = Get<epp_scorer>(EPP_SCORER_ID);
  if (table == nullptr) return std::nullopt;
  Frame frame(instance_, world_, scenario_, run);
  const size_t n = run.rows.size();
  auto* const out = frame.memory().Array<double>("out", n);
  const epp_status status = Run("score", frame, table->score, frame.call(), frame.in(), out);
  transcript_.Add("score", status, BytesOf(out, n));
  if (status != EPP_OK) return std::nullopt;
  const bool usual = AnswerCase() == kBounds;
  for (size_t i = 0; i < n; ++i) {
    if (std::isfinite(out[i]) && (!usual || (out[i] >= 0 && out[i] <= 1))) continue;
    Breach(AnswerCase(), "score",
           StrCat("out[", i, "] is ", out[i], usual ? ", want 0 to 1" : ", want a finite number"));
    break;
  }
  return std::vector<double>(out, out + n);
}

void Driver::Pick(RequestRun& run, const std::vector<double>& totals) {
  const auto* const table = Get<epp_picker>(EPP_PICKER_ID);
  const size_t n = run.rows.size();
  if (table == nullptr || n == 0) return;
  Frame frame(instance_, world_, scenario_, run);
  auto* const sums = frame.memory().Array<double>("totals", n);
  std::copy(totals.begin(), totals.end(), sums);
  auto* const picks = frame.memory().Array<uint32_t>("picks", n);
  auto* const count = frame.memory().Array<uint32_t>("pick_count", 1);
  const epp_status status =
      Run("pick", frame, table->pick, frame.call(), frame.in(), sums, picks, count);
  if (status != EPP_OK) {
    transcript_.Add("pick", status);
    return;
  }
  if (*count > n) {
    Breach(AnswerCase(), "pick", StrCat("pick_count is ", *count, ", want at most ", n));
    return;
  }
  std::vector<bool> seen(n);
  for (uint32_t i = 0; i < *count; ++i) {
    if (picks[i] >= n) {
      Breach(AnswerCase(), "pick", StrCat("picks[", i, "] is ", picks[i], ", want less than ", n));
      return;
    }
    if (seen[picks[i]]) {
      Breach(AnswerCase(), "pick", StrCat("picks candidate ", picks[i], " twice"));
      return;
    }
    seen[picks[i]] = true;
  }
  transcript_.Add("pick", status, BytesOf(picks, *count));
}

// A handler says which profiles it can work with; which those are is a matter of configuration. One
// set after another serves the requests.
bool Driver::AgreeOnProfiles(uint64_t request) {
  if (!accepted_.empty()) {
    profiles_ = accepted_[request % accepted_.size()];
    return true;
  }
  const auto* const table = Get<epp_profile_handler>(EPP_PROFILE_HANDLER_ID);
  static const std::array<std::vector<std::string>, 4> kSets{
      std::vector<std::string>{"default"}, std::vector<std::string>{"prefill", "decode"},
      std::vector<std::string>{"encode", "prefill", "decode"},
      std::vector<std::string>{"default", "canary", "fallback"}};
  for (const std::vector<std::string>& set : kSets) {
    Memory memory(scenario_.layout);
    auto* const names = memory.Array<epp_str>("names", set.size());
    for (size_t i = 0; i < set.size(); ++i) names[i] = Str(set[i]);
    auto* const error = memory.Struct<epp_error>("epp_error");
    const epp_status status = Invoke(findings_, "check", name_, table->check, instance_.self(),
                                     names, static_cast<uint32_t>(set.size()), error);
    After("check", status, *error, memory);
    if (status == EPP_OK) accepted_.push_back(set);
  }
  if (accepted_.empty()) return false;
  profiles_ = accepted_[request % accepted_.size()];
  return true;
}

namespace {

// What a handler steers with, and what it did wrong.
struct SteeringOutput {
  SteeringOutput(const epp_plugin_type& type, const std::vector<const epp_attr_spec*>& produces,
                 uint32_t candidates, uint64_t number, Memory& memory)
      : type(type),
        produces(produces),
        candidates(candidates),
        number(number),
        table(memory.Struct<epp_steering>("epp_steering")) {
    size_t count = 0;
    for (const epp_attr_spec* spec : produces) count += spec->scope == EPP_SCOPE_REQUEST;
    table->ctx = this;
    table->ask = &Ask;
    table->set_destination_port = &SetDestinationPort;
    if (count == 0) return;
    table->request_columns = memory.Array<epp_out_column>("request_columns", count);
    size_t i = 0;
    for (const epp_attr_spec* spec : produces) {
      if (spec->scope != EPP_SCOPE_REQUEST) continue;
      epp_out_column& out = table->request_columns[i++];
      out.validity = memory.Array<uint64_t>("validity", 1);
      if (spec->type == EPP_T_SYMBOL_LIST) continue;
      const size_t bytes = spec->type == EPP_T_BOOL ? 1 : spec->type == EPP_T_SYMBOL ? 4 : 8;
      out.values = memory.Bytes("values", bytes, 1, bytes);
    }
  }

  static uint32_t Ask(void* ctx, uint32_t param, uint32_t row) noexcept {
    auto& self = *static_cast<SteeringOutput*>(ctx);
    if (param >= self.type.param_count || self.type.params[param]->type != EPP_P_PLUGIN ||
        self.type.params[param]->interface_id == nullptr) {
      self.breach = StrCat("asks parameter ", param, ", which names no decider");
    }
    if (row != EPP_NO_ROW && row >= self.candidates) {
      self.breach = StrCat("asks about row ", row, ", want less than ", self.candidates);
    }
    self.record += StrCat("ask ", param, " ", row, "\n");
    return (self.number + param) % 2;
  }
  static void SetDestinationPort(void* ctx, uint32_t port) noexcept {
    auto& self = *static_cast<SteeringOutput*>(ctx);
    if (port > 65535) self.breach = StrCat("sets port ", port, ", want at most 65535");
    self.record += StrCat("port ", port, "\n");
  }

  const epp_plugin_type& type;
  const std::vector<const epp_attr_spec*>& produces;
  const uint32_t candidates;
  const uint64_t number;
  epp_steering* const table;
  std::string breach;
  std::string record;
};

}  // namespace

// About the first candidate, and about nobody.
void Driver::Decide(RequestRun& run) {
  const auto* const table = Get<epp_decider>(EPP_DECIDER_ID);
  if (table == nullptr) return;
  const std::vector<uint32_t> all = run.rows;
  for (const size_t n : {size_t{1}, size_t{0}}) {
    run.rows.assign(all.begin(), all.begin() + static_cast<ptrdiff_t>(std::min(n, all.size())));
    Frame frame(instance_, world_, scenario_, run);
    auto* const yes = frame.memory().Array<uint32_t>("yes", 1);
    const epp_status status = Run("decide", frame, table->decide, frame.call(), frame.in(), yes);
    transcript_.Add("decide", status, BytesOf(yes, 1));
  }
  run.rows = all;
}

void Driver::Handle(RequestRun& run) {
  const auto* const table = Get<epp_profile_handler>(EPP_PROFILE_HANDLER_ID);
  const size_t n = run.rows.size();
  if (table == nullptr || n == 0 || !AgreeOnProfiles(run.number)) return;
  Frame frame(instance_, world_, scenario_, run);
  Memory& memory = frame.memory();
  const auto count = static_cast<uint32_t>(profiles_.size());

  auto* const names = memory.Array<epp_str>("names", count);
  auto* const results = memory.Array<const epp_profile_result*>("results", count);
  std::vector<epp_profile_result*> writable(count);
  for (uint32_t i = 0; i < count; ++i) {
    names[i] = Str(profiles_[i]);
    results[i] = writable[i] = memory.Struct<epp_profile_result>("epp_profile_result");
  }
  auto* const scheduling = memory.Struct<epp_scheduling>("epp_scheduling");
  scheduling->profile_count = count;
  scheduling->primary = count;
  scheduling->names = names;
  scheduling->results = results;
  SteeringOutput steering(instance_.type(), instance_.produces(), static_cast<uint32_t>(n),
                          run.number, memory);
  scheduling->steering = steering.table;
  const auto check_steering = [&](const char* function) {
    if (!steering.breach.empty()) Breach(AnswerCase(), function, steering.breach);
    steering.breach.clear();
  };
  const auto run_profile = [&](epp_profile_result& result, size_t first) {
    // Every third profile of every third request finds nobody.
    if ((run.number + first) % 3 == 2) {
      result.state = EPP_PROFILE_FAILED;
      return;
    }
    auto* const targets = memory.Array<const epp_endpoint*>("targets", 1);
    auto* const rows = memory.Array<uint32_t>("target_rows", 1);
    rows[0] = static_cast<uint32_t>(first % n);
    targets[0] = frame.in()->endpoints[rows[0]];
    result.state = EPP_PROFILE_OK;
    result.target_count = 1;
    result.targets = targets;
    result.target_rows = rows;
  };

  for (uint32_t round = 0; round <= count; ++round) {
    auto* const decisions = memory.Array<int32_t>("decisions", count);
    const epp_status status =
        Run("choose", frame, table->choose, frame.call(), scheduling, frame.in(), decisions);
    transcript_.Add("choose", status, BytesOf(decisions, count) + steering.record);
    check_steering("choose");
    if (status != EPP_OK) return;
    bool ran = false;
    for (uint32_t i = 0; i < count; ++i) {
      if (decisions[i] < EPP_DECIDE_NOTHING || decisions[i] > EPP_DECIDE_SKIP) {
        Breach(AnswerCase(), "choose",
               StrCat("decisions[", i, "] is ", decisions[i], ", want 0 to 2"));
        return;
      }
      if (writable[i]->state != EPP_PROFILE_NOT_RUN) continue;
      if (decisions[i] == EPP_DECIDE_SKIP) writable[i]->state = EPP_PROFILE_SKIPPED;
      if (decisions[i] != EPP_DECIDE_RUN) continue;
      run_profile(*writable[i], i);
      ran = true;
    }
    if (!ran) break;
  }
  auto* const primary = memory.Array<uint32_t>("primary", 1);
  *primary = count;
  const epp_status status =
      Run("conclude", frame, table->conclude, frame.call(), scheduling, frame.in(), primary);
  transcript_.Add("conclude", status, BytesOf(primary, 1) + steering.record);
  check_steering("conclude");
  if (status == EPP_OK && *primary >= count) {
    Breach(AnswerCase(), "conclude", StrCat("primary is ", *primary, ", want less than ", count));
  }
}

}  // namespace epp::validate
