#include "tests/sim/trace.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "nlohmann/json.hpp"
#include "tests/sim/text.h"

namespace epp::sim {
namespace {

using Requests = std::vector<TraceRequest>;

constexpr uint32_t kMaxTokens = 1u << 30;
constexpr double kMaxTimestampMs = 1e12;  // thirty years
constexpr size_t kMaxQuoted = 80;

std::string Quoted(std::string_view text) {
  const bool cut = text.size() > kMaxQuoted;
  return absl::StrCat("\"", ToAbsl(text.substr(0, kMaxQuoted)), cut ? "..." : "", "\"");
}

// Calls `parse(line)` for every line that is not blank; adds the place to its error.
template <typename Parse>
absl::Status ForEachLine(std::string_view text, std::string_view name, Parse parse) {
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(ToAbsl(text), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    if (absl::Status status = parse(FromAbsl(line)); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(ToAbsl(name), ":", number, ": ", status.message()));
    }
  }
  return absl::OkStatus();
}

void OrderByArrival(Requests* requests) {
  std::stable_sort(requests->begin(), requests->end(),
                   [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  if (requests->empty()) return;
  const auto first = requests->front().arrival;
  for (TraceRequest& request : *requests) request.arrival -= first;
}

absl::StatusOr<uint32_t> TokenField(const nlohmann::json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end()) return absl::InvalidArgumentError(absl::StrCat(key, ": missing"));
  if (!found->is_number_unsigned() || found->get<uint64_t>() > kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": got ", Quoted(found->dump()),
                                                   ", want an integer in [0, ", kMaxTokens, "]"));
  }
  return found->get<uint32_t>();
}

absl::StatusOr<TraceRequest> ParseMooncakeLine(std::string_view text) {
  const nlohmann::json line = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  if (!line.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat("got ", Quoted(text), ", want a JSON object"));
  }
  TraceRequest request;
  const auto timestamp = line.find("timestamp");
  if (timestamp == line.end() || !timestamp->is_number()) {
    return absl::InvalidArgumentError("timestamp: missing or not a number, want milliseconds");
  }
  const double ms = timestamp->get<double>();
  if (!(ms >= 0 && ms <= kMaxTimestampMs)) {
    return absl::InvalidArgumentError(
        absl::StrCat("timestamp: got ", ms, ", want milliseconds in [0, ", kMaxTimestampMs, "]"));
  }
  request.arrival = std::chrono::nanoseconds(static_cast<int64_t>(ms * 1e6));
  const auto prompt_tokens = TokenField(line, "input_length");
  if (!prompt_tokens.ok()) return prompt_tokens.status();
  const auto output_tokens = TokenField(line, "output_length");
  if (!output_tokens.ok()) return output_tokens.status();
  request.prompt_tokens = *prompt_tokens;
  request.output_tokens = *output_tokens;
  if (const auto ids = line.find("hash_ids"); ids != line.end()) {
    if (!ids->is_array()) return absl::InvalidArgumentError("hash_ids: not a list");
    request.hash_ids.reserve(ids->size());
    for (const auto& id : *ids) {
      if (!id.is_number_unsigned()) {
        return absl::InvalidArgumentError(absl::StrCat("hash_ids[", request.hash_ids.size(),
                                                       "]: got ", Quoted(id.dump()),
                                                       ", want a non-negative integer"));
      }
      request.hash_ids.push_back(id.get<uint64_t>());
    }
  }
  return request;
}

// "2023-11-16 18:17:03.9799600", optionally with "+00:00".
std::optional<std::chrono::nanoseconds> ParseAzureTime(absl::string_view text) {
  absl::ConsumeSuffix(&text, "+00:00");
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits('.', 1));
  // Abseil wants the T of ISO 8601 between date and time.
  std::string date_time(parts.first);
  if (date_time.size() != 19 || date_time[10] != ' ') return std::nullopt;
  date_time[10] = 'T';
  absl::CivilSecond civil;
  if (!absl::ParseCivilTime(date_time, &civil) || civil.year() < 1970 || civil.year() > 2200) {
    return std::nullopt;
  }
  int64_t ns = 0;
  if (parts.second.size() > 9) return std::nullopt;
  int64_t unit = 100'000'000;
  for (const char digit : parts.second) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(digit))) return std::nullopt;
    ns += (digit - '0') * unit;
    unit /= 10;
  }
  return std::chrono::seconds(civil - absl::CivilSecond(1970)) + std::chrono::nanoseconds(ns);
}

absl::StatusOr<TraceRequest> ParseAzureLine(std::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(ToAbsl(line), ',');
  if (fields.size() != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("got ", fields.size(), " fields, want 3 (time, prompt, output)"));
  }
  TraceRequest request;
  const auto arrival = ParseAzureTime(fields[0]);
  if (!arrival) {
    return absl::InvalidArgumentError(absl::StrCat("TIMESTAMP: got ", Quoted(FromAbsl(fields[0])),
                                                   ", want \"YYYY-MM-DD hh:mm:ss.fffffff\""));
  }
  request.arrival = *arrival;
  const std::pair<const char*, uint32_t*> counts[] = {{"ContextTokens", &request.prompt_tokens},
                                                      {"GeneratedTokens", &request.output_tokens}};
  for (size_t i = 0; i < 2; ++i) {
    if (!absl::SimpleAtoi(fields[i + 1], counts[i].second) || *counts[i].second > kMaxTokens) {
      return absl::InvalidArgumentError(absl::StrCat(counts[i].first, ": got ",
                                                     Quoted(FromAbsl(fields[i + 1])),
                                                     ", want an integer in [0, ", kMaxTokens, "]"));
    }
  }
  return request;
}

}  // namespace

absl::StatusOr<Requests> ParseMooncakeTrace(std::string_view text, std::string_view name) {
  Requests requests;
  const absl::Status status = ForEachLine(text, name, [&](std::string_view line) {
    absl::StatusOr<TraceRequest> request = ParseMooncakeLine(line);
    if (request.ok()) requests.push_back(*std::move(request));
    return request.status();
  });
  if (!status.ok()) return status;
  OrderByArrival(&requests);
  return requests;
}

absl::StatusOr<Requests> ParseAzureTrace(std::string_view text, std::string_view name) {
  constexpr std::string_view kHeader = "TIMESTAMP,ContextTokens,GeneratedTokens";
  Requests requests;
  bool seen_header = false;
  const absl::Status status = ForEachLine(text, name, [&](std::string_view line) -> absl::Status {
    if (!std::exchange(seen_header, true)) {
      if (line == kHeader) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat("header: got ", Quoted(line), ", want ", Quoted(kHeader)));
    }
    absl::StatusOr<TraceRequest> request = ParseAzureLine(line);
    if (request.ok()) requests.push_back(*std::move(request));
    return request.status();
  });
  if (!status.ok()) return status;
  OrderByArrival(&requests);
  return requests;
}

absl::StatusOr<Requests> ReadTrace(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad()) return absl::UnavailableError(absl::StrCat(path, ": read failed"));
  return absl::StripLeadingAsciiWhitespace(text).substr(0, 1) == "{"
             ? ParseMooncakeTrace(text, path)
             : ParseAzureTrace(text, path);
}

}  // namespace epp::sim
