// Attempts as JSON: the documents of the admin API, and the files of the history.
#include <limits>

#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/loader/sha256.h"
#include "host/serve/history.h"
#include "nlohmann/json.hpp"

namespace epp::serve {
namespace {

using Json = nlohmann::json;

constexpr size_t kDigestDigits = 8;
constexpr size_t kSumDigits = 64;  // a file is the digest of the rest, a line end, and the rest

void WriteCommon(const Attempt& a, JsonWriter& w) {
  w.Field("generation", a.generation).Field("serving", a.serving).Field("restored", a.restored);
  w.Field("cause", a.cause).Field("actor", a.actor).Field("reason", a.reason);
  w.Field("kept", a.kept).Field("created", a.created).Field("carried", a.carried);
  w.Key("lost").BeginArray();
  for (const runtime::LostState& lost : a.lost) {
    w.BeginObject();
    w.Field("plugin", lost.plugin).Field("type", lost.type).Field("why", lost.why);
    w.EndObject();
  }
  w.EndArray();
  w.Key("changes").BeginArray();
  for (const std::string& change : a.changes) w.Value(change);
  w.EndArray();
  w.Field("diagnostics", a.diagnostics);
  w.Key("libraries").BeginArray();
  for (const UsedLibrary& library : a.libraries) {
    w.BeginObject();
    w.Field("name", library.name).Field("digest", library.digest);
    w.EndObject();
  }
  w.EndArray();
}

void WriteFiles(const Attempt& a, bool texts, JsonWriter& w) {
  w.Key("files").BeginArray();
  for (const ConfigFile& file : a.files) {
    w.BeginObject();
    w.Field("path", file.path).Field("bytes", file.text.size());
    if (texts) w.Field("text", file.text);
    w.EndObject();
  }
  w.EndArray();
}

void WriteDocument(const Attempt& a, bool texts, JsonWriter& w) {
  w.Field("outcome", a.applied() ? "applied" : "refused");
  w.Field("digest", a.digest.substr(0, kDigestDigits));
  w.Field("time", absl::FormatTime("%Y-%m-%dT%H:%M:%SZ",
                                   absl::FromUnixNanos(static_cast<int64_t>(a.unix_ns)),
                                   absl::UTCTimeZone()));
  w.Field("took_ms", static_cast<double>(a.took_ns) * 1e-6);
  WriteCommon(a, w);
  WriteFiles(a, texts, w);
}

// What is missing or of another type makes `ok` false.
std::string Text(const Json& object, const char* key, bool& ok) {
  const auto it = object.find(key);
  if (it != object.end() && it->is_string()) return it->get<std::string>();
  ok = false;
  return "";
}

uint64_t Number(const Json& object, const char* key, bool& ok) {
  const auto it = object.find(key);
  if (it != object.end() && it->is_number_unsigned()) return it->get<uint64_t>();
  ok = false;
  return 0;
}

const Json& List(const Json& object, const char* key, bool& ok) {
  static const Json& none = *new Json(Json::array());
  const auto it = object.find(key);
  if (it != object.end() && it->is_array()) return *it;
  ok = false;
  return none;
}

}  // namespace

std::string AttemptJson(const Attempt& attempt, bool texts) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.generation/1");
  WriteDocument(attempt, texts, w);
  w.EndObject();
  return out;
}

std::string HistoryJson(const History& history, uint64_t serving) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.generations/1").Field("serving", serving);
  const auto before = history.Before(serving);
  w.Field("before", before ? before->generation : 0);
  w.Key("generations").BeginArray();
  for (const auto& attempt : history.all()) {
    w.BeginObject();
    WriteDocument(*attempt, false, w);
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return out;
}

std::string EncodeAttempt(const Attempt& attempt) {
  std::string json;
  JsonWriter w(&json);
  w.BeginObject();
  w.Field("schema", "epp.attempt/1").Field("digest", attempt.digest);
  w.Field("unix_ns", attempt.unix_ns).Field("took_ns", attempt.took_ns);
  WriteCommon(attempt, w);
  WriteFiles(attempt, true, w);
  w.EndObject();
  json += '\n';
  return StrCat(loader::Sha256Hex(json), "\n", json);
}

absl::StatusOr<Attempt> DecodeAttempt(std::string_view file) {
  if (file.size() <= kSumDigits || file[kSumDigits] != '\n' ||
      loader::Sha256Hex(file.substr(kSumDigits + 1)) != file.substr(0, kSumDigits)) {
    return absl::InvalidArgumentError("damaged");
  }
  const Json json = Json::parse(file.substr(kSumDigits + 1), nullptr, false);
  bool ok = json.is_object();
  Attempt a;
  if (!ok || Text(json, "schema", ok) != "epp.attempt/1") {
    return absl::InvalidArgumentError("not an attempt, or of another version");
  }
  a.generation = Number(json, "generation", ok);
  a.serving = Number(json, "serving", ok);
  a.restored = Number(json, "restored", ok);
  a.digest = Text(json, "digest", ok);
  a.cause = Text(json, "cause", ok);
  a.actor = Text(json, "actor", ok);
  a.reason = Text(json, "reason", ok);
  a.unix_ns = Number(json, "unix_ns", ok);
  a.took_ns = Number(json, "took_ns", ok);
  a.kept = Number(json, "kept", ok);
  a.created = Number(json, "created", ok);
  a.carried = Number(json, "carried", ok);
  for (const Json& lost : List(json, "lost", ok)) {
    ok = ok && lost.is_object();
    if (ok)
      a.lost.push_back({Text(lost, "plugin", ok), Text(lost, "type", ok), Text(lost, "why", ok)});
  }
  a.diagnostics = Text(json, "diagnostics", ok);
  for (const Json& change : List(json, "changes", ok)) {
    ok = ok && change.is_string();
    if (ok) a.changes.push_back(change.get<std::string>());
  }
  for (const Json& library : List(json, "libraries", ok)) {
    ok = ok && library.is_object();
    if (ok) a.libraries.push_back({Text(library, "name", ok), Text(library, "digest", ok)});
  }
  for (const Json& part : List(json, "files", ok)) {
    ok = ok && part.is_object();
    if (ok) a.files.push_back({Text(part, "path", ok), Text(part, "text", ok)});
  }
  // Numbers go on from here.
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max() / 2;
  if (!ok || a.files.empty() || a.generation > kMost || a.serving > kMost) {
    return absl::InvalidArgumentError("incomplete");
  }
  return a;
}

}  // namespace epp::serve
