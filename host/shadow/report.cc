#include "host/shadow/report.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string_view>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"

namespace epp::shadow {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr size_t kMovers = 3;
// Picks of a few requests are unevenly spread by chance.
constexpr uint64_t kPicksToJudge = 100;
constexpr double kCollapse = 2.0;
// A move of less is no news.
constexpr double kLeastMove = 0.001;

std::optional<double> Ratio(uint64_t part, uint64_t whole) {
  if (whole == 0) return std::nullopt;
  return static_cast<double>(part) / static_cast<double>(whole);
}

struct Mover {
  size_t index = 0;   // into picks
  double change = 0;  // of the share of all picks
};

// What the counts mean.
struct Derived {
  explicit Derived(const Report& r) {
    const Summary& s = r.summary;
    agreement = Ratio(s.agree, s.agree + s.differ);
    live_cached = Ratio(s.live_cached_tokens, s.live_prompt_tokens);
    candidate_cached = Ratio(s.candidate_cached_tokens, s.candidate_prompt_tokens);
    uint64_t live_most = 0, candidate_most = 0;
    for (size_t i = 0; i < s.picks.size(); ++i) {
      live_picks += s.picks[i].live;
      candidate_picks += s.picks[i].candidate;
      if (s.picks[i].endpoint == 0) continue;
      live_most = std::max(live_most, s.picks[i].live);
      if (s.picks[i].candidate > candidate_most) {
        candidate_most = s.picks[i].candidate;
        busiest = i;
      }
    }
    const auto spread = [&](uint64_t most, uint64_t all) -> std::optional<double> {
      if (all == 0 || r.endpoints == 0) return std::nullopt;
      return static_cast<double>(most) * static_cast<double>(r.endpoints) /
             static_cast<double>(all);
    };
    live_spread = spread(live_most, live_picks);
    candidate_spread = spread(candidate_most, candidate_picks);
    collapses = live_spread && candidate_spread && candidate_picks >= kPicksToJudge &&
                *candidate_spread > kCollapse * *live_spread;
    for (size_t i = 0; i < s.picks.size(); ++i) {
      if (s.picks[i].endpoint == 0) continue;
      const double change = Ratio(s.picks[i].candidate, candidate_picks).value_or(0) -
                            Ratio(s.picks[i].live, live_picks).value_or(0);
      if (std::abs(change) >= kLeastMove) movers.push_back({i, change});
    }
    std::sort(movers.begin(), movers.end(), [](const Mover& a, const Mover& b) {
      return std::abs(a.change) > std::abs(b.change);
    });
    movers.resize(std::min(movers.size(), kMovers));
    cost_us = Ratio(s.cpu_ns, s.decisions() * 1000).value_or(0);
    cpu_share = Ratio(s.cpu_ns, r.elapsed_ns * r.workers).value_or(0);
  }

  std::optional<double> agreement, live_cached, candidate_cached, live_spread, candidate_spread;
  uint64_t live_picks = 0, candidate_picks = 0;
  size_t busiest = 0;  // of the candidate; into picks
  bool collapses = false;
  std::vector<Mover> movers;
  double cost_us = 0;
  double cpu_share = 0;
};

// "28 304"
std::string Grouped(uint64_t n) {
  std::string out = StrCat(n);
  for (size_t at = out.size(); at > 3;) out.insert(at -= 3, 1, ' ');
  return out;
}

// "0.02 %", "61 %", "<0.001 %"
std::string Percent(double share, int digits) {
  return absl::StrFormat("%.*f %%", digits, share * 100);
}

std::string Sample(double share) { return absl::StrFormat("%.4g %%", share * 100); }

// "41 min", "12 s"
std::string Span(uint64_t ns) {
  const uint64_t seconds = ns / kSecond;
  return seconds < 60 ? StrCat(seconds, " s") : StrCat(seconds / 60, " min");
}

std::string Progress(const Report& r) {
  if (r.planned_ns == 0) return Span(r.elapsed_ns);
  // "41 min of 60"; in seconds as long as a minute says too little.
  const bool minutes = r.elapsed_ns >= 60 * kSecond && r.planned_ns >= 60 * kSecond;
  if (minutes) return StrCat(Span(r.elapsed_ns), " of ", r.planned_ns / kSecond / 60);
  return StrCat(Span(r.elapsed_ns), " of ", Span(r.planned_ns));
}

std::string Join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) StrAppend(&out, out.empty() ? "" : ", ", part);
  return out;
}

std::string Row(std::string_view name, const std::string& live, const std::string& candidate,
                std::string_view rest) {
  std::string row = absl::StrFormat("%-25s%9s%13s", std::string(name), live, candidate);
  if (!rest.empty()) StrAppend(&row, "   ", rest);
  return row + "\n";
}

std::string OrDash(const std::optional<double>& value, bool percent) {
  if (!value) return "-";
  return percent ? absl::StrFormat("%.0f %%", *value * 100) : absl::StrFormat("%.2f", *value);
}

std::string_view StateName(Report::State state) {
  switch (state) {
    case Report::State::kRunning:
      return "running";
    case Report::State::kEnded:
      return "ended";
    case Report::State::kNone:
      break;
  }
  return "none";
}

std::string Utc(uint64_t unix_ns) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixNanos(static_cast<int64_t>(unix_ns)),
                          absl::UTCTimeZone());
}

void Optional(std::string_view name, const std::optional<double>& value, JsonWriter& w) {
  if (value) {
    w.Field(name, *value);
  } else {
    w.Key(name).Null();
  }
}

void Texts(std::string_view name, const std::vector<std::string>& texts, JsonWriter& w) {
  w.Key(name).BeginArray();
  for (const std::string& text : texts) w.Value(text);
  w.EndArray();
}

}  // namespace

std::string ReportJson(const Report& r) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.shadow/1").Field("state", StateName(r.state));
  if (r.state == Report::State::kNone) {
    w.EndObject();
    return out;
  }
  const Summary& s = r.summary;
  const Derived d(r);
  w.Field("source", r.from_config ? "config" : "operator");
  w.Field("file", r.file).Field("digest", r.digest).Field("sample", r.sample);
  w.Field("started", Utc(r.started_unix_ns));
  w.Field("elapsed_s", r.elapsed_ns / kSecond);
  if (r.planned_ns != 0) w.Field("planned_s", r.planned_ns / kSecond);
  if (!r.ended.empty()) w.Field("ended", r.ended);
  w.Field("generation", r.generation).Field("rebuilds", r.rebuilds);
  w.Field("decisions", s.decisions()).Field("agree", s.agree).Field("differ", s.differ);
  w.Field("failed", s.failed).Field("shed", s.shed);
  w.Field("cost_us", d.cost_us).Field("cpu_share", d.cpu_share);
  Optional("agreement", d.agreement, w);
  Optional("margin_median", s.margins ? std::optional(s.median_margin) : std::nullopt, w);
  Optional("close_calls", Ratio(s.close, s.margins), w);
  const auto pair = [&w](std::string_view name, const std::optional<double>& live,
                         const std::optional<double>& candidate) {
    w.Key(name).BeginObject();
    Optional("live", live, w);
    Optional("candidate", candidate, w);
    w.EndObject();
  };
  pair("cached_tokens", d.live_cached, d.candidate_cached);
  pair("busiest_over_mean", d.live_spread, d.candidate_spread);
  w.Key("no_candidate").BeginObject();
  w.Field("live", s.live_none).Field("candidate", s.candidate_none).EndObject();
  w.Key("movers").BeginArray();
  for (const Mover& mover : d.movers) {
    w.BeginObject();
    w.Field("endpoint", r.names[mover.index]).Field("change", mover.change);
    w.EndObject();
  }
  w.EndArray();
  w.Key("own_producers").BeginArray();
  for (const OwnProducer& own : r.own_producers) {
    w.BeginObject();
    w.Field("name", own.name).Field("inherited", own.inherited).EndObject();
  }
  w.EndArray();
  Texts("unfed", r.unfed, w);
  w.Field("collapses_onto", d.collapses ? r.names[d.busiest] : std::string());
  w.EndObject();
  return out;
}

std::string ReportText(const Report& r) {
  if (r.state == Report::State::kNone) {
    return "no shadow runs\n  hint: epp shadow start FILE\n";
  }
  const Summary& s = r.summary;
  const Derived d(r);
  std::string out =
      StrCat("candidate  ", r.file, " digest ", r.digest, ", ", Sample(r.sample), " of requests, ",
             Progress(r), "; ", Grouped(s.decisions()), " decisions, ", Grouped(s.shed), " shed",
             s.shed ? " (budget)" : "", "\n");
  if (r.state == Report::State::kEnded) StrAppend(&out, "           ended: ", r.ended, "\n");
  if (r.from_config) out += "           named by the config\n";
  if (s.decisions() == 0) {
    out += "           no request was sampled yet\n";
    return out;
  }
  const double percent = d.cpu_share * 100;
  absl::StrAppendFormat(&out, "           cost %.1f us per decision, %.*f %% CPU\n", d.cost_us,
                        percent < 1 ? 2 : 1, percent);
  StrAppend(&out, "agreement  ", d.agreement ? Percent(*d.agreement, 1) : "-", " same endpoint");
  if (s.margins > 0) {
    absl::StrAppendFormat(&out, "; where they differ, live margin %.2g (median)", s.median_margin);
    if (2 * s.close > s.margins) out += ": mostly close calls";
  }
  out += "\n";
  if (s.failed > 0) {
    StrAppend(&out, "           the candidate failed on ", Grouped(s.failed), ", see epp's log\n");
  }
  out += Row("", "live", "candidate", "");
  out += Row("cached input tokens", OrDash(d.live_cached, true), OrDash(d.candidate_cached, true),
             "predicted");
  out += Row(
      "busiest / mean endpoint", OrDash(d.live_spread, false), OrDash(d.candidate_spread, false),
      d.collapses ? StrCat("by picks   WARNING: affinity collapses onto ", r.names[d.busiest])
                  : std::string("by picks"));
  out += Row("no candidate left", StrCat(s.live_none), StrCat(s.candidate_none), "");
  if (!d.movers.empty()) {
    std::vector<std::string> movers;
    for (const Mover& mover : d.movers) {
      movers.push_back(
          absl::StrFormat("%s %+.1f %% picks", r.names[mover.index], mover.change * 100));
    }
    StrAppend(&out, "top movers  ", Join(movers), "\n");
  }
  for (const OwnProducer& own : r.own_producers) {
    StrAppend(&out, "learning   ", own.name,
              own.inherited ? ": began as the live one was, sees "
                            : ": began empty, so it predicts too little at first; sees ",
              Sample(r.sample), " of requests\n");
  }
  if (!r.unfed.empty()) {
    StrAppend(&out, "no data    ", Join(r.unfed), ": not scraped before the candidate serves\n");
  }
  if (r.rebuilds > 0) {
    StrAppend(&out, "compared with generation ", r.generation, "; rebuilt ", r.rebuilds,
              r.rebuilds == 1 ? " time" : " times", " after changes of the live config\n");
  }
  // What a config names is no file of its own.
  if (!r.from_config) StrAppend(&out, "  hint: epp diff --live ", r.file, "\n");
  return out;
}

std::string StatusLine(const Report& r) {
  if (r.state != Report::State::kRunning) return "";
  return StrCat(r.file, " digest ", r.digest, ", ", Sample(r.sample), " of requests, ", Progress(r),
                r.from_config ? ", named by the config" : "");
}

}  // namespace epp::shadow
