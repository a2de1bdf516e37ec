#include "host/admin/status_view.h"

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"

namespace epp::admin {
namespace {

std::string Utc(uint64_t unix_ns) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ",
                          absl::FromUnixNanos(static_cast<int64_t>(unix_ns)), absl::UTCTimeZone());
}

std::string Local(uint64_t unix_ns) {
  return absl::FormatTime("%H:%M:%S", absl::FromUnixNanos(static_cast<int64_t>(unix_ns)),
                          absl::LocalTimeZone());
}

std::string Uptime(uint64_t seconds) {
  const uint64_t days = seconds / 86400;
  const std::string clock = absl::StrFormat("%02d:%02d", seconds / 3600 % 24, seconds / 60 % 60);
  if (days > 0) return absl::StrFormat("%d d %s", days, clock);
  return seconds < 3600 ? absl::StrFormat("%d min %d s", seconds / 60, seconds % 60) : clock;
}

}  // namespace

bool Healthy(const Status& status) { return status.ready && status.warnings.empty(); }

std::string StatusJson(const Status& status) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.status/1");
  w.Field("version", status.version).Field("pid", status.pid);
  w.Field("started", Utc(status.started_unix_ns)).Field("ready", status.ready);
  if (!status.ready) w.Field("not_ready", status.not_ready_reason);
  w.Key("degraded").BeginArray();
  for (const Warning& warning : status.warnings) w.Value(warning.code);
  w.EndArray();

  w.Key("config").BeginObject();
  w.Field("path", status.config_path).Field("generation", status.generation);
  w.Field("digest", status.config_digest).Field("since", Utc(status.config_since_unix_ns));
  w.Field("cause", status.config_cause).Field("actor", status.config_actor);
  w.Key("pinned");
  if (status.pinned) {
    w.BeginObject();
    w.Field("restored", status.pinned->restored).Field("file_digest", status.pinned->file_digest);
    w.Field("reason", status.pinned->reason).Field("since", Utc(status.pinned->since_unix_ns));
    w.EndObject();
  } else {
    w.Null();
  }
  w.EndObject();

  w.Key("pool").BeginObject();
  w.Field("name", status.pool_name).Field("source", status.pool_source);
  w.Key("endpoints").BeginObject();
  w.Field("fresh", status.pool.fresh).Field("stale", status.pool.stale);
  w.Field("unreachable", status.pool.unreachable).Field("unknown", status.pool.unknown);
  w.EndObject();
  w.Field("oldest_ms", status.pool.oldest_ms);
  w.Key("problems").BeginArray();
  for (const std::string& problem : status.pool_problems) w.Value(problem);
  w.EndArray();
  w.EndObject();

  w.Key("objects").BeginObject();
  w.Field("objectives", status.objects.objectives).Field("rewrites", status.objects.rewrites);
  w.Field("rules", status.objects.rules).Field("ignored", status.objects.ignored);
  w.Field("refused", status.objects.refused);
  w.EndObject();

  w.Key("traffic").BeginObject();
  w.Field("requests_per_s", status.requests_per_s).Field("running", status.running);
  w.Field("decisions", status.decisions).Field("own_error_ratio", status.own_error_ratio);
  w.Key("decision_us").BeginObject();
  w.Field("p50", status.decision_p50_us).Field("p99", status.decision_p99_us);
  w.EndObject();
  w.EndObject();

  w.Key("plugins").BeginObject();
  w.Field("instances", status.instances).Field("libraries", status.libraries);
  const auto list = [&w](std::string_view key, const std::vector<std::string>& values) {
    w.Key(key).BeginArray();
    for (const std::string& value : values) w.Value(value);
    w.EndArray();
  };
  list("refused", status.refused_libraries);
  list("disabled", status.disabled_plugins);
  list("quarantined", status.quarantined_plugins);
  w.Field("retired_modules", status.retired_modules);
  w.EndObject();

  if (!status.shadow.empty()) w.Field("shadow", status.shadow);
  w.Key("warnings").BeginArray();
  for (const Warning& warning : status.warnings) {
    w.BeginObject();
    w.Field("code", warning.code).Field("since", Utc(warning.since_unix_ns));
    w.Field("text", warning.text);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return out;
}

std::string StatusText(const Status& status) {
  std::string out =
      StrCat("epp ", status.version, "  pid ", status.pid, "  up ", Uptime(status.up_seconds), "  ",
             status.ready ? "READY" : "NOT READY", status.warnings.empty() ? "" : ", DEGRADED");
  if (!status.ready) StrAppend(&out, ": ", status.not_ready_reason);
  StrAppend(&out, "\nconfig     ", status.config_path, "  generation ", status.generation,
            "  digest ", status.config_digest, "  since ", Local(status.config_since_unix_ns),
            "\n");
  if (status.pinned) {
    StrAppend(&out, "           pinned to the text of generation ", status.pinned->restored, ": ",
              status.pinned->text, "\n");
    if (!status.pinned->reason.empty()) {
      StrAppend(&out, "           ", status.config_cause, ": ", status.pinned->reason, "\n");
    }
  }
  StrAppend(&out, "pool       ", status.pool_name, ", from ", status.pool_source, ": ",
            status.pool.total(), " endpoints: ", status.pool.fresh, " fresh");
  const auto append_state = [&](int n, std::string_view what) {
    if (n > 0) StrAppend(&out, ", ", n, " ", what);
  };
  append_state(status.pool.stale, "stale");
  append_state(status.pool.unreachable, "unreachable");
  append_state(status.pool.unknown, "unknown");
  if (status.pool.fresh > 0) StrAppend(&out, " (oldest ", status.pool.oldest_ms, " ms)");
  out += "\n";
  for (const std::string& problem : status.pool_problems) {
    StrAppend(&out, "           ", problem, "\n");
  }
  if (status.objects.any()) {
    StrAppend(&out, "objects    ", status.objects.objectives, " objectives, ",
              status.objects.rewrites, " model rewrites with ", status.objects.rules, " rules");
    if (status.objects.ignored > 0) StrAppend(&out, ", ", status.objects.ignored, " ignored");
    if (status.objects.refused > 0) StrAppend(&out, ", ", status.objects.refused, " refused");
    out += "\n";
  }
  absl::StrAppendFormat(&out,
                        "traffic    %.3g req/s  running %d  decision p50 %.1f us p99 %.1f us  own "
                        "errors %.2f %%\n",
                        status.requests_per_s, status.running, status.decision_p50_us,
                        status.decision_p99_us, status.own_error_ratio * 100);
  StrAppend(&out, "plugins    ", status.instances, " instances, ", status.libraries, " libraries");
  const auto append_names = [&](const std::vector<std::string>& names, std::string_view what) {
    if (names.empty()) return;
    StrAppend(&out, ", ", names.size(), " ", what, " (");
    for (size_t i = 0; i < names.size(); ++i) StrAppend(&out, i ? ", " : "", names[i]);
    out += ")";
  };
  append_names(status.disabled_plugins, "switched off");
  append_names(status.quarantined_plugins, "in quarantine");
  if (status.refused_libraries.empty()) {
    out += ", none refused\n";
  } else {
    StrAppend(&out, ", ", status.refused_libraries.size(), " refused\n");
    for (const std::string& refused : status.refused_libraries) {
      StrAppend(&out, "           ", refused, "\n");
    }
  }
  if (!status.shadow.empty()) StrAppend(&out, "shadow     ", status.shadow, "\n");
  if (status.warnings.empty()) {
    out += "warnings   none\n";
  } else {
    StrAppend(&out, "warnings   ", status.warnings.size(), "\n");
    for (const Warning& warning : status.warnings) {
      StrAppend(&out, "           ", warning.code, " since ", Local(warning.since_unix_ns), ": ",
                warning.text, "\n");
    }
  }
  return out;
}

}  // namespace epp::admin
