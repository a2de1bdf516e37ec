#include <cmath>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "host/admin/decision_view.h"
#include "host/base/json_writer.h"

namespace epp::admin {

using telemetry::DecisionRecord;
using telemetry::Outcome;

namespace {

std::string Rfc3339(uint64_t unix_ns) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ",
                          absl::FromUnixNanos(static_cast<int64_t>(unix_ns)), absl::UTCTimeZone());
}

void WriteNumber(JsonWriter& w, double value) {
  if (std::isfinite(value)) {
    w.Value(value);
  } else {
    w.Null();
  }
}

void WriteProfile(JsonWriter& w, const DecisionView::Profile& profile) {
  w.BeginObject();
  w.Field("name", profile.name);
  w.Field("primary", profile.primary);
  w.Field("failed", profile.failed);
  w.Field("candidates", profile.candidates);
  w.Key("filters").BeginArray();
  for (const DecisionView::Filter& filter : profile.filters) {
    w.BeginObject();
    w.Field("plugin", filter.plugin).Field("in", filter.in).Field("out", filter.out);
    w.Key("dropped").BeginArray();
    for (const std::string& name : filter.dropped) w.Value(name);
    w.EndArray();
    w.EndObject();
  }
  w.EndArray();
  w.Key("scorers").BeginArray();
  for (const DecisionView::Scorer& scorer : profile.scorers) {
    w.BeginObject();
    w.Field("plugin", scorer.plugin).Field("weight", scorer.weight);
    if (!scorer.column.empty()) w.Field("column", scorer.column);
    w.EndObject();
  }
  w.EndArray();
  w.Key("endpoints").BeginArray();
  for (const DecisionView::Row& row : profile.rows) w.Value(row.name);
  w.EndArray();
  w.Key("scores").BeginArray();
  for (const DecisionView::Row& row : profile.rows) {
    w.BeginArray();
    for (const double score : row.scores) w.Value(score);
    w.EndArray();
  }
  w.EndArray();
  w.Key("totals").BeginArray();
  for (const DecisionView::Row& row : profile.rows) w.Value(row.total);
  w.EndArray();
  w.Key("columns").BeginArray();
  for (const DecisionView::Row& row : profile.rows) {
    w.BeginArray();
    for (const double value : row.columns) WriteNumber(w, value);
    w.EndArray();
  }
  w.EndArray();
  if (profile.omitted > 0) {
    w.Key("omitted").BeginObject();
    w.Field("count", profile.omitted).Field("best_total", profile.omitted_best);
    w.EndObject();
  }
  w.Key("picker").BeginObject();
  w.Field("plugin", profile.picker);
  w.Key("picked").BeginArray();
  for (const std::string& name : profile.picks) w.Value(name);
  w.EndArray();
  w.Field("ties", profile.ties);
  w.EndObject();
  w.EndObject();
}

}  // namespace

std::string DecisionJson(const DecisionRecord& record, const Names& names) {
  const DecisionView view = Resolve(record, names);
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.decision/1");
  w.Field("id", DecisionId(record));
  w.Field("request_id", record.request_id.view());
  w.Field("time", Rfc3339(record.unix_ns));
  w.Field("generation", record.generation);
  w.Key("frame").BeginObject();
  w.Field("id", record.frame).Field("age_ms", record.frame_age_ns / 1'000'000);
  w.EndObject();

  w.Key("request").BeginObject();
  w.Field("path", record.path.view());
  w.Field("model", record.model.view());
  w.Field("target_model", record.target_model.view());
  w.Field("streaming", record.streaming);
  w.Field("bytes", record.body_bytes);
  if (record.tokens >= 0) w.Field("tokens", record.tokens);
  w.Field("objective", record.objective.view());
  w.Field("priority", record.priority);
  w.Field("fairness_id", absl::StrFormat("h:%08x", record.fairness_hash & 0xffffffff));
  if (record.subset >= 0) w.Field("subset", static_cast<int>(record.subset));
  w.EndObject();

  w.Key("gates").BeginArray();
  for (const DecisionView::Gate& gate : view.gates) {
    w.BeginObject();
    w.Field("kind", GateName(gate.kind)).Field("plugin", gate.plugin);
    if (gate.kind == telemetry::GateKind::kScreener) w.Field("in", gate.in).Field("out", gate.out);
    if (gate.out == 0) w.Field("refused", true);
    w.EndObject();
  }
  w.EndArray();
  w.Key("profiles").BeginArray();
  for (const DecisionView::Profile& profile : view.profiles) WriteProfile(w, profile);
  w.EndArray();
  if (!view.destination.name.empty()) {
    w.Field("destination", view.destination.host_port);
    w.Field("endpoint", view.destination.name);
  }

  w.Key("timing_us").BeginObject();
  w.Field("parse", record.parse_ns * 1e-3).Field("produce", record.produce_ns * 1e-3);
  w.Field("filter", record.filter_ns * 1e-3).Field("score", record.score_ns * 1e-3);
  w.Field("pick", record.pick_ns * 1e-3).Field("total", record.total_ns * 1e-3);
  w.EndObject();

  w.Field("outcome", OutcomeName(record.outcome));
  w.Key("result").BeginObject();
  if (record.http_status != 0) w.Field("status", static_cast<int>(record.http_status));
  if (!record.message.view().empty()) w.Field("message", record.message.view());
  if (!record.drop_reason.view().empty()) w.Field("drop_reason", record.drop_reason.view());
  if (!view.served.name.empty()) w.Field("served", view.served.host_port);
  w.Field("seen", record.response_seen ? "bodies" : "headers");
  if (record.ttft_ns) w.Field("ttft_ms", static_cast<double>(record.ttft_ns) * 1e-6);
  if (record.duration_ns) w.Field("duration_ms", static_cast<double>(record.duration_ns) * 1e-6);
  if (record.output_tokens >= 0) w.Field("output_tokens", record.output_tokens);
  w.Key("cached_tokens").BeginObject();
  if (record.cached_predicted >= 0) w.Field("predicted", record.cached_predicted);
  if (record.cached_observed >= 0) w.Field("observed", record.cached_observed);
  w.EndObject();
  w.EndObject();
  w.EndObject();
  return out;
}

}  // namespace epp::admin
