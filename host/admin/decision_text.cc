#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "host/admin/decision_view.h"
#include "host/base/str_cat.h"
#include "host/base/strings.h"
#include "host/base/utf8.h"

namespace epp::admin {
namespace {

using telemetry::DecisionRecord;
using telemetry::Outcome;

constexpr size_t kShownRows = 4;
constexpr double kBarPerPoint = 5.0;  // characters for one point of total
constexpr size_t kMaxBar = 40;

// Foreign text, made harmless for a terminal.
std::string Clean(std::string_view text) {
  std::string out = utf8::Sanitise(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

std::string TimeOfDay(uint64_t unix_ns) {
  return absl::FormatTime("%H:%M:%E3S", absl::FromUnixNanos(static_cast<int64_t>(unix_ns)),
                          absl::LocalTimeZone());
}

std::string Micros(uint32_t ns) { return absl::StrFormat("%.1f us", ns * 1e-3); }

// A letter for each scorer: its first that no other has taken.
std::vector<char> Letters(const std::vector<DecisionView::Scorer>& scorers) {
  std::vector<char> letters;
  for (const DecisionView::Scorer& scorer : scorers) {
    char letter = '#';
    for (const char c : scorer.plugin) {
      const char upper = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      if (upper < 'A' || upper > 'Z') continue;
      if (std::find(letters.begin(), letters.end(), upper) != letters.end()) continue;
      letter = upper;
      break;
    }
    letters.push_back(letter);
  }
  return letters;
}

std::string Bar(const DecisionView::Row& row, const std::vector<DecisionView::Scorer>& scorers,
                const std::vector<char>& letters) {
  std::string bar;
  for (size_t s = 0; s < row.scores.size(); ++s) {
    const double part = row.scores[s] * scorers[s].weight;
    if (part <= 0) continue;
    bar.append(static_cast<size_t>(std::lround(part * kBarPerPoint)), letters[s]);
  }
  if (bar.size() > kMaxBar) bar.resize(kMaxBar);
  return bar;
}

std::string Weighted(const DecisionView::Scorer& scorer) {
  return StrCat(scorer.plugin, " x", absl::StrFormat("%g", scorer.weight));
}

std::string Number(double value) {
  if (std::isnan(value)) return "-";
  return std::floor(value) == value ? absl::StrFormat("%.0f", value)
                                    : absl::StrFormat("%.2f", value);
}

void AppendGates(const DecisionView& view, std::string* out) {
  for (const DecisionView::Gate& gate : view.gates) {
    if (gate.kind == telemetry::GateKind::kScreener) {
      StrAppend(out, "screened ", gate.plugin, "  ", gate.in, " -> ", gate.out, "\n");
    } else {
      StrAppend(out, gate.kind == telemetry::GateKind::kAdmitter ? "denied   " : "refused  ",
                gate.plugin, "\n");
    }
  }
  if (!view.gates.empty()) out->append("\n");
}

void AppendFilters(const DecisionView::Profile& profile, std::string* out) {
  const char* head = "filters  ";
  for (const DecisionView::Filter& filter : profile.filters) {
    StrAppend(out, head, filter.plugin, "  ", filter.in, " -> ", filter.out);
    head = "         ";
    if (!filter.dropped.empty()) {
      out->append("   dropped ");
      const size_t shown = std::min<size_t>(filter.dropped.size(), 4);
      for (size_t i = 0; i < shown; ++i) StrAppend(out, i ? ", " : "", filter.dropped[i]);
      if (filter.in - filter.out > shown) {
        StrAppend(out, " and ", filter.in - filter.out - shown, " more");
      }
    }
    out->append("\n");
  }
  if (!profile.filters.empty()) out->append("\n");
}

void AppendScores(const DecisionView::Profile& profile, const ExplainOptions& options,
                  std::string* out) {
  size_t name_width = 8;
  for (const DecisionView::Row& row : profile.rows) {
    name_width = std::max(name_width, std::min<size_t>(row.name.size(), 40));
  }
  const std::vector<char> letters = Letters(profile.scorers);
  absl::StrAppendFormat(out, "scores   %-*s  %7s", static_cast<int>(name_width) + 2, "  endpoint",
                        "total");
  for (const DecisionView::Scorer& scorer : profile.scorers) {
    absl::StrAppendFormat(out, "  %s", Weighted(scorer));
  }
  if (options.columns) {
    for (const DecisionView::Scorer& scorer : profile.scorers) {
      if (!scorer.column.empty()) absl::StrAppendFormat(out, "  %s", scorer.column);
    }
  }
  out->append("\n");

  const size_t shown =
      options.all ? profile.rows.size() : std::min(profile.rows.size(), kShownRows);
  for (size_t r = 0; r < shown; ++r) {
    const DecisionView::Row& row = profile.rows[r];
    absl::StrAppendFormat(out, "       %s %-*s  %7.2f", row.picked ? "  >" : "   ",
                          static_cast<int>(name_width), MiddleEllipsis(row.name, name_width),
                          row.total);
    for (size_t s = 0; s < row.scores.size(); ++s) {
      absl::StrAppendFormat(out, "  %*.2f", static_cast<int>(Weighted(profile.scorers[s]).size()),
                            row.scores[s] * profile.scorers[s].weight);
    }
    if (options.columns) {
      for (size_t s = 0; s < row.columns.size(); ++s) {
        if (profile.scorers[s].column.empty()) continue;
        absl::StrAppendFormat(out, "  %*s", static_cast<int>(profile.scorers[s].column.size()),
                              Number(row.columns[s]));
      }
    }
    StrAppend(out, "  ", Bar(row, profile.scorers, letters), "\n");
  }
  const size_t rest = profile.rows.size() - shown + profile.omitted;
  if (rest > 0) {
    const double best =
        shown < profile.rows.size() ? profile.rows[shown].total : profile.omitted_best;
    absl::StrAppendFormat(out, "           %d more, best %.2f%s\n", rest, best,
                          options.all ? "" : " (--all)");
  }
}

void AppendPicker(const DecisionView::Profile& profile, std::string* out) {
  StrAppend(out, "\npicker   ", profile.picker, ": ");
  if (profile.ties > 1) {
    StrAppend(out, "best total, shared by ", profile.ties, " endpoints\n");
  } else if (!profile.rows.empty() && profile.rows[0].picked) {
    out->append("highest total, no tie\n");
  } else {
    out->append("picked by its own rule\n");
  }
}

void AppendOutcome(const DecisionRecord& record, const DecisionView& view, std::string* out) {
  out->append("outcome  ");
  if (record.outcome == Outcome::kPending) {
    out->append("pending: sent on, no end seen yet\n");
    return;
  }
  if (record.http_status != 0) StrAppend(out, record.http_status);
  if (record.outcome == Outcome::kAborted) {
    out->append(record.http_status ? ", aborted" : "aborted before an answer");
  }
  if (!view.served.host_port.empty()) StrAppend(out, " from ", view.served.host_port);
  if (record.ttft_ns) {
    absl::StrAppendFormat(out, ", ttft %.0f ms", static_cast<double>(record.ttft_ns) * 1e-6);
  }
  if (record.output_tokens >= 0) StrAppend(out, ", ", record.output_tokens, " tokens");
  if (record.duration_ns) {
    absl::StrAppendFormat(out, " in %.3g s", static_cast<double>(record.duration_ns) * 1e-9);
  }
  out->append("\n");
  if (record.cached_predicted >= 0 || record.cached_observed >= 0) {
    out->append("         cached tokens:");
    if (record.cached_predicted >= 0) {
      StrAppend(out, " predicted ", GroupThousands(record.cached_predicted));
    }
    if (record.cached_observed >= 0) {
      StrAppend(out, record.cached_predicted >= 0 ? "," : "", " observed ",
                GroupThousands(record.cached_observed));
    }
    out->append("\n");
  }
}

// What was asked, on one line.
void AppendHead(const DecisionRecord& record, std::string* out) {
  StrAppend(out, Clean(record.request_id.view()), "  ", DecisionId(record), "  ",
            TimeOfDay(record.unix_ns), "  ");
  if (record.target_model.view().empty() || record.target_model.view() == record.model.view()) {
    out->append(Clean(record.model.view().empty() ? record.path.view() : record.model.view()));
  } else {
    StrAppend(out, Clean(record.model.view()), " -> ", Clean(record.target_model.view()));
  }
  StrAppend(out, "  ", record.streaming ? "streamed, " : "", FormatIecBytes(record.body_bytes));
  if (record.tokens >= 0) StrAppend(out, ", ~", GroupThousands(record.tokens), " tokens");
  StrAppend(out, "  generation ", record.generation, "\n");
}

// The margin between the pick and the best other row.
double Margin(const DecisionView::Profile& profile) {
  double pick = 0;
  double other = profile.omitted ? profile.omitted_best : -INFINITY;
  for (const DecisionView::Row& row : profile.rows) {
    if (!profile.picks.empty() && row.name == profile.picks[0]) {
      pick = row.total;
    } else {
      other = std::max(other, row.total);
    }
  }
  return pick - other;
}

}  // namespace

std::string DecisionText(const DecisionRecord& record, const Names& names,
                         const ExplainOptions& options) {
  const DecisionView view = Resolve(record, names);
  std::string out;
  AppendHead(record, &out);
  if (record.outcome == Outcome::kRejected || record.outcome == Outcome::kError) {
    StrAppend(&out, OutcomeName(record.outcome), " ", record.http_status);
    if (!record.drop_reason.view().empty()) StrAppend(&out, " ", record.drop_reason.view());
    StrAppend(&out, ": ", Clean(record.message.view()), "\n");
    if (record.subset >= 0) {
      StrAppend(&out, "\nsubset   the gateway allows only ", record.subset,
                " address(es) (x-gateway-destination-endpoint-subset)\n");
    }
    if (!view.gates.empty()) out.append("\n");
    AppendGates(view, &out);
    for (const DecisionView::Profile& profile : view.profiles) {
      StrAppend(&out, "\nprofile ", profile.name, "\n");
      AppendFilters(profile, &out);
    }
    return out;
  }
  for (const DecisionView::Profile& profile : view.profiles) {
    if (profile.primary) {
      StrAppend(&out, "picked ", view.destination.name, " (", view.destination.host_port, ") of ",
                profile.candidates);
      const double margin = Margin(profile);
      if (std::isfinite(margin)) {
        absl::StrAppendFormat(&out, "; %.2f ahead of the next", margin);
      }
      StrAppend(&out, "; decided in ", Micros(record.total_ns), "\n\n");
    }
  }
  AppendGates(view, &out);
  for (const DecisionView::Profile& profile : view.profiles) {
    if (view.profiles.size() > 1) StrAppend(&out, "profile  ", profile.name, "\n");
    AppendFilters(profile, &out);
    if (profile.failed) {
      out.append("failed: no candidate was left\n\n");
      continue;
    }
    AppendScores(profile, options, &out);
    AppendPicker(profile, &out);
  }
  AppendOutcome(record, view, &out);
  return out;
}

std::string DecisionLine(const DecisionRecord& record, const Names& names) {
  const DecisionView view = Resolve(record, names);
  return absl::StrFormat("%-8s %s  %-8s %3d  %-28s %-24s %s\n", DecisionId(record),
                         TimeOfDay(record.unix_ns), OutcomeName(record.outcome), record.http_status,
                         MiddleEllipsis(Clean(record.model.view()), 28),
                         MiddleEllipsis(view.destination.name, 24), Micros(record.total_ns));
}

}  // namespace epp::admin
