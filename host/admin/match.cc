#include "host/admin/match.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "host/admin/decision_view.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"

namespace epp::admin {
namespace {

constexpr std::array<std::string_view, 7> kTexts = {"model",   "endpoint", "candidate", "outcome",
                                                    "profile", "code",     "generation"};

absl::Status Unknown(std::string_view term) {
  return absl::InvalidArgumentError(
      StrCat("match: \"", term,
             "\" is no term, want model=, endpoint=, candidate=, outcome=, code=, profile=, "
             "generation=, slower=DURATION, ttft>DURATION or margin<NUMBER"));
}

bool NameMatches(std::string_view full, std::string_view wanted) {
  return full == wanted || full.substr(full.find('/') + 1) == wanted;
}

double Margin(const DecisionView::Profile& profile) {
  double pick = NAN;
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

absl::StatusOr<Match> Match::Parse(std::string_view expression) {
  Match match;
  while (!expression.empty()) {
    const size_t comma = expression.find(',');
    const std::string_view term = expression.substr(0, comma);
    expression = comma == std::string_view::npos ? "" : expression.substr(comma + 1);
    const size_t at = term.find_first_of("=<>");
    if (at == std::string_view::npos) return Unknown(term);
    Term parsed{std::string(term.substr(0, at)), std::string(term.substr(at + 1)), 0};
    const char op = term[at];
    if (op == '=' && std::find(kTexts.begin(), kTexts.end(), parsed.key) != kTexts.end()) {
      match.terms_.push_back(std::move(parsed));
      continue;
    }
    if ((parsed.key == "slower" && op == '=') || (parsed.key == "ttft" && op == '>')) {
      const absl::StatusOr<int64_t> ns = ParseGoDurationNs(parsed.text);
      if (!ns.ok()) {
        return absl::InvalidArgumentError(
            StrCat("match: \"", term, "\": want a duration such as \"1ms\""));
      }
      parsed.number = static_cast<double>(*ns);
      match.terms_.push_back(std::move(parsed));
      continue;
    }
    if (parsed.key == "margin" && op == '<') {
      const auto [end, error] = std::from_chars(
          parsed.text.data(), parsed.text.data() + parsed.text.size(), parsed.number);
      if (error != std::errc() || end != parsed.text.data() + parsed.text.size()) {
        return absl::InvalidArgumentError(StrCat("match: \"", term, "\": want a number"));
      }
      match.terms_.push_back(std::move(parsed));
      continue;
    }
    return Unknown(term);
  }
  return match;
}

bool Match::Matches(const telemetry::DecisionRecord& record, const Names& names) const {
  if (terms_.empty()) return true;
  const DecisionView view = Resolve(record, names);
  const DecisionView::Profile* primary = nullptr;
  for (const DecisionView::Profile& profile : view.profiles) {
    if (profile.primary) primary = &profile;
  }
  return std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
    if (term.key == "model") {
      return record.model.view() == term.text || record.target_model.view() == term.text;
    }
    if (term.key == "endpoint") return NameMatches(view.destination.name, term.text);
    if (term.key == "candidate") {
      return std::any_of(view.profiles.begin(), view.profiles.end(), [&](const auto& profile) {
        return std::any_of(profile.rows.begin(), profile.rows.end(),
                           [&](const auto& row) { return NameMatches(row.name, term.text); });
      });
    }
    if (term.key == "outcome") return OutcomeName(record.outcome) == term.text;
    if (term.key == "profile") {
      return std::any_of(view.profiles.begin(), view.profiles.end(),
                         [&](const auto& profile) { return profile.name == term.text; });
    }
    if (term.key == "code") return StrCat(record.http_status) == term.text;
    if (term.key == "generation") return StrCat(record.generation) == term.text;
    if (term.key == "slower") return record.total_ns > term.number;
    if (term.key == "ttft") return static_cast<double>(record.ttft_ns) > term.number;
    return primary && Margin(*primary) < term.number;  // margin
  });
}

}  // namespace epp::admin
