#include "host/shadow/tally.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace epp::shadow {
namespace {

using Count = std::atomic<uint64_t>;

// One writer, so that no locked instruction is needed.
void Bump(Count& count, uint64_t n = 1) {
  count.store(count.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}
uint64_t Read(const Count& count) { return count.load(std::memory_order_relaxed); }

// Margins in steps of a fourth of a doubling, from kSmallest on; the first bucket is all below.
constexpr double kSmallest = 0.001;
constexpr size_t kBuckets = 96;

size_t BucketOf(double margin) {
  if (!(margin > kSmallest)) return 0;
  const double step = std::ceil(4 * std::log2(margin / kSmallest));
  return static_cast<size_t>(std::clamp(step, 1.0, static_cast<double>(kBuckets - 1)));
}

// The middle of a bucket.
double ValueOf(size_t bucket) {
  return bucket == 0 ? 0 : kSmallest * std::exp2((static_cast<double>(bucket) - 0.5) / 4);
}

}  // namespace

struct Tally::Cell {
  // At most three quarters full, so a search ends soon.
  static constexpr size_t kSlots = 4096;
  static_assert(kEndpoints <= kSlots * 3 / 4);
  struct Slot {
    Count endpoint{0};
    Count live{0};
    Count candidate{0};
  };

  Slot& Of(uint64_t endpoint) {
    size_t at = static_cast<size_t>(endpoint * 0x9e3779b97f4a7c15u >> 52);
    for (;; at = (at + 1) % kSlots) {
      const uint64_t there = Read(slots[at].endpoint);
      if (there == endpoint) return slots[at];
      if (there != 0) continue;
      if (used == kEndpoints) return beyond;
      ++used;
      slots[at].endpoint.store(endpoint, std::memory_order_relaxed);
      return slots[at];
    }
  }

  alignas(64) Count agree{0};
  Count differ{0}, failed{0}, shed{0}, cpu_ns{0}, live_none{0}, candidate_none{0}, close{0};
  Count live_prompt{0}, live_cached{0}, candidate_prompt{0}, candidate_cached{0};
  std::array<Count, kBuckets> margins{};
  size_t used = 0;  // the worker's
  Slot beyond;
  std::array<Slot, kSlots> slots{};
};

Tally::Tally(uint32_t workers) {
  for (uint32_t w = 0; w < workers; ++w) cells_.push_back(std::make_unique<Cell>());
}

Tally::~Tally() = default;

void Tally::Add(uint32_t worker, const Decision& d) {
  Cell& cell = *cells_[worker];
  if (d.live == 0) Bump(cell.live_none);
  if (d.failed) return Bump(cell.failed);
  if (d.candidate == 0) Bump(cell.candidate_none);
  if (d.live != 0) Bump(cell.Of(d.live).live);
  if (d.candidate != 0) Bump(cell.Of(d.candidate).candidate);
  if (d.live == d.candidate) {
    Bump(cell.agree);
  } else {
    Bump(cell.differ);
    if (d.margin) Bump(cell.margins[BucketOf(*d.margin)]);
    if (d.margin && d.close) Bump(cell.close);
  }
  if (d.prompt_tokens <= 0) return;
  const auto prompt = static_cast<uint64_t>(d.prompt_tokens);
  const auto cached = [&](int64_t tokens, Count& of, Count& sum) {
    if (tokens < 0) return;
    Bump(of, prompt);
    Bump(sum, std::min(static_cast<uint64_t>(tokens), prompt));
  };
  cached(d.live_cached, cell.live_prompt, cell.live_cached);
  cached(d.candidate_cached, cell.candidate_prompt, cell.candidate_cached);
}

void Tally::Shed(uint32_t worker) { Bump(cells_[worker]->shed); }

void Tally::Spent(uint32_t worker, uint64_t cpu_ns) { Bump(cells_[worker]->cpu_ns, cpu_ns); }

Summary Tally::Totals() const {
  Summary sum;
  std::array<uint64_t, kBuckets> margins{};
  for (const auto& cell : cells_) {
    sum.agree += Read(cell->agree);
    sum.differ += Read(cell->differ);
    sum.failed += Read(cell->failed);
    sum.shed += Read(cell->shed);
    sum.cpu_ns += Read(cell->cpu_ns);
    sum.live_none += Read(cell->live_none);
    sum.candidate_none += Read(cell->candidate_none);
    sum.close += Read(cell->close);
    sum.live_prompt_tokens += Read(cell->live_prompt);
    sum.live_cached_tokens += Read(cell->live_cached);
    sum.candidate_prompt_tokens += Read(cell->candidate_prompt);
    sum.candidate_cached_tokens += Read(cell->candidate_cached);
    for (size_t b = 0; b < kBuckets; ++b) margins[b] += Read(cell->margins[b]);
  }
  for (const uint64_t n : margins) sum.margins += n;
  uint64_t below = 0;
  for (size_t b = 0; b < kBuckets && sum.margins > 0; ++b) {
    below += margins[b];
    if (2 * below < sum.margins) continue;
    sum.median_margin = ValueOf(b);
    break;
  }
  return sum;
}

Summary Tally::Sum() const {
  Summary sum = Totals();
  std::map<uint64_t, Picks> picks;
  const auto add = [&picks](uint64_t endpoint, const Cell::Slot& slot) {
    Picks& p = picks[endpoint];
    p.endpoint = endpoint;
    p.live += Read(slot.live);
    p.candidate += Read(slot.candidate);
  };
  for (const auto& cell : cells_) {
    for (const Cell::Slot& slot : cell->slots) {
      if (const uint64_t endpoint = Read(slot.endpoint); endpoint != 0) add(endpoint, slot);
    }
    if (Read(cell->beyond.live) + Read(cell->beyond.candidate) > 0) add(0, cell->beyond);
  }
  for (auto& [endpoint, p] : picks) sum.picks.push_back(p);
  return sum;
}

}  // namespace epp::shadow
