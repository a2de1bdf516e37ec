// The metrics of the latency model, under their old and their new names.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "epp/plugin.hpp"

namespace epp::latency {

constexpr std::array kTtftBuckets{0.005, 0.025, 0.05,  0.1,   0.2,    0.4,    0.6,    0.8,   1.0,
                                  1.25,  1.5,   2.0,   3.0,   4.0,    5.0,    6.0,    8.0,   10.0,
                                  15.0,  20.0,  30.0,  45.0,  60.0,   120.0,  180.0,  240.0, 300.0,
                                  360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0};
constexpr std::array kTpotBuckets{0.0005, 0.00205, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                  0.125,  0.15,    0.2,   0.3,  0.4,   0.5,   0.6,   0.8,  1.0,
                                  1.5,    2.0,     3.0,   4.5,  6.0,   12.0,  18.0,  24.0, 30.0,
                                  36.0,   48.0,    60.0,  90.0, 120.0, 180.0, 270.0, 360.0};
constexpr std::array kCallBuckets{0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
                                  0.05,   0.1,    0.2,   0.5,   1.0,   2.0,  5.0};

class Metrics {
 public:
  explicit Metrics(const epp::Context& ctx)
      : name_(ctx.name()),
        predicted_ttft_(ctx, "request_predicted_ttft_seconds", "Predicted TTFT.", kTtftBuckets),
        predicted_tpot_(ctx, "request_predicted_tpot_seconds", "Predicted TPOT.", kTpotBuckets),
        ttft_call_(ctx, "request_ttft_prediction_duration_seconds", "Time of a TTFT prediction.",
                   kCallBuckets),
        tpot_call_(ctx, "request_tpot_prediction_duration_seconds", "Time of a TPOT prediction.",
                   kCallBuckets),
        ttft_(Old(ctx, EPP_METRIC_HISTOGRAM, "request_ttft_seconds", "TTFT.", kTtftBuckets)),
        tpot_(Old(ctx, EPP_METRIC_HISTOGRAM, "request_tpot_seconds", "TPOT.", kTpotBuckets)),
        violations_(ctx.host().raw(), EPP_METRIC_COUNTER,
                    "inference_objective_request_slo_violation_total",
                    "Requests that took longer than their objective.", kTypedLabels),
        last_(ctx.host().raw(), EPP_METRIC_GAUGE, "inference_request_metric",
              "Of the last request: times in seconds, violations as 0 or 1.", kTypedLabels) {}

  // Seconds. `slo` of 0: none was asked for.
  void Predicted(std::string_view target, double ttft, double tpot, double call) const {
    predicted_ttft_.Observe(name_, "", target, ttft);
    predicted_tpot_.Observe(name_, "", target, tpot);
    // With the labels the other way round, as dashboards know them.
    ttft_call_.Observe(name_, target, "", call);
    tpot_call_.Observe(name_, target, "", call);
    Last(target, "predicted_ttft", ttft);
    Last(target, "predicted_tpot", tpot);
    Last(target, "ttft_prediction_duration", call);
    Last(target, "tpot_prediction_duration", call);
  }
  void Ttft(std::string_view target, double seconds, double slo) const {
    Actual(ttft_, "ttft", target, seconds, slo);
  }
  void Tpot(std::string_view target, double seconds, double slo) const {
    Actual(tpot_, "tpot", target, seconds, slo);
  }

 private:
  static constexpr std::array<std::string_view, 2> kOldLabels{"model_name", "target_model_name"};
  static constexpr std::array<std::string_view, 3> kTypedLabels{"model_name", "target_model_name",
                                                                "type"};
  static constexpr std::array<std::string_view, 4> kNewLabels{"model_name", "target_model_name",
                                                              "plugin_name", "plugin_type"};

  static epp::Metric Old(const epp::Context& ctx, int32_t kind, const std::string& name,
                         std::string_view help, std::span<const double> bounds) {
    return {ctx.host().raw(), kind, "inference_objective_" + name, help, kOldLabels, bounds};
  }

  // Under both names.
  struct Pair {
    Pair(const epp::Context& ctx, const std::string& name, std::string_view help,
         std::span<const double> bounds)
        : old_name(Old(ctx, EPP_METRIC_HISTOGRAM, name, help, bounds)),
          new_name(ctx.host().raw(), EPP_METRIC_HISTOGRAM, "llm_d_epp_" + name, help, kNewLabels,
                   bounds) {}
    void Observe(std::string_view plugin, std::string_view model, std::string_view target,
                 double value) const {
      old_name.With(std::array{model, target}).Add(value);
      new_name
          .With(std::array{model, target, plugin, std::string_view("predicted-latency-producer")})
          .Add(value);
    }
    epp::Metric old_name, new_name;
  };

  void Last(std::string_view target, std::string_view type, double value) const {
    last_.With(std::array{std::string_view(), target, type}).Add(value);
  }
  void Actual(const epp::Metric& metric, std::string_view type, std::string_view target,
              double seconds, double slo) const {
    metric.With(std::array{std::string_view(), target}).Add(seconds);
    Last(target, type, seconds);
    if (!(slo > 0)) return;
    const bool violated = seconds > slo;
    Last(target, std::string(type) + "_slo_violation", violated ? 1 : 0);
    if (violated) violations_.With(std::array{std::string_view(), target, type}).Add(1);
  }

  const std::string name_;
  const Pair predicted_ttft_, predicted_tpot_, ttft_call_, tpot_call_;
  const epp::Metric ttft_, tpot_, violations_, last_;
};

}  // namespace epp::latency
