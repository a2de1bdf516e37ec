#include "host/runtime/plugin_observer.h"

#include <string>

#include "host/base/clock.h"
#include "host/loader/guard.h"
#include "host/telemetry/log.h"

namespace epp::runtime {
namespace {

using scheduling::Point;

// The label values of the reference.
constexpr std::array<std::string_view, 15> kPointNames = {
    "RequestParsing", "ResponseParsing",  "RequestHeader",     "Screener",
    "DataProducer",   "Admission",        "ProfilePicker",     "Filter",
    "Scorer",         "Picker",           "Decider",           "ProcessProfilesResults",
    "PreRequest",     "ResponseReceived", "ResponseStreaming",
};

// The points at which an instance can be called, from its interfaces.
bool CalledAt(const loader::Instance& instance, Point point) {
  switch (point) {
    case Point::kParseRequest:
    case Point::kParseResponse:
      return instance.type().Implements(EPP_PARSER_ID);
    case Point::kRequestHeader:
      return instance.type().Implements(EPP_REQUEST_HEADER_ID);
    case Point::kScreener:
      return instance.type().Implements(EPP_SCREENER_ID);
    case Point::kAdmitter:
      return instance.type().Implements(EPP_ADMITTER_ID);
    case Point::kProducer:
      return scheduling::IsProducer(instance.type());
    case Point::kProfilePicker:
    case Point::kProcessResults:
      return instance.type().Implements(EPP_PROFILE_HANDLER_ID);
    case Point::kFilter:
      return instance.type().Implements(EPP_FILTER_ID);
    case Point::kScorer:
      return instance.type().Implements(EPP_SCORER_ID);
    case Point::kPicker:
      return instance.type().Implements(EPP_PICKER_ID);
    case Point::kDecider:
      return instance.type().Implements(EPP_DECIDER_ID);
    case Point::kPreRequest:
      return instance.type().Implements(EPP_PRE_REQUEST_ID);
    case Point::kResponseHeaders:
    case Point::kResponseBody:
      return instance.type().Implements(EPP_RESPONSE_ID);
  }
  return false;
}

// Without a picker, a handler or a parser no request could be served at all; a header plugin may be
// there to refuse requests.
bool CanBeSwitchedOff(const loader::Instance& instance) {
  return !instance.type().Implements(EPP_PICKER_ID) &&
         !instance.type().Implements(EPP_PROFILE_HANDLER_ID) &&
         !instance.type().Implements(EPP_PARSER_ID) &&
         !instance.type().Implements(EPP_REQUEST_HEADER_ID);
}

}  // namespace

PluginObserver::PluginObserver(const scheduling::Wiring& wiring, telemetry::EppMetrics* metrics,
                               uint64_t call_budget_ns)
    : call_budget_ns_(call_budget_ns == 0 ? UINT64_MAX : call_budget_ns) {
  const auto strikes = metrics->registry().Counters({.name = "epp_plugin_strikes_total",
                                                     .help = "Calls of a plugin over their budget.",
                                                     .labels = {"plugin"},
                                                     .hide_untouched = true});
  const auto errors = metrics->registry().Counters({.name = "epp_plugin_errors_total",
                                                    .help = "Calls of a plugin that failed.",
                                                    .labels = {"plugin", "extension_point"},
                                                    .hide_untouched = true});
  by_plugin_.resize(wiring.plugins.size());
  for (const scheduling::BoundPlugin& plugin : wiring.plugins) {
    Handles& handles = by_plugin_[plugin.index];
    handles.bad_scores = metrics->plugin_bad_score.With({plugin.name()});
    if (strikes.ok()) handles.strikes = strikes->With({plugin.name()});
    handles.may_switch_off = CanBeSwitchedOff(*plugin.instance);
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
  if (ns > call_budget_ns_) [[unlikely]]
    Slow(plugin, point, ns);
  by_plugin_[plugin.index].seconds[static_cast<size_t>(point)].Observe(static_cast<double>(ns) *
                                                                       1e-9);
}

void PluginObserver::Slow(const scheduling::BoundPlugin& plugin, Point point, uint64_t ns) {
  using Verdict = loader::Guard::Slow;
  const Handles& handles = by_plugin_[plugin.index];
  const Verdict verdict = plugin.guard().JudgeSlow(ns, call_budget_ns_, Clock::Real().mono_ns(),
                                                   handles.may_switch_off);
  if (verdict != Verdict::kStrike && verdict != Verdict::kOff) return;
  handles.strikes.Add();
  const std::string_view where = kPointNames[static_cast<size_t>(point)];
  if (verdict == Verdict::kStrike) {
    EPP_LOG(kWarn, "sched", "slow plugin call",
            {{"plugin", plugin.name()}, {"extension_point", where}, {"took_us", ns / 1000}});
    return;
  }
  EPP_LOG_EXEMPT(kError, "sched", "plugin switched off: three slow calls within a minute",
                 {{"plugin", plugin.name()},
                  {"type", plugin.type_name()},
                  {"library", std::string_view(plugin.guard().identity().library.data())},
                  {"digest", std::string_view(plugin.guard().identity().digest.data())},
                  {"extension_point", where},
                  {"took_us", ns / 1000},
                  {"budget_us", call_budget_ns_ / 1000}});
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
