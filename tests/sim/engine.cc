#include "tests/sim/engine.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"

namespace epp::sim {
namespace {

EngineConfig Legal(EngineConfig config) {
  config.block_tokens = std::max(config.block_tokens, 1u);
  config.max_running = std::max(config.max_running, 1u);
  // Otherwise the requests at the end of a large batch would never get a token.
  config.max_batched_tokens = std::max(config.max_batched_tokens, config.max_running);
  if (!(config.prefill_tokens_per_s >= 1)) config.prefill_tokens_per_s = 1;
  config.decode_per_token = std::max(config.decode_per_token, SimTime(1));
  if (!(config.decode_slope >= 0)) config.decode_slope = 0;
  return config;
}

}  // namespace

struct Engine::Sequence {
  EngineRequest request;
  SimTime arrival{};
  std::vector<BlockId> blocks;
  uint64_t computed = 0;  // tokens whose KV is in `blocks`
  uint32_t generated = 0;
  uint32_t scheduled = 0;      // tokens of the step in progress
  uint32_t published = 0;      // leading blocks that have their hash
  uint32_t cached_tokens = 0;  // at the first admission
  bool admitted_before = false;

  uint64_t known() const { return uint64_t{request.prompt_tokens} + generated; }
  bool decoding() const { return generated > 0 && known() - computed == 1; }
};

Engine::Engine(const EngineConfig& config) : config_(Legal(config)), cache_(config.kv_blocks) {}
Engine::~Engine() = default;

uint32_t Engine::BlocksFor(uint64_t tokens) const {
  return static_cast<uint32_t>((tokens + config_.block_tokens - 1) / config_.block_tokens);
}

uint64_t Engine::MaxRequestTokens() const {
  return uint64_t{cache_.capacity()} * config_.block_tokens;
}

absl::Status Engine::Submit(EngineRequest request, SimTime now) {
  const uint64_t tokens = uint64_t{request.prompt_tokens} + request.output_tokens;
  if (request.prompt_tokens == 0) return absl::InvalidArgumentError("prompt has 0 tokens, want 1");
  if (tokens > MaxRequestTokens()) {
    return absl::InvalidArgumentError(absl::StrCat("prompt plus output has ", tokens,
                                                   " tokens, want at most ", MaxRequestTokens()));
  }
  auto sequence = std::make_unique<Sequence>();
  sequence->request = std::move(request);
  sequence->arrival = std::max(now, now_);
  if (!waiting_.empty()) sequence->arrival = std::max(sequence->arrival, waiting_.back()->arrival);
  waiting_.push_back(std::move(sequence));
  return absl::OkStatus();
}

bool Engine::Cancel(uint64_t id) {
  const auto is_it = [id](const auto& sequence) { return sequence->request.id == id; };
  if (const auto it = std::find_if(waiting_.begin(), waiting_.end(), is_it); it != waiting_.end()) {
    waiting_.erase(it);
    return true;
  }
  if (const auto it = std::find_if(running_.begin(), running_.end(), is_it); it != running_.end()) {
    cache_.Release((*it)->blocks);
    running_.erase(it);
    return true;
  }
  return false;
}

SimTime Engine::NextEventTime() const {
  if (step_end_ != kNever) return step_end_;
  if (!running_.empty()) return now_;
  return waiting_.empty() ? kNever : std::max(now_, waiting_.front()->arrival);
}

void Engine::Advance(SimTime to, std::vector<EngineEvent>* events) {
  for (SimTime next = NextEventTime(); next <= to && next != kNever; next = NextEventTime()) {
    now_ = next;
    if (step_end_ != kNever) {
      EndStep(events);
    } else {
      StartStep(events);
    }
  }
  now_ = std::max(now_, to);
}

void Engine::StartStep(std::vector<EngineEvent>* events) {
  uint64_t budget = config_.max_batched_tokens;
  uint64_t prefill_tokens = 0;
  uint32_t decoding = 0;
  const uint64_t preemptions_before = totals_.preemptions;
  // Preemption shortens the batch from its back while this walks it from the front.
  for (size_t i = 0; i < running_.size() && budget > 0; ++i) {
    Sequence* sequence = running_[i].get();
    const auto n = static_cast<uint32_t>(std::min(budget, sequence->known() - sequence->computed));
    if (!Grow(sequence, sequence->computed + n, events)) break;
    if (sequence->decoding()) {
      ++decoding;
    } else {
      prefill_tokens += n;
    }
    sequence->scheduled = n;
    budget -= n;
  }
  // Admitting while preempting would hand the freed blocks to the wrong request.
  if (totals_.preemptions == preemptions_before) Admit(&budget, &prefill_tokens, events);

  double ns = 1e9 * static_cast<double>(prefill_tokens) / config_.prefill_tokens_per_s;
  if (decoding > 0) {
    ns += static_cast<double>(config_.decode_per_token.count()) *
          (1 + config_.decode_slope * (decoding - 1));
  }
  // Bounded so that absurd settings cannot overflow the clock.
  step_end_ = now_ + SimTime(std::llround(std::clamp(ns, 1.0, 1e15)));
}

void Engine::Admit(uint64_t* budget, uint64_t* prefill_tokens, std::vector<EngineEvent>* events) {
  while (!waiting_.empty() && waiting_.front()->arrival <= now_ && *budget > 0 &&
         running_.size() < config_.max_running) {
    Sequence& next = *waiting_.front();
    const EngineRequest& request = next.request;
    // At least the last token is always computed: its logits give the next one.
    const size_t reusable =
        std::min<size_t>(request.block_hashes.size(), (next.known() - 1) / config_.block_tokens);
    const auto reused =
        std::span(request.block_hashes)
            .first(cache_.MatchPrefix(std::span(request.block_hashes).first(reusable)));
    const auto hits = static_cast<uint32_t>(reused.size());
    if (!cache_.Acquire(reused, BlocksFor(next.known()) - hits, &next.blocks)) return;

    const uint64_t cached = uint64_t{hits} * config_.block_tokens;
    next.published = hits;
    next.computed =
        std::max<uint64_t>(cached, std::min(request.transferred_tokens, request.prompt_tokens - 1));
    if (!next.admitted_before) {
      next.admitted_before = true;
      next.cached_tokens = static_cast<uint32_t>(cached);
      totals_.prompt_tokens += request.prompt_tokens;
      totals_.cached_tokens += cached;
      totals_.transferred_tokens += next.computed - cached;
    }
    next.scheduled = static_cast<uint32_t>(std::min(*budget, next.known() - next.computed));
    *budget -= next.scheduled;
    *prefill_tokens += next.scheduled;
    Emit(EngineEvent::Kind::kScheduled, next, events);
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

bool Engine::Grow(Sequence* sequence, uint64_t tokens, std::vector<EngineEvent>* events) {
  const uint32_t want = BlocksFor(tokens);
  while (sequence->blocks.size() < want &&
         !cache_.Acquire({}, want - static_cast<uint32_t>(sequence->blocks.size()),
                         &sequence->blocks)) {
    const bool itself = running_.back().get() == sequence;
    PreemptYoungest(events);
    if (itself) return false;
  }
  return true;
}

void Engine::PreemptYoungest(std::vector<EngineEvent>* events) {
  std::unique_ptr<Sequence> sequence = std::move(running_.back());
  running_.pop_back();
  cache_.Release(sequence->blocks);
  sequence->blocks.clear();
  sequence->computed = 0;
  sequence->scheduled = 0;
  sequence->published = 0;
  ++totals_.preemptions;
  Emit(EngineEvent::Kind::kPreempted, *sequence, events);
  waiting_.push_front(std::move(sequence));
}

void Engine::EndStep(std::vector<EngineEvent>* events) {
  step_end_ = kNever;
  size_t kept = 0;
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    sequence.computed += std::exchange(sequence.scheduled, 0);
    const std::vector<uint64_t>& hashes = sequence.request.block_hashes;
    for (; sequence.published < hashes.size() &&
           uint64_t{sequence.published + 1} * config_.block_tokens <= sequence.computed;
         ++sequence.published) {
      cache_.Publish(sequence.blocks[sequence.published], hashes[sequence.published]);
    }
    bool finished = false;
    if (sequence.computed == sequence.known()) {
      if (sequence.request.output_tokens > 0) {
        ++sequence.generated;
        ++totals_.generated_tokens;
        if (sequence.generated == 1) {
          Emit(EngineEvent::Kind::kFirstToken, sequence, events);
        } else if (config_.token_events) {
          Emit(EngineEvent::Kind::kToken, sequence, events);
        }
      }
      finished = sequence.generated == sequence.request.output_tokens;
    }
    if (finished) {
      ++totals_.finished;
      Emit(EngineEvent::Kind::kFinished, sequence, events);
      cache_.Release(sequence.blocks);
      running_[i].reset();
    } else {
      if (kept != i) running_[kept] = std::move(running_[i]);
      ++kept;
    }
  }
  running_.resize(kept);
}

void Engine::Emit(EngineEvent::Kind kind, const Sequence& sequence,
                  std::vector<EngineEvent>* events) {
  if (events == nullptr) return;
  events->push_back({.kind = kind,
                     .at = now_,
                     .request = sequence.request.id,
                     .tokens = sequence.generated,
                     .cached_tokens = sequence.cached_tokens});
}

EngineStats Engine::stats() const {
  EngineStats stats = totals_;
  stats.waiting = static_cast<uint32_t>(waiting_.size());
  stats.running = static_cast<uint32_t>(running_.size());
  stats.blocks_used = cache_.used();
  stats.blocks_idle = cache_.idle();
  stats.blocks = cache_.capacity();
  stats.evictions = cache_.evictions();
  return stats;
}

}  // namespace epp::sim
