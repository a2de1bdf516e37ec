#include "host/shadow/candidate.h"

#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>

#include "epp/plugin.hpp"
#include "host/request/state.h"
#include "host/scheduling/gates.h"
#include "host/telemetry/log.h"

namespace epp::shadow {
namespace {

using request::RequestState;
using scheduling::BoundPlugin;
using scheduling::RequestContext;
using scheduling::Source;

// A pick counts as a close call when the live config scored the other one nearly as high.
constexpr double kCloseShare = 0.1;

void IgnoreHeader(void*, epp_str, epp_str) EPP_NOEXCEPT {}
void IgnoreRemoval(void*, epp_str) EPP_NOEXCEPT {}
void IgnoreNumber(void*, epp_str, epp_str, double) EPP_NOEXCEPT {}
void IgnoreText(void*, epp_str, epp_str, epp_str) EPP_NOEXCEPT {}
constexpr epp_editor kNoEditor{
    sizeof(epp_editor), 0, nullptr, &IgnoreHeader, &IgnoreRemoval, &IgnoreNumber, &IgnoreText};

std::string_view Message(const epp_error& err) {
  return {err.message, strnlen(err.message, sizeof(err.message))};
}

// The candidate draws the numbers that the live decision drew: what both leave to chance then comes
// out alike. Afterwards the thread's generator goes on as if nothing had been drawn.
class SameChances {
 public:
  explicit SameChances(const loader::RandomSource::State& then)
      : now_(loader::RandomSource::SavePerThread()) {
    loader::RandomSource::RestorePerThread(then);
  }
  ~SameChances() { loader::RandomSource::RestorePerThread(now_); }
  SameChances(const SameChances&) = delete;
  SameChances& operator=(const SameChances&) = delete;

 private:
  const loader::RandomSource::State now_;
};

bool TestBit(const uint64_t* words, uint32_t i) { return words[i / 64] >> (i % 64) & 1; }
void SetBit(uint64_t* words, uint32_t i) { words[i / 64] |= uint64_t{1} << (i % 64); }

const epp_profile_result& Primary(const RequestContext& context) {
  return *context.results[context.scheduling.primary];
}

// The total of one of the request's candidates, where it was scored.
std::optional<double> TotalOf(const RequestContext& context, uint32_t row) {
  const RequestContext::Scored& scored = context.scored[context.scheduling.primary];
  if (scored.list == nullptr) return std::nullopt;
  const std::span<const uint32_t> rows = scored.list->rows();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] == row) return scored.totals[i];
  }
  return std::nullopt;
}

}  // namespace

Ledger::Ledger(uint32_t workers, double cpu_share)
    : tally(workers), accounts(workers, Account{Budget(cpu_share)}) {}

// Metrics and records are the live decision's; a failure is told in the log, within its limits.
class Candidate::QuietObserver final : public scheduling::Observer {
 public:
  void Called(uint32_t, const BoundPlugin&, scheduling::Point, uint64_t) override {}
  void Failed(uint32_t, const BoundPlugin& plugin, scheduling::Point, epp_status status,
              std::string_view message) override {
    EPP_LOG(kWarn, "shadow", "plugin call of the candidate failed",
            {{"plugin", plugin.name()}, {"status", status}, {"error", message}});
  }
  void BadScores(uint32_t, const BoundPlugin&, uint64_t) override {}
};

// The candidate's side of a request. The exchange has it until its end, on its worker.
class Candidate::Run final : public request::ShadowRun {
 public:
  Run(std::shared_ptr<const Candidate> candidate, BlockCache* blocks)
      : candidate_(std::move(candidate)), kept_(blocks) {
    context.kept = &kept_;
  }

  void OnResponse(const RequestState& state, const epp_response_event& event) override {
    Arena arena(&state.worker.blocks);
    context.arena = &arena;
    context.request.headers = state.context.request.headers;
    context.request.header_count = state.context.request.header_count;
    epp_response_event told = event;
    told.served = target ? &target->abi() : nullptr;
    const Meter meter(candidate_->clock_);
    const uint64_t now = candidate_->clock_->mono_ns();
    for (const auto& step : candidate_->generation_->serving().wiring.response) {
      const uint32_t wants = step.table->wants;
      if (!(wants & EPP_WANT_CHUNKS) &&
          !((event.flags & EPP_CHUNK_FIRST) && (wants & EPP_WANT_FIRST)) &&
          !((event.flags & EPP_CHUNK_LAST) && (wants & EPP_WANT_END))) {
        continue;
      }
      const epp_call call = context.CallFor(*step.plugin, now);
      epp_error err{sizeof(epp_error), EPP_OK, {}};
      const epp_status status =
          step.table->on_body(step.plugin->self(context.worker), &call, &told, nullptr, &err);
      if (status != EPP_OK) {
        context.observer->Failed(context.worker, *step.plugin, scheduling::Point::kResponseBody,
                                 status, Message(err));
      }
    }
    candidate_->Charge(context.worker, meter.Stop());
    context.arena = nullptr;
  }

  RequestContext context;
  std::shared_ptr<const pool::Endpoint> target;  // of the candidate

 private:
  const std::shared_ptr<const Candidate> candidate_;
  Arena kept_;
};

Candidate::Candidate(std::unique_ptr<runtime::Generation> generation, const request::Serving& live,
                     std::shared_ptr<Ledger> ledger, const Clock* clock)
    : generation_(std::move(generation)),
      live_number_(live.number),
      live_prefix_(FindPrefix(live)),
      own_prefix_(FindPrefix(generation_->serving())),
      live_prompt_(live.tokenized_prompt),
      ledger_(std::move(ledger)),
      clock_(clock),
      observer_(std::make_unique<QuietObserver>()) {}

Candidate::~Candidate() = default;

std::optional<Candidate::PrefixColumns> Candidate::FindPrefix(const request::Serving& serving) {
  if (serving.match_blocks && serving.match_block_size) {
    return PrefixColumns{*serving.match_blocks, *serving.match_block_size};
  }
  // A producer under a name of its own.
  const std::vector<scheduling::Produced>& produced = serving.wiring.produced;
  for (uint32_t b = 0; b < produced.size(); ++b) {
    if (produced[b].key != attr::kPrefixMatchBlocks.key || produced[b].type != EPP_T_I64) continue;
    for (uint32_t s = 0; s < produced.size(); ++s) {
      if (produced[s].key == attr::kPrefixBlockSize.key &&
          produced[s].producer == produced[b].producer && produced[s].type == EPP_T_I64) {
        return PrefixColumns{b, s};
      }
    }
  }
  return std::nullopt;
}

int64_t Candidate::CachedTokens(const RequestContext& context,
                                const std::optional<PrefixColumns>& prefix, uint32_t row) {
  if (!prefix) return -1;
  const epp_column& blocks =
      context.candidates->Column({Source::Kind::kProduced, prefix->blocks}, *context.arena);
  const epp_column& size = context.request_columns[prefix->block_tokens];
  if (blocks.values == nullptr || size.values == nullptr) return -1;
  if (blocks.validity != nullptr && !TestBit(blocks.validity, row)) return -1;
  int64_t tokens = 0;
  if (__builtin_mul_overflow(static_cast<const int64_t*>(blocks.values)[row],
                             static_cast<const int64_t*>(size.values)[0], &tokens)) {
    return -1;
  }
  return std::max<int64_t>(tokens, -1);
}

int64_t Candidate::PromptTokens(const RequestContext& context,
                                const std::optional<uint32_t>& column) {
  if (!column || context.request_columns[*column].values == nullptr) return -1;
  const auto* const prompt = static_cast<const epp_tokenized_prompt*>(
      *static_cast<void* const*>(context.request_columns[*column].values));
  if (prompt == nullptr) return -1;
  return static_cast<int64_t>(prompt->offsets[prompt->prompt_count]);
}

std::unique_ptr<request::ShadowRun> Candidate::Decide(RequestState& state) {
  if (state.serving->number != live_number_) return nullptr;
  const uint32_t worker = state.worker.worker;
  if (!ledger_->accounts[worker].budget.Admit(clock_->mono_ns())) {
    ledger_->tally.Shed(worker);
    return nullptr;
  }
  const Meter meter(clock_);
  const RequestContext& live = state.context;
  const scheduling::Wiring& wiring = generation_->serving().wiring;
  Arena arena(&state.worker.blocks);
  auto run = std::make_unique<Run>(shared_from_this(), &state.worker.blocks);
  RequestContext& context = run->context;
  context.wiring = &wiring;
  context.arena = &arena;
  context.clock = clock_;
  context.observer = observer_.get();
  context.worker = worker;
  context.request = live.request;
  context.request.headers = state.sample.headers.data();
  context.request.header_count = static_cast<uint32_t>(state.sample.headers.size());
  context.Prepare();
  scheduling::SetCandidates(context, live.frame, live.candidates->frame_rows(),
                            live.candidates->size());
  CopyColumns(live, context);
  std::optional<scheduling::Error> error;
  {
    const SameChances chances(state.sample.random);
    error = scheduling::ReadHeaders(context);
    if (!error) {
      (void)scheduling::Produce(context);  // what would wait fails, for nobody waits for a shadow
      error = scheduling::Schedule(context);
    }
    ledger_->tally.Add(worker, Compare(state, context, error));
    // What was not sent has no pick to learn from.
    if (!error && state.forwarded) Book(context);
  }
  bool told = !error && state.forwarded && !wiring.response.empty();
  if (told) {
    const size_t row = context.frame->RowOf(Primary(context).targets[0]->id);
    told = row < context.frame->size();
    if (told) run->target = context.frame->owners()[row];
  }
  context.Release();
  context.arena = nullptr;
  Charge(worker, meter.Stop());
  if (!told) run.reset();
  return run;
}

void Candidate::Charge(uint32_t worker, const Meter::Took& took) const {
  ledger_->accounts[worker].budget.Charge(took.charge_ns);
  ledger_->tally.Spent(worker, took.cpu_ns);
}

void Candidate::CopyColumns(const RequestContext& live, RequestContext& context) const {
  for (const runtime::Generation::Copied& copied : generation_->copied()) {
    if (copied.scope == EPP_SCOPE_REQUEST) {
      context.request_columns[copied.own] = live.request_columns[copied.live];
    } else {
      context.candidates->SetProduced(
          copied.own, live.candidates->Column({Source::Kind::kProduced, copied.live}, *live.arena));
    }
    if (TestBit(live.produced_ok, copied.live)) SetBit(context.produced_ok, copied.own);
  }
}

Decision Candidate::Compare(const RequestState& state, const RequestContext& context,
                            const std::optional<scheduling::Error>& error) const {
  const RequestContext& live = state.context;
  Decision d;
  d.failed = error && error->code != scheduling::ErrorCode::kResourceExhausted;
  const bool live_picked = state.target != nullptr;
  uint32_t live_row = 0;
  if (live_picked) {
    d.live = state.target->id;
    live_row = Primary(live).target_rows[0];
  }
  if (error) return d;
  const epp_profile_result& own = Primary(context);
  d.candidate = own.targets[0]->id;
  if (!live_picked) return d;
  if (d.live != d.candidate) {
    const std::optional<double> mine = TotalOf(live, live_row);
    const std::optional<double> other = TotalOf(live, own.target_rows[0]);
    if (mine && other) {
      d.margin = std::max(*mine - *other, 0.0);
      d.close = *d.margin <= kCloseShare * std::abs(*mine);
    }
  }
  d.prompt_tokens = PromptTokens(live, live_prompt_);
  if (d.prompt_tokens < 0) {
    d.prompt_tokens = PromptTokens(context, generation_->serving().tokenized_prompt);
  }
  d.live_cached = CachedTokens(live, live_prefix_, live_row);
  // A candidate without an index of its own is judged by the live one.
  d.candidate_cached = own_prefix_ ? CachedTokens(context, own_prefix_, own.target_rows[0])
                                   : CachedTokens(live, live_prefix_, own.target_rows[0]);
  return d;
}

void Candidate::Book(RequestContext& context) const {
  for (const auto& step : context.wiring->pre_request) {
    epp_error err{sizeof(epp_error), EPP_OK, {}};
    const epp_call call = context.CallFor(*step.plugin, clock_->mono_ns());
    const epp_status status = step.table->pre_request(
        step.plugin->self(context.worker), &call, &context.scheduling,
        context.candidates->View(*step.plugin, *context.arena), &kNoEditor, &err);
    if (status != EPP_OK) {
      context.observer->Failed(context.worker, *step.plugin, scheduling::Point::kPreRequest, status,
                               Message(err));
    }
  }
}

}  // namespace epp::shadow
