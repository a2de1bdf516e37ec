#include "host/runtime/plugin_observer.h"

#include <string>

#include "host/telemetry/log.h"

namespace epp::runtime {
namespace {

using scheduling::Point;

// The label values of the reference.
constexpr std::array<std::string_view, 11> kPointNames = {
    "RequestParsing",
    "ResponseParsing",
    "DataProducer",
    "ProfilePicker",
    "Filter",
    "Scorer",
    "Picker",
    "ProcessProfilesResults",
    "PreRequest",
    "ResponseReceived",
    "ResponseStreaming",
};

// The points at which an instance can be called, from its interfaces.
bool CalledAt(const loader::Instance& instance, Point point) {
  switch (point) {
    case Point::kParseRequest:
    case Point::kParseResponse:
      return instance.type().Implements(EPP_PARSER_ID);
    case Point::kProducer:
      return instance.type().Implements(EPP_PRODUCER_ID);
    case Point::kProfilePicker:
    case Point::kProcessResults:
      return instance.type().Implements(EPP_PROFILE_HANDLER_ID);
    case Point::kFilter:
      return instance.type().Implements(EPP_FILTER_ID);
    case Point::kScorer:
      return instance.type().Implements(EPP_SCORER_ID);
    case Point::kPicker:
      return instance.type().Implements(EPP_PICKER_ID);
    case Point::kPreRequest:
      return instance.type().Implements(EPP_PRE_REQUEST_ID);
    case Point::kResponseHeaders:
    case Point::kResponseBody:
      return instance.type().Implements(EPP_RESPONSE_ID);
  }
  return false;
}

}  // namespace

PluginObserver::PluginObserver(const scheduling::Wiring& wiring, telemetry::EppMetrics* metrics) {
  const auto errors = metrics->registry().Counters({.name = "epp_plugin_errors_total",
                                                    .help = "Calls of a plugin that failed.",
                                                    .labels = {"plugin", "extension_point"},
                                                    .hide_untouched = true});
  by_plugin_.resize(wiring.plugins.size());
  for (const scheduling::BoundPlugin& plugin : wiring.plugins) {
    Handles& handles = by_plugin_[plugin.index];
    handles.bad_scores = metrics->plugin_bad_score.With({plugin.name()});
    for (size_t p = 0; p < kPoints; ++p) {
      if (!CalledAt(*plugin.instance, static_cast<Point>(p))) continue;
      handles.seconds[p] =
          metrics->PluginDuration(kPointNames[p], plugin.type_name(), plugin.name());
      if (errors.ok()) handles.errors[p] = errors->With({plugin.name(), kPointNames[p]});
    }
  }
}

void PluginObserver::Called(uint32_t, const scheduling::BoundPlugin& plugin, Point point,
                            uint64_t ns) {
  by_plugin_[plugin.index].seconds[static_cast<size_t>(point)].Observe(static_cast<double>(ns) *
                                                                       1e-9);
}

void PluginObserver::Failed(uint32_t, const scheduling::BoundPlugin& plugin, Point point,
                            epp_status status, std::string_view message) {
  by_plugin_[plugin.index].errors[static_cast<size_t>(point)].Add();
  EPP_LOG(kWarn, "sched", "plugin call failed",
          {{"plugin", plugin.name()},
           {"extension_point", kPointNames[static_cast<size_t>(point)]},
           {"status", status},
           {"error", message}});
}

void PluginObserver::BadScores(uint32_t, const scheduling::BoundPlugin& plugin, uint64_t count) {
  by_plugin_[plugin.index].bad_scores.Add(count);
}

}  // namespace epp::runtime
