// The latest attribute values of all endpoints, changed in place, one array an attribute.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "epp/abi.h"
#include "host/pool/attributes.h"

namespace epp::pool {

struct AttributeValue;

// Rows are dense; a removed row is replaced by the last one. Threads: none.
class ColumnStore {
 public:
  size_t rows() const { return rows_; }
  void AddRow();  // without any value
  // The last row takes the number of the removed one.
  void RemoveRow(size_t row);

  // Makes the column of `id` exist, all rows without value, unless it does.
  void Ensure(AttributeId id, int32_t type);
  bool Has(AttributeId id) const { return id < columns_.size() && columns_[id].has_value(); }
  // The field of `value` that the column's type asks for; ignored when the column does not exist.
  void Set(size_t row, const AttributeValue& value);

  // Bytes of a copy of everything, and that copy. `block` has SizeBytes() bytes and is aligned as
  // operator new aligns; the columns, one an attribute id, point into it.
  size_t SizeBytes() const;
  std::vector<epp_column> CopyTo(std::byte* block) const;

 private:
  struct Column {
    int32_t type = 0;
    uint32_t width = 0;             // bytes of a value, 0 for lists
    std::vector<std::byte> values;  // rows * width
    std::vector<uint64_t> validity;
    std::vector<std::vector<uint32_t>> lists;  // rows, for lists
  };
  static size_t ListItems(const Column& column);
  void Resize(Column& column) const;

  size_t rows_ = 0;
  std::vector<std::optional<Column>> columns_;  // by id
};

}  // namespace epp::pool
