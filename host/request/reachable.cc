#include "host/request/reachable.h"

#include <numeric>

namespace epp::request {

std::span<const uint32_t> Reachable(const pool::Frame& frame, std::span<const uint32_t> rows,
                                    Arena& arena) {
  if (frame.unreachable() == 0) return rows;
  const std::span<uint32_t> kept = arena.AllocArray<uint32_t>(rows.size());
  size_t n = 0;
  for (const uint32_t row : rows) {
    if (frame.states()[row] != pool::EndpointState::kUnreachable) kept[n++] = row;
  }
  return n == 0 ? rows : kept.first(n);
}

std::span<const uint32_t> Reachable(const pool::Frame& frame, Arena& arena) {
  if (frame.unreachable() == 0 || frame.unreachable() == frame.size()) return {};
  const std::span<uint32_t> all = arena.AllocArray<uint32_t>(frame.size());
  std::iota(all.begin(), all.end(), 0);
  return Reachable(frame, all, arena);
}

}  // namespace epp::request
