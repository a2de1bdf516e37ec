#include "host/cli/type_text.h"

#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "absl/time/time.h"
#include "host/base/json_writer.h"
#include "host/base/quantity.h"
#include "host/base/str_cat.h"
#include "host/config/endpoint_picker_config.h"

namespace epp::cli {
namespace {

constexpr std::array<std::pair<const char*, std::string_view>, 22> kKinds = {{
    {EPP_FILTER_ID, "filter"},
    {EPP_SCORER_ID, "scorer"},
    {EPP_PICKER_ID, "picker"},
    {EPP_PROFILE_HANDLER_ID, "profile-handler"},
    {EPP_DECIDER_ID, "decider"},
    {EPP_PARSER_ID, "parser"},
    {EPP_SOURCE_ID, "source"},
    {EPP_SCRAPER_ID, "scraper"},
    {EPP_REQUEST_HEADER_ID, "request-header"},
    {EPP_SCREENER_ID, "screener"},
    {EPP_PRODUCER_ID, "producer"},
    {EPP_ASYNC_PRODUCER_ID, "producer"},
    {EPP_ADMITTER_ID, "admitter"},
    {config::kDiscoveryInterface, "discovery"},
    {EPP_SERVICE_ID, "service"},
    {EPP_PRE_REQUEST_ID, "pre-request"},
    {EPP_RESPONSE_ID, "response"},
    {EPP_POOL_EVENTS_ID, "pool-events"},
    {EPP_READINESS_ID, "readiness"},
    {EPP_DUMP_STATE_ID, "dump-state"},
    {EPP_STATE_ID, "state"},
    {EPP_ATTRIBUTES_ID, "attributes"},
}};

// Bounds beyond these stand for none.
constexpr double kNoBound = 9e18;

std::string Number(double value) {
  std::string out;
  // Whole numbers without a fraction; beyond 2^53 there is none.
  if (std::abs(value) < 9e15 && value == std::trunc(value)) {
    return StrCat(static_cast<int64_t>(value));
  }
  AppendJsonDouble(value, &out);
  return out;
}

std::string Text(epp_str text) {
  std::string out;
  AppendJsonString(text.size ? std::string_view(text.data, text.size) : "", &out);
  return out;
}

}  // namespace

std::vector<std::string_view> KindsOf(const loader::TypeEntry& type) {
  std::vector<std::string_view> kinds;
  for (const auto& [id, kind] : kKinds) {
    if (type.Implements(id)) kinds.push_back(kind);
  }
  return kinds;
}

std::vector<std::string> AllKinds() {
  std::vector<std::string> kinds;
  for (const auto& [id, kind] : kKinds) kinds.emplace_back(kind);
  return kinds;
}

std::string_view StabilityName(uint32_t stability) {
  switch (stability) {
    case EPP_STABILITY_ALPHA:
      return "alpha";
    case EPP_STABILITY_BETA:
      return "beta";
    case EPP_STABILITY_STABLE:
      return "stable";
    default:
      return "unknown";
  }
}

std::string_view ParamTypeName(int32_t type) {
  switch (type) {
    case EPP_P_BOOL:
      return "bool";
    case EPP_P_I64:
      return "integer";
    case EPP_P_F64:
      return "number";
    case EPP_P_STR:
      return "text";
    case EPP_P_DURATION:
      return "duration";
    case EPP_P_STR_LIST:
      return "list of texts";
    case EPP_P_PLUGIN:
      return "plugin name";
    case EPP_P_JSON:
      return "any";
    default:
      return "unknown";
  }
}

std::string FormatValue(const epp_value& value) {
  if (!value.present) return "";
  switch (value.type) {
    case EPP_P_BOOL:
      return value.v.i64 ? "true" : "false";
    case EPP_P_I64:
      return StrCat(value.v.i64);
    case EPP_P_F64:
      return Number(value.v.f64);
    case EPP_P_DURATION:
      return FormatGoDuration(absl::Nanoseconds(value.v.i64));
    case EPP_P_STR_LIST: {
      std::string out = "[";
      for (const epp_str& item : std::span(value.v.list.items, value.v.list.count)) {
        StrAppend(&out, out.size() > 1 ? ", " : "", Text(item));
      }
      return out + "]";
    }
    case EPP_P_JSON:
      return value.v.str.size ? std::string(value.v.str.data, value.v.str.size) : "null";
    default:
      return Text(value.v.str);
  }
}

std::string FormatRange(const epp_param_spec& spec) {
  std::string out;
  for (const char* choice : std::span(spec.choices, spec.choice_count)) {
    StrAppend(&out, out.empty() ? "" : " | ", choice);
  }
  const bool bounded =
      spec.type == EPP_P_I64 || spec.type == EPP_P_F64 || spec.type == EPP_P_DURATION;
  if (!out.empty() || !bounded) return out;
  const std::string_view unit = spec.type == EPP_P_DURATION ? "s" : "";
  const bool low = spec.min > -kNoBound;
  const bool high = spec.max < kNoBound;
  if (low && high) return StrCat(Number(spec.min), unit, " to ", Number(spec.max), unit);
  if (low) return StrCat(">= ", Number(spec.min), unit);
  return high ? StrCat("<= ", Number(spec.max), unit) : "";
}

std::string FormatAttribute(const epp_attr_spec& attribute, std::string_view producer) {
  std::string out(attribute.key);
  if (!producer.empty()) StrAppend(&out, "/", producer);
  StrAppend(&out, attribute.scope == EPP_SCOPE_REQUEST ? " (request" : " (endpoint",
            attribute.flags & EPP_ATTR_OPTIONAL ? ", optional)" : ")");
  return out;
}

}  // namespace epp::cli
