// The candidates of a request, and the dense columns that plugins get of them.
#pragma once

#include <cstdint>
#include <span>

#include "epp/abi.h"
#include "host/base/arena.h"
#include "host/pool/frame.h"
#include "host/scheduling/wiring.h"

namespace epp::scheduling {

// A column of n rows without a value; what is read anyway is 0, null or an empty list.
epp_column EmptyColumn(int32_t type, uint32_t n, Arena& arena);

// A list of endpoints with its columns. The first list of a request holds all its candidates; a
// filter that drops some makes a shorter one. A column is a view of the frame's when the list is
// the whole frame, else it is gathered once and kept.
//
// Memory: everything in the request's arena. Threads: one.
class CandidateList {
 public:
  // All endpoints of the frame, or those in `frame_rows` (ascending, in arena memory).
  static CandidateList* Of(const pool::Frame& frame, const uint32_t* frame_rows, uint32_t count,
                           uint64_t now_ns, const Wiring& wiring, Arena& arena);
  // The subset whose bit is set in `keep`, or `this` when all are.
  CandidateList* Keep(const uint64_t* keep, Arena& arena);

  uint32_t size() const { return count_; }
  const Wiring& wiring() const { return *wiring_; }
  std::span<const epp_endpoint* const> endpoints() const { return {endpoints_, count_}; }
  // Position of each among the request's candidates.
  std::span<const uint32_t> rows() const { return {rows_, count_}; }
  // Row of each in the frame, or null when the list is the whole frame, in order.
  const uint32_t* frame_rows() const { return frame_rows_; }

  // Tells the list of a produced column, dense over the request's candidates. First list only.
  void SetProduced(uint32_t produced, const epp_column& column);

  // The call's view with the plugin's columns, in arena memory.
  const epp_candidates* View(const BoundPlugin& plugin, Arena& arena);
  // A request-scope column.
  const epp_column& Column(const Source& source, Arena& arena);

 private:
  CandidateList() = default;
  epp_column Gather(const epp_column& from, const uint32_t* rows, int32_t type, Arena& arena) const;
  epp_column Ages(Arena& arena) const;

  const pool::Frame* frame_ = nullptr;
  const Wiring* wiring_ = nullptr;
  const CandidateList* root_ = nullptr;  // the request's candidates; itself for the first list
  uint32_t count_ = 0;
  uint64_t now_ns_ = 0;
  const epp_endpoint* const* endpoints_ = nullptr;
  const uint32_t* slots_ = nullptr;
  const uint32_t* rows_ = nullptr;        // positions in root_
  const uint32_t* frame_rows_ = nullptr;  // null: the whole frame, in order
  epp_column* cache_ = nullptr;           // by Wiring::SourceNumber
  uint64_t* cached_ = nullptr;            // bitmap over cache_
};

}  // namespace epp::scheduling
