#include "host/serve/reload_outcome.h"

#include <algorithm>

#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"

namespace epp::serve {
namespace {

using Kind = ReloadOutcome::Kind;

constexpr size_t kMaxChanges = 12;  // lines; the whole answer fits a screen

void WritePin(const std::optional<Pin>& pin, JsonWriter& w) {
  w.Key("pinned");
  if (!pin) {
    w.Null();
    return;
  }
  w.BeginObject();
  w.Field("generation", pin->generation).Field("restored", pin->restored);
  w.Field("path", pin->path).Field("file_digest", pin->file_digest);
  w.EndObject();
}

std::string Applied(const ReloadOutcome& o) {
  std::string out =
      StrCat("generation ", o.generation, " serving after ", o.took_ns / 1'000'000, " ms");
  if (o.restored != 0) {
    StrAppend(&out, ": the text of generation ", o.restored, " (digest ", o.digest, ")\n");
  } else {
    StrAppend(&out, "; digest ", o.digest, "\n");
  }
  for (size_t i = 0; i < o.changes.size() && i < kMaxChanges; ++i) {
    StrAppend(&out, o.changes[i], "\n");
  }
  if (o.changes.size() > kMaxChanges) {
    StrAppend(&out, "and ", o.changes.size() - kMaxChanges, " more changes\n");
  }
  StrAppend(&out, o.kept, " instances kept with their state, ", o.created, " created");
  if (o.carried > 0) StrAppend(&out, ", ", o.carried, " with carried-over state");
  if (o.running > 0) {
    StrAppend(&out, "; ", o.running, " running requests finish on generation ", o.former);
  }
  out += "\n";
  for (const runtime::LostState& lost : o.lost) {
    StrAppend(&out, "state lost: plugin \"", lost.plugin, "\" (", lost.type, "): ", lost.why, "\n");
  }
  if (o.restored == 0) return out + "undo: epp rollback\n";
  if (!o.pin) return out;
  StrAppend(&out, "pinned: ", PinText(*o.pin), "\n");
  if (o.pin->file_digest.empty()) {
    out += "a restart would load them; to keep the rollback, put the former files back\n";
  } else {
    StrAppend(&out, "a restart would load the file; to keep the rollback: epp rollback ",
              o.restored, " --write\n");
  }
  return out;
}

}  // namespace

std::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kApplied:
      return "applied";
    case Kind::kUnchanged:
      return "unchanged";
    case Kind::kMismatch:
      return "mismatch";
    case Kind::kNotKept:
      return "not-kept";
    case Kind::kRefused:
      break;
  }
  return "refused";
}

bool IsRefusal(const ReloadOutcome& outcome) {
  if (outcome.kind == Kind::kRefused) return true;
  return outcome.cause != "rollback" &&
         std::ranges::any_of(outcome.refused_libraries, &LibraryReport::Refused::former_goes_on);
}

int StatusOf(const ReloadOutcome& outcome) {
  if (outcome.kind == Kind::kMismatch) return 412;
  if (outcome.kind == Kind::kNotKept) return 404;
  return IsRefusal(outcome) ? 409 : 200;
}

std::string ReloadJson(const ReloadOutcome& outcome) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.reload/1").Field("outcome", KindName(outcome.kind));
  w.Field("generation", outcome.generation).Field("former", outcome.former);
  w.Field("restored", outcome.restored).Field("digest", outcome.digest);
  w.Field("cause", outcome.cause).Field("actor", outcome.actor).Field("reason", outcome.reason);
  w.Field("time", absl::FormatTime("%Y-%m-%dT%H:%M:%SZ",
                                   absl::FromUnixNanos(static_cast<int64_t>(outcome.unix_ns)),
                                   absl::UTCTimeZone()));
  w.Field("took_ms", static_cast<double>(outcome.took_ns) * 1e-6);
  w.Field("kept", outcome.kept).Field("created", outcome.created);
  w.Field("carried", outcome.carried).Field("running", outcome.running);
  w.Key("changes").BeginArray();
  for (const std::string& change : outcome.changes) w.Value(change);
  w.EndArray();
  w.Key("lost").BeginArray();
  for (const runtime::LostState& lost : outcome.lost) {
    w.BeginObject();
    w.Field("plugin", lost.plugin).Field("type", lost.type).Field("why", lost.why);
    w.EndObject();
  }
  w.EndArray();
  w.Key("refused_libraries").BeginArray();
  for (const LibraryReport::Refused& refused : outcome.refused_libraries) {
    w.BeginObject();
    w.Field("path", refused.path).Field("why", refused.why);
    w.Field("former_goes_on", refused.former_goes_on);
    w.EndObject();
  }
  w.EndArray();
  if (!outcome.diagnostics.empty()) w.Field("diagnostics", outcome.diagnostics);
  WritePin(outcome.pin, w);
  w.EndObject();
  return out;
}

std::string ReloadText(const ReloadOutcome& outcome) {
  std::string out = outcome.diagnostics;
  for (const LibraryReport::Refused& library : outcome.refused_libraries) {
    StrAppend(&out, "warning: ", library.why,
              library.former_goes_on ? "; its former build goes on\n" : "\n");
  }
  switch (outcome.kind) {
    case Kind::kApplied:
      return out + Applied(outcome);
    case Kind::kUnchanged:
      return StrCat(out, "unchanged: generation ", outcome.generation, " (digest ", outcome.digest,
                    ") goes on serving\n");
    case Kind::kMismatch:
    case Kind::kNotKept:
      return out;
    case Kind::kRefused:
      break;
  }
  return StrCat(out, "refused: ", outcome.errors, outcome.errors == 1 ? " error" : " errors",
                "; generation ", outcome.generation, " keeps serving\n");
}

}  // namespace epp::serve
