#include "host/pool/columns.h"

#include <cstring>

#include "host/base/bitmap.h"
#include "host/pool/pool.h"

namespace epp::pool {
namespace {

// Every array of a block starts on a cache line of its own.
constexpr size_t Padded(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

uint32_t WidthOf(int32_t type) {
  switch (type) {
    case EPP_T_I64:
    case EPP_T_F64:
      return 8;
    case EPP_T_SYMBOL:
      return 4;
    case EPP_T_BOOL:
      return 1;
    default:
      return 0;
  }
}

}  // namespace

void ColumnStore::Resize(Column& column) const {
  column.validity.resize(bitmap::WordsFor(rows_));
  if (column.width == 0) {
    column.lists.resize(rows_);
  } else {
    column.values.resize(rows_ * column.width);
  }
}

void ColumnStore::AddRow() {
  ++rows_;
  for (auto& column : columns_) {
    if (column) Resize(*column);
  }
}

void ColumnStore::RemoveRow(size_t row) {
  const size_t last = rows_ - 1;
  --rows_;
  for (auto& column : columns_) {
    if (!column) continue;
    if (bitmap::Test(column->validity, last)) {
      bitmap::Set(column->validity, row);
    } else {
      bitmap::Unset(column->validity, row);
    }
    bitmap::Unset(column->validity, last);
    if (column->width == 0) {
      std::swap(column->lists[row], column->lists[last]);
    } else if (row != last) {
      std::memcpy(column->values.data() + row * column->width,
                  column->values.data() + last * column->width, column->width);
    }
    Resize(*column);
  }
}

void ColumnStore::Ensure(AttributeId id, int32_t type) {
  if (Has(id)) return;
  if (id >= columns_.size()) columns_.resize(id + 1);
  Column& column = columns_[id].emplace();
  column.type = type;
  column.width = WidthOf(type);
  Resize(column);
}

void ColumnStore::Set(size_t row, const AttributeValue& value) {
  if (!Has(value.id)) return;
  Column& column = *columns_[value.id];
  if (value.present) {
    bitmap::Set(column.validity, row);
  } else {
    bitmap::Unset(column.validity, row);
  }
  if (column.width == 0) {
    if (value.present) {
      column.lists[row] = value.symbols;
    } else {
      column.lists[row].clear();
    }
    return;
  }
  std::byte* at = column.values.data() + row * column.width;
  if (!value.present) {
    std::memset(at, 0, column.width);
  } else if (column.type == EPP_T_F64) {
    std::memcpy(at, &value.f64, sizeof(value.f64));
  } else if (column.type == EPP_T_I64) {
    std::memcpy(at, &value.i64, sizeof(value.i64));
  } else if (column.type == EPP_T_SYMBOL) {
    const auto symbol = static_cast<uint32_t>(value.i64);
    std::memcpy(at, &symbol, sizeof(symbol));
  } else {
    const uint8_t flag = value.i64 != 0;
    std::memcpy(at, &flag, sizeof(flag));
  }
}

size_t ColumnStore::ListItems(const Column& column) {
  size_t items = 0;
  for (const auto& list : column.lists) items += list.size();
  return items;
}

size_t ColumnStore::SizeBytes() const {
  size_t bytes = 64;  // to align the first array
  for (const auto& column : columns_) {
    if (!column) continue;
    bytes += Padded(column->validity.size() * sizeof(uint64_t));
    if (column->width == 0) {
      // One item more than needed, so that values is never null.
      bytes += Padded((rows_ + 1) * sizeof(uint32_t));
      bytes += Padded((ListItems(*column) + 1) * sizeof(uint32_t));
    } else {
      bytes += Padded(rows_ * column->width);
    }
  }
  return bytes;
}

std::vector<epp_column> ColumnStore::CopyTo(std::byte* block) const {
  std::byte* at =
      block + (Padded(reinterpret_cast<uintptr_t>(block)) - reinterpret_cast<uintptr_t>(block));
  const auto take = [&at](size_t bytes) {
    std::byte* const taken = at;
    at += Padded(bytes);
    return taken;
  };
  std::vector<epp_column> out(columns_.size(), epp_column{nullptr, nullptr, nullptr});
  if (rows_ == 0) return out;
  for (size_t id = 0; id < columns_.size(); ++id) {
    if (!columns_[id]) continue;
    const Column& column = *columns_[id];
    const size_t validity_bytes = column.validity.size() * sizeof(uint64_t);
    std::byte* const validity = take(validity_bytes);
    std::memcpy(validity, column.validity.data(), validity_bytes);
    out[id].validity = reinterpret_cast<const uint64_t*>(validity);
    if (column.width != 0) {
      std::byte* const values = take(column.values.size());
      std::memcpy(values, column.values.data(), column.values.size());
      out[id].values = values;
      continue;
    }
    auto* const offsets = reinterpret_cast<uint32_t*>(take((rows_ + 1) * sizeof(uint32_t)));
    auto* const items =
        reinterpret_cast<uint32_t*>(take((ListItems(column) + 1) * sizeof(uint32_t)));
    uint32_t count = 0;
    for (size_t row = 0; row < rows_; ++row) {
      offsets[row] = count;
      const std::vector<uint32_t>& list = column.lists[row];
      if (!list.empty()) std::memcpy(items + count, list.data(), list.size() * sizeof(uint32_t));
      count += static_cast<uint32_t>(list.size());
    }
    offsets[rows_] = count;
    out[id].values = items;
    out[id].offsets = offsets;
  }
  return out;
}

}  // namespace epp::pool
