#include "host/validate/report.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "host/base/json_writer.h"
#include "host/base/str_cat.h"

namespace epp::validate {
namespace {

std::string_view Word(const Outcome& outcome, bool strict) {
  switch (outcome.result) {
    case Result::kCrash:
      return "CRASH";
    case Result::kTimeout:
      return "TIMEOUT";
    case Result::kFail:
      return "FAIL";
    case Result::kSkip:
    case Result::kPass:
      break;
  }
  if (Failed(outcome, strict)) return "FAIL";
  return outcome.result == Result::kSkip ? "skip" : "pass";
}

std::string Fixed(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::vector<std::string> Messages(const LibraryReport& library, const CaseReport& report,
                                  const ReportOptions& options) {
  const Outcome& o = report.outcome;
  std::vector<std::string> lines;
  if (!o.crash.empty()) {
    lines.push_back(StrCat(o.crash, "; rerun: epp plugin check --in-process --include ",
                           report.which->id, options.rerun, " ", library.path));
  }
  if (!o.output.empty()) lines.push_back(StrCat("it said: ", o.output));
  lines.insert(lines.end(), o.failures.begin(), o.failures.end());
  lines.insert(lines.end(), o.skips.begin(), o.skips.end());
  lines.insert(lines.end(), o.notes.begin(), o.notes.end());
  return lines;
}

struct Counts {
  size_t passed = 0;
  size_t failed = 0;
  size_t skipped = 0;
  double score_p99_ns = 0;
};

Counts Count(const LibraryReport& library, bool strict) {
  Counts counts;
  for (const CaseReport& report : library.cases) {
    const Outcome& o = report.outcome;
    size_t& n = Failed(o, strict)           ? counts.failed
                : o.result == Result::kSkip ? counts.skipped
                                            : counts.passed;
    ++n;
    counts.score_p99_ns = std::max(counts.score_p99_ns, o.score_p99_ns);
  }
  return counts;
}

std::string_view JsonWord(Result result) {
  switch (result) {
    case Result::kPass:
      return "pass";
    case Result::kFail:
      return "fail";
    case Result::kCrash:
      return "crash";
    case Result::kTimeout:
      return "timeout";
    case Result::kSkip:
      break;
  }
  return "skip";
}

void Texts(JsonWriter& w, std::string_view key, const std::vector<std::string>& texts) {
  w.Key(key).BeginArray();
  for (const std::string& text : texts) w.Value(text);
  w.EndArray();
}

}  // namespace

bool Failed(const Outcome& outcome, bool strict) {
  return outcome.result == Result::kFail || outcome.result == Result::kCrash ||
         outcome.result == Result::kTimeout || (strict && outcome.refused);
}

void PrintHeader(const LibraryReport& library, std::ostream& out) {
  out << std::filesystem::path(library.path).filename().string();
  if (!library.abi.empty()) out << "  ABI " << library.abi;
  if (library.types > 0) out << ", " << library.types << (library.types == 1 ? " type" : " types");
  out << "\n";
}

void PrintCase(const LibraryReport& library, const CaseReport& report, const ReportOptions& options,
               std::ostream& out) {
  constexpr size_t kNameWidth = 24, kWordWidth = 8;
  const Outcome& o = report.outcome;
  if (options.only_failed && !Failed(o, options.strict)) return;
  const std::string_view word = Word(o, options.strict);
  const std::string start = StrCat("  ", report.which->id, " ", report.which->name,
                                   std::string(kNameWidth - report.which->name.size(), ' '), word);
  const std::vector<std::string> lines = Messages(library, report, options);
  if (lines.empty()) {
    out << start << "\n";
    return;
  }
  const size_t margin = 2 + 4 + kNameWidth + kWordWidth;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string left = i == 0 ? start : "";
    out << left << std::string(margin - std::min(left.size(), margin - 1), ' ') << lines[i] << "\n";
  }
}

void PrintSummary(const LibraryReport& library, const ReportOptions& options, std::ostream& out) {
  const Counts counts = Count(library, options.strict);
  if (options.only_failed) {
    out << counts.failed << " of " << library.cases.size() << " failed";
  } else {
    out << counts.passed << " passed, " << counts.failed << " failed, " << counts.skipped
        << " skipped in " << Fixed(library.seconds, 1) << " s";
  }
  if (counts.score_p99_ns > 0) {
    out << "; p99 of score at 1 000 candidates " << Fixed(counts.score_p99_ns / 1000, 1) << " us";
  }
  out << "\n";
}

std::string Json(const std::vector<LibraryReport>& libraries, const ReportOptions& options) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject();
  w.Field("schema", "epp.plugin-check/1");
  bool all_passed = true;
  w.Key("libraries").BeginArray();
  for (const LibraryReport& library : libraries) {
    const Counts counts = Count(library, options.strict);
    all_passed = all_passed && counts.failed == 0;
    w.BeginObject();
    w.Field("path", library.path).Field("abi", library.abi).Field("types", library.types);
    w.Field("passed", counts.passed).Field("failed", counts.failed);
    w.Field("skipped", counts.skipped).Field("seconds", library.seconds);
    w.Key("score_p99_us");
    counts.score_p99_ns > 0 ? w.Value(counts.score_p99_ns / 1000) : w.Null();
    w.Key("cases").BeginArray();
    for (const CaseReport& report : library.cases) {
      const Outcome& o = report.outcome;
      if (options.only_failed && !Failed(o, options.strict)) continue;
      w.BeginObject();
      w.Field("id", report.which->id).Field("name", report.which->name);
      w.Field("result", JsonWord(o.result)).Field("failed", Failed(o, options.strict));
      w.Field("seconds", o.seconds);
      if (!o.crash.empty()) w.Field("crash", o.crash);
      if (!o.output.empty()) w.Field("output", o.output);
      Texts(w, "failures", o.failures);
      Texts(w, "skips", o.skips);
      Texts(w, "notes", o.notes);
      w.EndObject();
    }
    w.EndArray();
    w.EndObject();
  }
  w.EndArray();
  w.Field("passed", all_passed);
  w.EndObject();
  return out;
}

}  // namespace epp::validate
