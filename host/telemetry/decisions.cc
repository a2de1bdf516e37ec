#include "host/telemetry/decisions.h"

#include <algorithm>
#include <cstddef>

namespace epp::telemetry {

void DecisionRecord::CopyTo(DecisionRecord& out) const {
  const size_t head = offsetof(DecisionRecord, cells);
  std::memcpy(static_cast<void*>(&out), this, head + cells_used * sizeof(double));
}

namespace {
constexpr int kAmendTries = 10'000;
}  // namespace

struct DecisionRings::Ring {
  struct Slot {
    std::atomic<bool> busy{false};
    DecisionRecord record;
    bool TryLock() {
      bool expected = false;
      return busy.compare_exchange_strong(expected, true, std::memory_order_acquire);
    }
    void Unlock() { busy.store(false, std::memory_order_release); }
  };
  explicit Ring(uint32_t size) : slots(std::max(1u, size)) {}

  // The slot written, or the ring's size when readers held both tries.
  uint32_t Write(const DecisionRecord& record) {
    for (int tries = 0; tries < 2; ++tries) {
      const uint32_t at = next;
      next = next + 1 == slots.size() ? 0 : next + 1;
      if (!slots[at].TryLock()) continue;
      record.CopyTo(slots[at].record);
      slots[at].Unlock();
      return at;
    }
    return static_cast<uint32_t>(slots.size());
  }

  std::vector<Slot> slots;
  uint32_t next = 0;
};

DecisionRings::DecisionRings(uint32_t workers, Options options) : options_(options) {
  if (!enabled()) return;
  for (uint32_t w = 0; w < workers; ++w) {
    all_.push_back(std::make_unique<Ring>(options.records / workers));
    failures_.push_back(std::make_unique<Ring>(options.failures / workers));
  }
}

DecisionRings::~DecisionRings() = default;

DecisionTicket DecisionRings::Add(uint32_t worker, DecisionRecord& record) {
  // Numbered even when not kept: the number is the request's in the log.
  record.number = next_number_.fetch_add(1, std::memory_order_relaxed);
  if (!enabled()) return {};
  DecisionTicket ticket{worker, 0, record.number};
  ticket.slot = all_[worker]->Write(record);
  if (ticket.slot == all_[worker]->slots.size()) ticket.number = 0;
  if (record.outcome == Outcome::kRejected || record.outcome == Outcome::kError) {
    failures_[worker]->Write(record);
  }
  return ticket;
}

void DecisionRings::Amend(const DecisionTicket& ticket,
                          const std::function<void(DecisionRecord&)>& change) {
  if (ticket.number == 0) return;
  Ring::Slot& slot = all_[ticket.worker]->slots[ticket.slot];
  // A reader holds a slot for as long as a copy takes. Only one that lost its core for longer makes
  // us give up.
  int tries = 0;
  while (!slot.TryLock()) {
    if (++tries == kAmendTries) return;
  }
  if (slot.record.number == ticket.number) change(slot.record);
  slot.Unlock();
}

void DecisionRings::Visit(const std::function<bool(const DecisionRecord&)>& visit) const {
  std::vector<std::unique_ptr<DecisionRecord>> found;
  for (const auto* rings : {&all_, &failures_}) {
    for (const std::unique_ptr<Ring>& ring : *rings) {
      for (Ring::Slot& slot : ring->slots) {
        if (!slot.TryLock()) continue;
        if (slot.record.number != 0) {
          found.push_back(std::make_unique<DecisionRecord>());
          slot.record.CopyTo(*found.back());
        }
        slot.Unlock();
      }
    }
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a->number > b->number; });
  uint64_t last = 0;
  for (const auto& record : found) {
    if (record->number == last) continue;
    last = record->number;
    if (!visit(*record)) return;
  }
}

uint64_t DecisionRings::total() const { return next_number_.load(std::memory_order_relaxed) - 1; }

}  // namespace epp::telemetry
