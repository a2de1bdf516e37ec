#include "host/scheduling/candidates.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace epp::scheduling {
namespace {

bool TestBit(const uint64_t* words, uint32_t i) { return words[i / 64] >> (i % 64) & 1; }
void SetBit(uint64_t* words, uint32_t i) { words[i / 64] |= uint64_t{1} << (i % 64); }
uint32_t Words(uint32_t bits) { return (bits + 63) / 64; }

uint64_t* ZeroedWords(uint32_t bits, Arena& arena) {
  const std::span<uint64_t> words = arena.AllocArray<uint64_t>(Words(bits));
  std::fill(words.begin(), words.end(), 0);  // no words, no pointer
  return words.data();
}

template <class T>
const void* GatherValues(const void* from, const uint32_t* rows, uint32_t n, Arena& arena) {
  T* out = arena.AllocArray<T>(n).data();
  const T* in = static_cast<const T*>(from);
  for (uint32_t i = 0; i < n; ++i) out[i] = in[rows[i]];
  return out;
}

// 0, 1, 2, ... shared by every request whose candidates are a whole frame.
const uint32_t* Identity(uint32_t n, Arena& arena) {
  static constexpr uint32_t kShared = 4096;
  static const uint32_t* const shared = [] {
    auto* rows = new uint32_t[kShared];
    for (uint32_t i = 0; i < kShared; ++i) rows[i] = i;
    return rows;
  }();
  if (n <= kShared) return shared;
  uint32_t* rows = arena.AllocArray<uint32_t>(n).data();
  for (uint32_t i = 0; i < n; ++i) rows[i] = i;
  return rows;
}

}  // namespace

epp_column EmptyColumn(int32_t type, uint32_t n, Arena& arena) {
  const bool list = type == EPP_T_SYMBOL_LIST;
  // No value is wider than eight bytes; zeros are null, none and an empty list as well.
  const uint64_t* zeros = ZeroedWords(64 * (n + 1), arena);
  return {zeros, ZeroedWords(std::max(n, 1u), arena),
          list ? reinterpret_cast<const uint32_t*>(zeros) : nullptr};
}

CandidateList* CandidateList::Of(const pool::Frame& frame, const uint32_t* frame_rows,
                                 uint32_t count, uint64_t now_ns, const Wiring& wiring,
                                 Arena& arena) {
  auto* list = new (arena.Alloc(sizeof(CandidateList), alignof(CandidateList))) CandidateList;
  list->frame_ = &frame;
  list->wiring_ = &wiring;
  list->root_ = list;
  list->count_ = count;
  list->now_ns_ = now_ns;
  list->rows_ = Identity(count, arena);
  if (frame_rows == nullptr) {
    list->endpoints_ = frame.endpoints().data();
    list->slots_ = frame.slots().data();
  } else {
    list->frame_rows_ = frame_rows;
    list->endpoints_ = static_cast<const epp_endpoint* const*>(
        GatherValues<const epp_endpoint*>(frame.endpoints().data(), frame_rows, count, arena));
    list->slots_ = static_cast<const uint32_t*>(
        GatherValues<uint32_t>(frame.slots().data(), frame_rows, count, arena));
  }
  list->cache_ = arena.AllocArray<epp_column>(wiring.source_count()).data();
  list->cached_ = ZeroedWords(wiring.source_count(), arena);
  return list;
}

CandidateList* CandidateList::Keep(const uint64_t* keep, Arena& arena) {
  uint32_t kept = 0;
  for (uint32_t w = 0; w < Words(count_); ++w) {
    const uint32_t bits = std::min(64u, count_ - w * 64);
    const uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    kept += static_cast<uint32_t>(std::popcount(keep[w] & mask));
  }
  if (kept == count_) return this;

  auto* list = new (arena.Alloc(sizeof(CandidateList), alignof(CandidateList))) CandidateList;
  list->frame_ = frame_;
  list->wiring_ = wiring_;
  list->root_ = root_;
  list->count_ = kept;
  list->now_ns_ = now_ns_;
  auto* endpoints = arena.AllocArray<const epp_endpoint*>(kept).data();
  uint32_t* slots = arena.AllocArray<uint32_t>(kept).data();
  uint32_t* rows = arena.AllocArray<uint32_t>(kept).data();
  uint32_t* frame_rows = arena.AllocArray<uint32_t>(kept).data();
  for (uint32_t i = 0, k = 0; i < count_; ++i) {
    if (!TestBit(keep, i)) continue;
    endpoints[k] = endpoints_[i];
    slots[k] = slots_[i];
    rows[k] = rows_[i];
    frame_rows[k] = frame_rows_ ? frame_rows_[i] : i;
    ++k;
  }
  list->endpoints_ = endpoints;
  list->slots_ = slots;
  list->rows_ = rows;
  list->frame_rows_ = frame_rows;
  list->cache_ = arena.AllocArray<epp_column>(wiring_->source_count()).data();
  list->cached_ = ZeroedWords(wiring_->source_count(), arena);
  return list;
}

void CandidateList::SetProduced(uint32_t produced, const epp_column& column) {
  const uint32_t number = wiring_->SourceNumber({Source::Kind::kProduced, produced});
  cache_[number] = column;
  SetBit(cached_, number);
}

const epp_column& CandidateList::Column(const Source& source, Arena& arena) {
  static constexpr epp_column kNull{nullptr, nullptr, nullptr};
  if (source.kind == Source::Kind::kNone) return kNull;
  const uint32_t number = wiring_->SourceNumber(source);
  if (TestBit(cached_, number)) return cache_[number];

  epp_column column = kNull;
  switch (source.kind) {
    case Source::Kind::kFrame: {
      const epp_column& from = frame_->column(wiring_->frame_columns[source.index]);
      const int32_t type = wiring_->frame_column_types[source.index];
      if (from.values == nullptr) {
        // A frame from before the attribute was known.
        column = EmptyColumn(type, count_, arena);
      } else {
        column = frame_rows_ ? Gather(from, frame_rows_, type, arena) : from;
      }
      break;
    }
    case Source::Kind::kProduced:
      // The first list has a produced column from when its producer ran.
      if (root_ == this) {
        column = EmptyColumn(wiring_->produced[source.index].type, count_, arena);
      }
      if (root_ != this && TestBit(root_->cached_, number)) {
        const Produced& produced = wiring_->produced[source.index];
        const epp_column& from = root_->cache_[number];
        column = produced.scope == EPP_SCOPE_ENDPOINT && from.values
                     ? Gather(from, rows_, produced.type, arena)
                     : from;
      }
      break;
    case Source::Kind::kAge:
      column = Ages(arena);
      break;
    case Source::Kind::kNone:
      break;
  }
  cache_[number] = column;
  SetBit(cached_, number);
  return cache_[number];
}

epp_column CandidateList::Gather(const epp_column& from, const uint32_t* rows, int32_t type,
                                 Arena& arena) const {
  epp_column out{nullptr, nullptr, nullptr};
  switch (type) {
    case EPP_T_I64:
      out.values = GatherValues<int64_t>(from.values, rows, count_, arena);
      break;
    case EPP_T_F64:
      out.values = GatherValues<double>(from.values, rows, count_, arena);
      break;
    case EPP_T_BOOL:
      out.values = GatherValues<uint8_t>(from.values, rows, count_, arena);
      break;
    case EPP_T_SYMBOL:
      out.values = GatherValues<uint32_t>(from.values, rows, count_, arena);
      break;
    case EPP_T_OPAQUE:
      out.values = GatherValues<const void*>(from.values, rows, count_, arena);
      break;
    case EPP_T_SYMBOL_LIST: {
      uint32_t items = 0;
      for (uint32_t i = 0; i < count_; ++i) {
        items += from.offsets[rows[i] + 1] - from.offsets[rows[i]];
      }
      uint32_t* values = arena.AllocArray<uint32_t>(items + 1).data();
      uint32_t* offsets = arena.AllocArray<uint32_t>(count_ + 1).data();
      uint32_t at = 0;
      for (uint32_t i = 0; i < count_; ++i) {
        offsets[i] = at;
        const uint32_t begin = from.offsets[rows[i]];
        const uint32_t n = from.offsets[rows[i] + 1] - begin;
        std::memcpy(values + at, static_cast<const uint32_t*>(from.values) + begin,
                    n * sizeof(uint32_t));
        at += n;
      }
      offsets[count_] = at;
      out.values = values;
      out.offsets = offsets;
      break;
    }
    default:
      break;
  }
  if (from.validity) {
    uint64_t* validity = ZeroedWords(count_, arena);
    for (uint32_t i = 0; i < count_; ++i) {
      if (TestBit(from.validity, rows[i])) SetBit(validity, i);
    }
    out.validity = validity;
  }
  return out;
}

epp_column CandidateList::Ages(Arena& arena) const {
  const std::span<const uint64_t> sampled = frame_->sampled_ns();
  int64_t* ages = arena.AllocArray<int64_t>(count_).data();
  uint64_t* validity = ZeroedWords(count_, arena);
  for (uint32_t i = 0; i < count_; ++i) {
    const uint64_t at = sampled[frame_rows_ ? frame_rows_[i] : i];
    ages[i] = at && now_ns_ > at ? static_cast<int64_t>(now_ns_ - at) : 0;
    if (at) SetBit(validity, i);
  }
  return {ages, validity, nullptr};
}

const epp_candidates* CandidateList::View(const BoundPlugin& plugin, Arena& arena) {
  epp_column* columns = nullptr;
  if (!plugin.columns.empty()) {
    columns = arena.AllocArray<epp_column>(plugin.columns.size()).data();
    for (size_t i = 0; i < plugin.columns.size(); ++i)
      columns[i] = Column(plugin.columns[i], arena);
  }
  return arena.New<epp_candidates>(static_cast<uint32_t>(sizeof(epp_candidates)), count_,
                                   static_cast<uint32_t>(plugin.columns.size()), 0u, columns,
                                   endpoints_, slots_, rows_, frame_->number());
}

}  // namespace epp::scheduling
