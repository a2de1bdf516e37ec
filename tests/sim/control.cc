#include "tests/sim/control.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/sim/text.h"

namespace epp::sim {
namespace {

using Document = nlohmann::ordered_json;

constexpr std::array<std::pair<FaultKind, const char*>, 10> kKinds = {{
    {FaultKind::kNone, "none"},
    {FaultKind::kDie, "die"},
    {FaultKind::kHang, "hang"},
    {FaultKind::kSlowHeaders, "slow_headers"},
    {FaultKind::kHttpError, "http_error"},
    {FaultKind::kDrop, "drop"},
    {FaultKind::kTruncate, "truncate"},
    {FaultKind::kWrongContentType, "wrong_content_type"},
    {FaultKind::kGarbageMetrics, "garbage_metrics"},
    {FaultKind::kHugeMetrics, "huge_metrics"},
}};

constexpr double kMaxMilliseconds = 24.0 * 3600 * 1000;
constexpr double kMaxExactInteger = 9007199254740992.0;  // 2^53

const char* Name(FaultKind kind) {
  return std::find_if(kKinds.begin(), kKinds.end(),
                      [kind](const auto& k) { return k.first == kind; })
      ->second;
}

std::string Dump(const Document& json) {
  return json.dump(-1, ' ', false, Document::error_handler_t::replace);
}

// Reads members of one object, keeps the first error, and knows which members nobody asked for.
class Reader {
 public:
  explicit Reader(std::string_view text)
      : json_(Document::parse(text.begin(), text.end(), nullptr, false)) {
    if (!json_.is_object()) status_ = absl::InvalidArgumentError("body: want a JSON object");
  }

  std::optional<double> Number(const char* key, double min, double max) {
    const Document* member = Take(key);
    if (member == nullptr) return std::nullopt;
    if (!member->is_number() || !(member->get<double>() >= min && member->get<double>() <= max)) {
      Fail(key, *member, absl::StrCat("want a number in [", min, ", ", max, "]"));
      return std::nullopt;
    }
    return member->get<double>();
  }

  std::optional<std::string> String(const char* key) {
    const Document* member = Take(key);
    if (member == nullptr) return std::nullopt;
    if (!member->is_string()) {
      Fail(key, *member, "want a text");
      return std::nullopt;
    }
    return member->get<std::string>();
  }

  void Fail(const char* key, const Document& got, const std::string& want) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat(key, ": got ", Dump(got), ", ", want));
  }

  absl::Status Finish() {
    for (const auto& [key, value] : json_.items()) {
      if (!status_.ok()) break;
      if (std::find(taken_.begin(), taken_.end(), key) != taken_.end()) continue;
      std::string known;
      for (const std::string& name : taken_)
        absl::StrAppend(&known, known.empty() ? "" : " ", name);
      status_ = absl::InvalidArgumentError(absl::StrCat(key, ": not known, want one of: ", known));
    }
    return status_;
  }

 private:
  const Document* Take(const char* key) {
    taken_.emplace_back(key);
    if (!json_.is_object()) return nullptr;
    const auto it = json_.find(key);
    return it == json_.end() || it->is_null() ? nullptr : &*it;
  }

  Document json_;
  absl::Status status_;
  std::vector<std::string> taken_;
};

std::chrono::milliseconds Milliseconds(double ms) {
  return std::chrono::milliseconds(std::llround(ms));
}

}  // namespace

absl::StatusOr<Fault> ParseFault(std::string_view json) {
  Reader reader(json);
  Fault fault;
  const std::string kind = reader.String("kind").value_or("");
  const auto known = std::find_if(kKinds.begin(), kKinds.end(),
                                  [&kind](const auto& k) { return kind == k.second; });
  if (known != kKinds.end()) {
    fault.kind = known->first;
  } else {
    std::string names;
    for (const auto& k : kKinds) absl::StrAppend(&names, names.empty() ? "" : " ", k.second);
    reader.Fail("kind", kind, absl::StrCat("want one of: ", names));
  }
  fault.server = reader.String("server").value_or("");
  fault.path = reader.String("path").value_or("");
  fault.rate = reader.Number("rate", 0, 1).value_or(fault.rate);
  if (const auto count = reader.Number("count", 1, kMaxExactInteger)) {
    fault.count = static_cast<uint64_t>(*count);
  }
  fault.status = static_cast<int>(reader.Number("status", 400, 599).value_or(fault.status));
  if (const auto delay = reader.Number("delay_ms", 0, kMaxMilliseconds)) {
    fault.delay = Milliseconds(*delay);
  }
  fault.after_events =
      static_cast<uint32_t>(reader.Number("after_events", 0, 1e9).value_or(fault.after_events));
  fault.bytes = static_cast<uint64_t>(
      reader.Number("bytes", 0, 1e12).value_or(static_cast<double>(fault.bytes)));
  if (const auto time = reader.Number("for_ms", 0, kMaxMilliseconds)) {
    fault.for_time = Milliseconds(*time);
  }
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return fault;
}

void FaultSet::Set(const Fault& fault) {
  if (fault.kind == FaultKind::kNone) return active_.clear();
  std::erase_if(active_, [&](const Active& active) { return active.fault.kind == fault.kind; });
  active_.push_back({.fault = fault, .due = 0});
}

std::optional<Fault> FaultSet::Hit(FaultKind kind, std::string_view path) {
  const auto it = std::find_if(active_.begin(), active_.end(),
                               [kind](const Active& a) { return a.fault.kind == kind; });
  if (it == active_.end() || !path.starts_with(it->fault.path)) return std::nullopt;
  it->due += it->fault.rate;
  // The slack keeps ten times 0.1 from being less than one.
  if (it->due < 1 - 1e-9) return std::nullopt;
  it->due -= 1;
  const Fault fault = it->fault;
  if (it->fault.count && --*it->fault.count == 0) active_.erase(it);
  return fault;
}

std::string FaultSet::Json() const {
  Document faults = Document::array();
  for (const Active& active : active_) {
    Document fault = {{"kind", Name(active.fault.kind)}, {"rate", active.fault.rate}};
    if (!active.fault.path.empty()) fault["path"] = active.fault.path;
    if (active.fault.count) fault["count"] = *active.fault.count;
    faults.push_back(std::move(fault));
  }
  return Dump({{"faults", std::move(faults)}});
}

absl::StatusOr<PinnedMetrics> ParsePinnedMetrics(std::string_view json) {
  Reader reader(json);
  PinnedMetrics pinned;
  pinned.waiting = reader.Number("waiting", -1e18, 1e18);
  pinned.running = reader.Number("running", -1e18, 1e18);
  pinned.kv = reader.Number("kv", -1e18, 1e18);
  if (absl::Status status = reader.Finish(); !status.ok()) return status;
  return pinned;
}

uint64_t RequestLog::Add(LoggedRequest entry) {
  entries_.push_back(std::move(entry));
  if (entries_.size() > limit_) entries_.pop_front();
  return ++total_;
}

LoggedRequest* RequestLog::Find(uint64_t number) {
  const uint64_t first = total_ - entries_.size() + 1;
  return number < first || number > total_ ? nullptr : &entries_[number - first];
}

void RequestLog::Clear() { entries_.clear(); }

std::string RequestLog::Json(std::string_view server) const {
  Document requests = Document::array();
  for (const LoggedRequest& entry : entries_) {
    Document headers = Document::array();
    for (const auto& [name, value] : entry.headers) {
      headers.push_back(Document::array({name, value}));
    }
    requests.push_back({{"method", entry.method},
                        {"path", entry.path},
                        {"model", entry.model},
                        {"status", entry.status},
                        {"body_bytes", entry.body_bytes},
                        {"prompt_tokens", entry.prompt_tokens},
                        {"cached_tokens", entry.cached_tokens},
                        {"output_tokens", entry.output_tokens},
                        {"leg", entry.leg},
                        {"transferred_tokens", entry.transferred_tokens},
                        {"error", entry.error},
                        {"headers", std::move(headers)}});
  }
  return Dump({{"server", server}, {"total", total_}, {"requests", std::move(requests)}});
}

}  // namespace epp::sim
