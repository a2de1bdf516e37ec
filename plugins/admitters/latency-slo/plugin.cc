// latency-slo-admitter: denies a sheddable request whose latency objective no endpoint would meet.
//
// Denied when all of these hold: the priority is below 0; a header asks for a latency; somebody has
// a prediction; no endpoint is predicted to meet both objectives; none is idle, and none is cold.
#include "epp/plugin.hpp"

#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "plugins/common/attributes.hpp"

namespace {

constexpr const char* kLatencyParam = "latencyPredictionInfoProducerName";
constexpr double kColdKvUsage = 0.02;

// The objective in a header, new name before old; 0 when there is none or it is no number.
double Objective(const epp::Call& call, std::string_view name, std::string_view old_name) {
  std::optional<std::string_view> text = call.header(name);
  if (!text) text = call.header(old_name);
  if (!text) return 0;
  if (text->starts_with('+')) text->remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  return error == std::errc() && end == text->data() + text->size() ? value : 0;
}

class LatencySloAdmitter {
 public:
  static constexpr const char* kName = "latency-slo-admitter";
  static constexpr const char* kDoc =
      "Denies requests of negative priority whose latency objective no endpoint would meet.";
  static constexpr std::array kParams{
      epp::Plugin(kLatencyParam, nullptr, "Producer of the predictions.")};
  static constexpr std::array kConsumes{
      epp::Needs(epp::common::kLatencyTtftValid).From(kLatencyParam),
      epp::Needs(epp::common::kLatencyTpotValid).From(kLatencyParam),
      epp::Needs(epp::attr::kRunningRequestsSize), epp::Needs(epp::attr::kKvCacheUsage)};

  static epp::Result<LatencySloAdmitter> Create(const epp::Context&) {
    return LatencySloAdmitter();
  }

  epp::Status Admit(const epp::Call& call, const epp::Candidates& in) const {
    if (call.request().priority >= 0) return {};
    if (!(Objective(call, "x-llm-d-slo-ttft-ms", "x-slo-ttft-ms") > 0) &&
        !(Objective(call, "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms") > 0)) {
      return {};
    }
    const auto ttft = in.column<uint8_t>(0);
    const auto tpot = in.column<uint8_t>(1);
    const auto running = in.column<int64_t>(2);
    const auto kv = in.column<double>(3);
    bool predicted = false;
    for (size_t i = 0; i < in.size(); ++i) {
      // Without metrics an endpoint counts as idle.
      if (running[i] == 0 || kv[i] < kColdKvUsage) return {};
      if (!ttft.has(i) || !tpot.has(i)) continue;
      if (ttft[i] && tpot[i]) return {};
      predicted = true;
    }
    if (!predicted) return {};
    return {EPP_RESOURCE_EXHAUSTED, "no endpoint is predicted to meet the latency objective"};
  }
};

}  // namespace

EPP_LIBRARY("latency-slo-admitter", "0.1.0", LatencySloAdmitter)
