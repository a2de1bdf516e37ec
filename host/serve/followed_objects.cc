#include "host/serve/followed_objects.h"

#include <utility>

#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/telemetry/log.h"

namespace epp::serve {
namespace {

constexpr ConditionSpec kObjectsRefused{"objects-refused", 0};

std::string Utc(int64_t unix_s) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(unix_s), absl::UTCTimeZone());
}

void WriteRule(const objects::Rule& rule, JsonWriter& w) {
  w.BeginObject();
  w.Field("generic", rule.generic);
  w.Key("models").BeginArray();
  for (const std::string& model : rule.models) w.Value(model);
  w.EndArray();
  w.Key("targets").BeginArray();
  for (const objects::Target& target : rule.targets) {
    w.BeginObject();
    w.Field("model", target.model);
    if (target.weight > 0) w.Field("weight", target.weight);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
}

}  // namespace

void FollowedObjects::Start(const std::string& endpoints_file, bool watch,
                            objects::PoolIdentity pool, config::Diagnostics& out) {
  objects::ObjectFiles::Options options;
  options.watch = watch;
  options.pool = std::move(pool);
  options.on_change = [this](const objects::ObjectsReport& report) { Take(report); };
  const objects::ObjectsReport report = files_.Start(endpoints_file, std::move(options), &slot_);
  for (const config::Diagnostic& d : report.diagnostics.all()) {
    if (d.severity == config::Severity::kError) {
      out.Error(d.mark, d.code, d.message, d.caret, d.hint);
    } else {
      out.Warning(d.mark, d.code, d.message, d.caret, d.hint);
    }
  }
  Take(report);
}

void FollowedObjects::Take(const objects::ObjectsReport& report) {
  const objects::ObjectSet& set = *report.objects;
  // Configured names are few and wanted on the metrics page, however many models clients make up.
  for (const std::string_view model : set.Models()) metrics_->PinModel(model);
  const bool ok = report.diagnostics.ok();
  conditions_->Set(kObjectsRefused, !ok, report.diagnostics.Render());
  if (!ok) {
    EPP_LOG_EXEMPT(kError, "pool", "objects refused, their former versions stay",
                   {{"refused", report.refused}, {"errors", report.diagnostics.Render()}});
    return;
  }
  EPP_LOG_EXEMPT(kInfo, "pool", "objectives and model rewrites applied",
                 {{"objectives", set.objectives().size()},
                  {"rewrites", set.rewrites().size()},
                  {"ignored", report.ignored}});
}

void FollowedObjects::Describe(admin::Status& status) const {
  const objects::ObjectsReport report = files_.last();
  if (report.objects == nullptr) return;
  status.objects.objectives = report.objects->objectives().size();
  status.objects.rewrites = report.objects->rewrites().size();
  status.objects.rules = report.objects->rule_count();
  status.objects.ignored = report.ignored;
  status.objects.refused = report.refused;
}

std::string FollowedObjects::Json() const {
  const objects::ObjectsReport report = files_.last();
  const auto set = slot_.current();
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.objects/1");
  w.Key("objectives").BeginArray();
  for (const objects::Objective& objective : set->objectives()) {
    w.BeginObject();
    w.Field("name", objective.name).Field("priority", objective.priority.value_or(0));
    w.EndObject();
  }
  w.EndArray();
  w.Key("rewrites").BeginArray();
  for (const objects::ModelRewrite& rewrite : set->rewrites()) {
    w.BeginObject();
    w.Field("name", rewrite.name);
    if (rewrite.created_unix_s != 0) w.Field("created", Utc(rewrite.created_unix_s));
    w.Key("rules").BeginArray();
    for (const objects::Rule& rule : rewrite.rules) WriteRule(rule, w);
    w.EndArray();
    w.EndObject();
  }
  w.EndArray();
  w.Field("ignored", report.ignored).Field("refused", report.refused);
  w.Key("problems").Raw(report.diagnostics.RenderJson());
  w.EndObject();
  return out;
}

}  // namespace epp::serve
