#include "host/admin/decision_view.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "host/base/str_cat.h"

namespace epp::admin {

using telemetry::DecisionRecord;
using telemetry::Outcome;
using telemetry::ProfileRecord;

std::string_view OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kPending:
      return "pending";
    case Outcome::kOk:
      return "ok";
    case Outcome::kAborted:
      return "aborted";
    case Outcome::kRejected:
      return "rejected";
    case Outcome::kError:
      return "error";
  }
  return "unknown";
}

std::string_view GateName(telemetry::GateKind kind) {
  switch (kind) {
    case telemetry::GateKind::kHeaders:
      return "headers";
    case telemetry::GateKind::kScreener:
      return "screener";
    case telemetry::GateKind::kAdmitter:
      return "admitter";
  }
  return "unknown";
}

std::string DecisionId(const DecisionRecord& record) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof(digits), record.number, 16).ptr;
  return StrCat("d-", std::string_view(digits, static_cast<size_t>(end - digits)));
}

uint64_t ParseDecisionId(std::string_view text) {
  if (!text.starts_with("d-")) return 0;
  text.remove_prefix(2);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

DecisionView Resolve(const DecisionRecord& record, const Names& names) {
  DecisionView view;
  const std::shared_ptr<const GenerationNames> generation = names.Generation(record.generation);
  const auto plugin = [&](uint16_t index) -> PluginNames {
    if (generation && index < generation->plugins.size()) return generation->plugins[index];
    return {StrCat("plugin-", index), "", ""};
  };

  for (uint8_t g = 0; g < record.gate_count; ++g) {
    const telemetry::GateRecord& from = record.gates[g];
    view.gates.push_back({plugin(from.plugin).name, from.kind, from.in, from.out});
  }

  size_t dropped_at = 0;
  for (uint8_t p = 0; p < record.profile_count; ++p) {
    const ProfileRecord& from = record.profiles[p];
    DecisionView::Profile& to = view.profiles.emplace_back();
    to.name = generation && from.profile < generation->profiles.size()
                  ? generation->profiles[from.profile]
                  : StrCat("profile-", from.profile);
    to.primary = record.primary == p;
    to.failed = from.failed;
    to.candidates = from.candidates;
    to.ties = from.ties;
    to.omitted = from.omitted;
    to.omitted_best = from.omitted_best;
    for (uint8_t f = 0; f < from.filter_count; ++f) {
      DecisionView::Filter filter{
          plugin(from.filters[f].plugin).name, from.filters[f].in, from.filters[f].out, {}};
      // The record keeps the first of all dropped endpoints, in the order of the filters.
      const size_t gone = filter.in - filter.out;
      for (size_t k = 0;
           k < gone && dropped_at < record.dropped_count && record.dropped_by[dropped_at] == f;
           ++k) {
        filter.dropped.push_back(names.Endpoint(record.dropped[dropped_at++]).name);
      }
      to.filters.push_back(std::move(filter));
    }
    for (uint8_t s = 0; s < from.scorer_count; ++s) {
      const PluginNames scorer = plugin(from.scorers[s].plugin);
      to.scorers.push_back({scorer.name, scorer.first_column, from.scorers[s].weight});
    }
    if (from.row_count > 0) to.picker = plugin(from.picker).name;
    for (uint8_t k = 0; k < from.pick_count; ++k) {
      to.picks.push_back(names.Endpoint(from.picks[k]).name);
    }
    if (to.primary && from.pick_count > 0) view.destination = names.Endpoint(from.picks[0]);

    const double* cell = record.cells.data() + from.cells_begin;
    for (uint16_t r = 0; r < from.row_count; ++r) {
      DecisionView::Row row;
      row.id = std::bit_cast<uint64_t>(*cell++);
      row.name = names.Endpoint(row.id).name;
      row.total = *cell++;
      row.scores.assign(cell, cell + from.scorer_count);
      cell += from.scorer_count;
      row.columns.assign(cell, cell + from.scorer_count);
      cell += from.scorer_count;
      row.picked = std::find(from.picks.begin(), from.picks.begin() + from.pick_count, row.id) !=
                   from.picks.begin() + from.pick_count;
      to.rows.push_back(std::move(row));
    }
    std::stable_sort(to.rows.begin(), to.rows.end(), [](const auto& a, const auto& b) {
      return a.total != b.total ? a.total > b.total : a.picked && !b.picked;
    });
  }
  if (record.served != 0) view.served = names.Endpoint(record.served);
  return view;
}

}  // namespace epp::admin
