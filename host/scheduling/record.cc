#include "host/scheduling/record.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace epp::scheduling {
namespace {

constexpr double kNoValue = std::numeric_limits<double>::quiet_NaN();

// The type of the attribute behind a source, or 0.
int32_t TypeOf(const Wiring& wiring, const Source& source) {
  switch (source.kind) {
    case Source::Kind::kFrame:
      return wiring.frame_column_types[source.index];
    case Source::Kind::kProduced:
      return wiring.produced[source.index].type;
    case Source::Kind::kAge:
      return EPP_T_I64;
    case Source::Kind::kNone:
      break;
  }
  return 0;
}

double ValueAt(const epp_column& column, int32_t type, uint32_t i) {
  if (column.values == nullptr) return kNoValue;
  if (column.validity && !(column.validity[i / 64] >> (i % 64) & 1)) return kNoValue;
  switch (type) {
    case EPP_T_I64:
      return static_cast<double>(static_cast<const int64_t*>(column.values)[i]);
    case EPP_T_F64:
      return static_cast<const double*>(column.values)[i];
    case EPP_T_BOOL:
      return static_cast<const uint8_t*>(column.values)[i];
    case EPP_T_SYMBOL_LIST:
      return column.offsets[i + 1] - column.offsets[i];
    default:
      return kNoValue;
  }
}

}  // namespace

void RecordFilter(telemetry::DecisionRecord& record, telemetry::ProfileRecord& profile,
                  const BoundPlugin& plugin, const CandidateList& before,
                  const CandidateList& after) {
  if (profile.filter_count == telemetry::ProfileRecord::kMaxSteps) return;
  profile.filters[profile.filter_count] = {static_cast<uint16_t>(plugin.index), before.size(),
                                           after.size()};
  // Both lists are in the same order, so one walk finds what is missing.
  size_t k = 0;
  for (uint32_t i = 0; i < before.size(); ++i) {
    if (k < after.size() && after.rows()[k] == before.rows()[i]) {
      ++k;
      continue;
    }
    if (record.dropped_count == telemetry::DecisionRecord::kMaxDropped) break;
    record.dropped[record.dropped_count] = before.endpoints()[i]->id;
    record.dropped_by[record.dropped_count] = profile.filter_count;
    ++record.dropped_count;
  }
  ++profile.filter_count;
}

void RecordScores(telemetry::DecisionRecord& record, telemetry::ProfileRecord& out,
                  const Profile& profile, CandidateList& list, const double* scores,
                  const double* totals, std::span<const uint32_t> picks, size_t max_cells,
                  Arena& arena) {
  const uint32_t n = list.size();
  out.picker = static_cast<uint16_t>(profile.picker.plugin->index);
  out.scorer_count =
      static_cast<uint8_t>(std::min(profile.scorers.size(), telemetry::ProfileRecord::kMaxSteps));
  struct Shown {
    const epp_column* column = nullptr;
    int32_t type = 0;
  };
  std::array<Shown, telemetry::ProfileRecord::kMaxSteps> shown;
  for (size_t s = 0; s < out.scorer_count; ++s) {
    const ScorerStep& step = profile.scorers[s];
    out.scorers[s] = {static_cast<uint16_t>(step.plugin->index), step.weight};
    if (step.plugin->columns.empty()) continue;
    shown[s] = {&list.Column(step.plugin->columns[0], arena),
                TypeOf(list.wiring(), step.plugin->columns[0])};
  }
  out.pick_count =
      static_cast<uint8_t>(std::min(picks.size(), telemetry::ProfileRecord::kMaxPicks));
  for (size_t p = 0; p < out.pick_count; ++p) out.picks[p] = list.endpoints()[picks[p]]->id;

  const double best = *std::max_element(totals, totals + n);
  out.ties =
      static_cast<uint16_t>(std::min<ptrdiff_t>(std::count(totals, totals + n, best), 0xffff));

  const size_t stride = out.stride();
  const size_t room = std::min(max_cells, telemetry::DecisionRecord::kMaxCells - record.cells_used);
  const uint32_t capacity = static_cast<uint32_t>(room / stride);
  out.cells_begin = record.cells_used;

  const auto write = [&](uint32_t i) {
    double* cell = record.cells.data() + record.cells_used;
    *cell++ = std::bit_cast<double>(list.endpoints()[i]->id);
    *cell++ = totals[i];
    for (size_t s = 0; s < out.scorer_count; ++s) *cell++ = scores[s * n + i];
    for (size_t s = 0; s < out.scorer_count; ++s) {
      *cell++ = shown[s].column ? ValueAt(*shown[s].column, shown[s].type, i) : kNoValue;
    }
    record.cells_used = static_cast<uint16_t>(record.cells_used + stride);
    ++out.row_count;
  };

  if (n <= capacity) {
    for (uint32_t i = 0; i < n; ++i) write(i);
    return;
  }
  // Three quarters for the best, the rest spread over the others; a pick always has its row.
  uint32_t* order = arena.AllocArray<uint32_t>(n).data();
  for (uint32_t i = 0; i < n; ++i) order[i] = i;
  uint32_t front = 0;
  for (size_t p = 0; p < out.pick_count && front < capacity; ++p) {
    std::swap(*std::find(order + front, order + n, picks[p]), order[front]);
    ++front;
  }
  const uint32_t best_rows = std::max(front, capacity - capacity / 4);
  if (best_rows < n) {
    std::nth_element(order + front, order + best_rows, order + n,
                     [&](uint32_t a, uint32_t b) { return totals[a] > totals[b]; });
  }
  for (uint32_t i = 0; i < best_rows; ++i) write(order[i]);
  const uint32_t rest = n - best_rows;
  const uint32_t spread = std::min(rest, capacity - best_rows);
  for (uint32_t k = 0; k < spread; ++k) {
    const uint32_t at = best_rows + static_cast<uint32_t>(uint64_t{k} * rest / spread);
    write(order[at]);
  }
  out.omitted = rest - spread;
  out.omitted_best = -std::numeric_limits<double>::infinity();
  for (uint32_t i = best_rows, k = 0; i < n; ++i) {
    if (k < spread && i == best_rows + static_cast<uint32_t>(uint64_t{k} * rest / spread)) {
      ++k;  // shown above
      continue;
    }
    out.omitted_best = std::max(out.omitted_best, totals[order[i]]);
  }
}

}  // namespace epp::scheduling
