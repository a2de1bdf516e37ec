#include "host/scheduling/outputs.h"

#include <algorithm>
#include <cstring>

#include "host/scheduling/calls.h"
#include "host/scheduling/candidates.h"

namespace epp::scheduling {
namespace {

size_t ValueSize(int32_t type) {
  switch (type) {
    case EPP_T_BOOL:
      return 1;
    case EPP_T_SYMBOL:
      return 4;
    default:
      return 8;
  }
}

}  // namespace

epp_out_column MakeOutput(int32_t type, uint32_t n, Arena& arena) {
  epp_out_column out{nullptr, Zeroed(std::max(n, 1u), arena, ~uint64_t{0}), nullptr};
  if (type == EPP_T_SYMBOL_LIST) return out;
  const size_t bytes = std::max<size_t>(ValueSize(type) * n, 8);
  out.values = arena.Alloc(bytes, 64);
  std::memset(out.values, 0, bytes);
  return out;
}

namespace {

// Empties the lists of rows that were cleared, in the producer's own memory.
void EmptyClearedLists(const epp_out_column& out, uint32_t n) {
  auto* items = static_cast<uint32_t*>(out.values);
  uint32_t at = out.offsets[0];
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t begin = out.offsets[i];
    const uint32_t count = TestBit(out.validity, i) ? out.offsets[i + 1] - begin : 0;
    std::memmove(items + at, items + begin, count * sizeof(uint32_t));
    out.offsets[i] = at;
    at += count;
  }
  out.offsets[n] = at;
}

}  // namespace

Outputs MakeOutputs(const BoundPlugin& plugin, const Wiring& wiring, uint32_t n, Arena& arena) {
  Outputs out;
  out.columns = arena.AllocArray<epp_out_column>(plugin.outputs.size() + 1).data();
  out.request_columns = arena.AllocArray<epp_out_column>(plugin.request_outputs.size() + 1).data();
  for (size_t i = 0; i < plugin.outputs.size(); ++i) {
    out.columns[i] = MakeOutput(wiring.produced[plugin.outputs[i]].type, n, arena);
  }
  for (size_t i = 0; i < plugin.request_outputs.size(); ++i) {
    out.request_columns[i] = MakeOutput(wiring.produced[plugin.request_outputs[i]].type, 1, arena);
  }
  out.abi = {sizeof(epp_outputs), 0, out.columns, out.request_columns};
  return out;
}

epp_column Published(const epp_out_column& out, int32_t type, uint32_t n, Arena& arena) {
  epp_column column{out.values, out.validity, out.offsets};
  if (type == EPP_T_SYMBOL_LIST && (out.values == nullptr || out.offsets == nullptr)) {
    return EmptyColumn(type, n, arena);
  }
  bool all = true;
  for (uint32_t i = 0; i < n; ++i) {
    if (TestBit(out.validity, i)) continue;
    all = false;
    if (type != EPP_T_SYMBOL_LIST) {
      std::memset(static_cast<char*>(out.values) + i * ValueSize(type), 0, ValueSize(type));
    }
  }
  if (all) {
    column.validity = nullptr;
  } else if (type == EPP_T_SYMBOL_LIST) {
    EmptyClearedLists(out, n);
  }
  return column;
}

}  // namespace epp::scheduling
