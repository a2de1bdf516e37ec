#include "host/base/interner.h"

#include <bit>
#include <functional>

namespace epp {

// Slots hold symbol numbers, 0 is free. Never more than half full, so probing ends.
struct Interner::Table {
  explicit Table(size_t size) : mask(size - 1), slots(new std::atomic<uint32_t>[size]) {
    for (size_t i = 0; i < size; ++i) slots[i].store(0, std::memory_order_relaxed);
  }
  size_t mask;
  std::unique_ptr<std::atomic<uint32_t>[]> slots;
};

Interner::Interner() : chunks_(new std::atomic<const std::string*>[kMaxSymbols / kChunk]) {
  for (uint32_t i = 0; i < kMaxSymbols / kChunk; ++i) {
    chunks_[i].store(nullptr, std::memory_order_relaxed);
  }
  tables_.push_back(std::make_unique<Table>(1024));
  table_.store(tables_.back().get(), std::memory_order_release);
}

Interner::~Interner() = default;

std::string_view Interner::Text(uint32_t symbol) const {
  if (symbol == 0 || symbol > count_.load(std::memory_order_acquire)) return "";
  const uint32_t index = symbol - 1;
  return chunks_[index / kChunk].load(std::memory_order_acquire)[index % kChunk];
}

uint32_t Interner::Find(std::string_view text) const {
  const Table& table = *table_.load(std::memory_order_acquire);
  for (size_t i = std::hash<std::string_view>()(text);; ++i) {
    const uint32_t symbol = table.slots[i & table.mask].load(std::memory_order_acquire);
    if (symbol == 0) return 0;
    if (Text(symbol) == text) return symbol;
  }
}

uint32_t Interner::Intern(std::string_view text) {
  if (const uint32_t found = Find(text)) return found;
  std::lock_guard lock(mutex_);
  if (const uint32_t found = Find(text)) return found;

  const uint32_t index = count_.load(std::memory_order_relaxed);
  if (index == kMaxSymbols) return 0;
  if (index % kChunk == 0) {
    owned_chunks_.push_back(std::make_unique<std::string[]>(kChunk));
    chunks_[index / kChunk].store(owned_chunks_.back().get(), std::memory_order_release);
  }
  owned_chunks_[index / kChunk][index % kChunk] = text;
  count_.store(index + 1, std::memory_order_release);

  Table* table = tables_.back().get();
  const auto insert = [this](Table& into, uint32_t symbol) {
    size_t i = std::hash<std::string_view>()(Text(symbol));
    while (into.slots[i & into.mask].load(std::memory_order_relaxed) != 0) ++i;
    into.slots[i & into.mask].store(symbol, std::memory_order_release);
  };
  if (2 * (size_t{index} + 1) > table->mask + 1) {
    tables_.push_back(std::make_unique<Table>(2 * (table->mask + 1)));
    table = tables_.back().get();
    for (uint32_t symbol = 1; symbol <= index + 1; ++symbol) insert(*table, symbol);
    table_.store(table, std::memory_order_release);
  } else {
    insert(*table, index + 1);
  }
  return index + 1;
}

}  // namespace epp
