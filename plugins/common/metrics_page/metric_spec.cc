#include "plugins/common/metrics_page/metric_spec.h"

#include <algorithm>

namespace epp::metrics_page {
namespace {

std::string_view Trim(std::string_view s) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  return s;
}

bool Letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// The names that the classic text format allows.
bool ValidName(std::string_view name, bool colons) {
  return !name.empty() && !(name[0] >= '0' && name[0] <= '9') &&
         std::all_of(name.begin(), name.end(), [&](char c) {
           return Letter(c) || (c >= '0' && c <= '9') || (colons && c == ':');
         });
}

Status Invalid(std::string_view text) {
  return Status::Invalid("not a valid metric specification: \"" + std::string(text) +
                         "\", want name or name{label=value, ...}");
}

}  // namespace

Status ParseMetricSpec(std::string_view text, MetricSpec& out) {
  out = {};
  const std::string_view trimmed = Trim(text);
  if (trimmed.empty()) return {};
  const size_t brace = trimmed.find('{');
  const std::string_view name = Trim(trimmed.substr(0, brace));
  if (!ValidName(name, true)) return Invalid(text);
  out.name = name;
  if (brace == std::string_view::npos) return {};
  if (trimmed.back() != '}') return Invalid(text);
  std::string_view pairs = trimmed.substr(brace + 1, trimmed.size() - brace - 2);
  while (!Trim(pairs).empty()) {
    const size_t comma = pairs.find(',');
    const std::string_view pair = Trim(pairs.substr(0, comma));
    pairs = comma == std::string_view::npos ? "" : pairs.substr(comma + 1);
    const size_t equals = pair.find('=');
    const std::string_view label = Trim(pair.substr(0, equals));
    std::string_view value = equals == std::string_view::npos ? "" : Trim(pair.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
      value = value.substr(1, value.size() - 2);
    }
    if (equals == std::string_view::npos || !ValidName(label, false) ||
        value.find_first_of("\"{}") != std::string_view::npos) {
      return Status::Invalid("invalid label pair \"" + std::string(pair) +
                             "\" in specification: \"" + std::string(text) + "\"");
    }
    out.labels.emplace_back(label, value);
  }
  return {};
}

}  // namespace epp::metrics_page
