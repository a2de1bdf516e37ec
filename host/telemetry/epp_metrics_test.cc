#include "host/telemetry/epp_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace epp::telemetry {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kLabels[] =
    R"({model_name="m",target_model_name="t",fairness_id="f",priority="-1"})";

TEST(EppMetricsTest, RequestFamiliesByTheirKnownNames) {
  Registry registry(1);
  EppMetrics metrics(&registry, {.workers = 1});
  const RequestSeries& series = metrics.Request("m", "t", "f", -1);
  EXPECT_THAT(registry.Text(), Not(HasSubstr("llm_d_epp_request_total")));
  series.total.Add();
  series.duration.Observe(0.3);
  series.request_bytes.Observe(64);
  series.response_bytes.Observe(32778);
  series.input_tokens.Observe(5);
  series.output_tokens.Observe(5);
  series.cached_tokens.Observe(0);
  series.running.Add();
  series.ntpot.Observe(0.01);
  series.ttft[1].Observe(0.2);
  series.tpot.Observe(0.01);
  series.itl.Observe(0.01);
  metrics.RequestError(series, ErrorCode::kResourceExhausted);
  metrics.RequestError(series, ErrorCode::kResourceExhausted);
  const std::string text = registry.Text();
  for (const char* name :
       {"request_total", "request_duration_seconds_count", "request_size_bytes_count",
        "response_size_bytes_count", "request_input_tokens_count", "request_output_tokens_count",
        "request_cached_tokens_count", "request_running", "request_ntpot_seconds_count",
        "request_streaming_tpot_seconds_count", "request_streaming_itl_seconds_count"}) {
    EXPECT_THAT(text, HasSubstr(std::string("\nllm_d_epp_") + name + kLabels + " 1\n"));
  }
  EXPECT_THAT(text, HasSubstr("llm_d_epp_request_ttft_seconds_count{model_name=\"m\","
                              "target_model_name=\"t\",fairness_id=\"f\",priority=\"-1\","
                              "streaming=\"true\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("streaming=\"false\"")));
  EXPECT_THAT(text, HasSubstr("priority=\"-1\",error_code=\"ResourceExhausted\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("# HELP llm_d_epp_request_total [ALPHA] "));
  EXPECT_THAT(text, HasSubstr("le=\"32778\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("inference_")));
}

TEST(EppMetricsTest, OldNamesWhenAskedFor) {
  Registry registry(1);
  EppMetrics metrics(&registry, {.workers = 1, .old_names = true, .stream_metrics = true});
  const RequestSeries& series = metrics.Request("m", "t", "f", 2);
  series.total.Add();
  series.running.Add();
  series.duration.Observe(1);
  metrics.RequestError(series, ErrorCode::kInternal);
  metrics.SchedulerAttempt(true, "t", "pod", "ns", "8000");
  metrics.PluginDuration("Scorer", "queue-scorer", "queue").Observe(1e-5);
  metrics.SetPool("pool", {.fresh = 2, .average_kv = 0.123});
  metrics.streams_total.With({"OK"}).Add();
  metrics.poll_errors.old.With({"metrics"}).Add();
  const std::string text = registry.Text();
  for (const char* line :
       {"inference_objective_request_total{model_name=\"m\",target_model_name=\"t\",priority=\"2\"}"
        " 1",
        "inference_objective_running_requests{model_name=\"m\"} 1",
        "inference_objective_request_error_total{model_name=\"m\",target_model_name=\"t\","
        "error_code=\"Internal\"} 1",
        "inference_extension_scheduler_attempts_total{status=\"success\",target_model_name=\"t\","
        "pod_name=\"pod\",namespace=\"ns\",port=\"8000\"} 1",
        "inference_extension_plugin_duration_seconds_count{extension_point=\"Scorer\","
        "plugin_type=\"queue-scorer\",plugin_name=\"queue\"} 1",
        "inference_pool_average_kv_cache_utilization{name=\"pool\"} 0.12",
        "inference_pool_ready_pods{name=\"pool\"} 2",
        "llm_d_epp_extproc_streams_total{code=\"OK\"} 1",
        "llm_d_inference_scheduler_datalayer_poll_errors_total{source_type=\"metrics\"} 1"}) {
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  }
  EXPECT_THAT(text, HasSubstr("[ALPHA] [Deprecated: Use llm_d_epp_request_total] "));
}

TEST(EppMetricsTest, ClientLabelsAreCapped) {
  Registry registry(1);
  EppMetrics metrics(&registry, {.workers = 1});
  metrics.PinModel("pinned");
  for (int i = 0; i < 1500; ++i) {
    metrics.Request("m" + std::to_string(i), "", "", 0).total.Add();
  }
  const RequestSeries& other = metrics.Request("another", "", "", 0);
  EXPECT_EQ(other.labels[0], "other");
  EXPECT_EQ(other.total.now.Value(), 500u);
  EXPECT_EQ(metrics.Request("m7", "", "", 0).labels[0], "m7");
  EXPECT_EQ(metrics.Request("pinned", "", "", 0).labels[0], "pinned");
}

TEST(EppMetricsTest, WorkersAndOthersShareOneSeries) {
  Registry registry(2);
  EppMetrics metrics(&registry, {.workers = 2});
  const RequestSeries* unbound = &metrics.Request("m", "t", "f", 0);
  for (int worker = 0; worker < 2; ++worker) {
    std::thread([&, worker] {
      const WorkerBinding binding(worker);
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(&metrics.Request("m", "t", "f", 0), unbound);
        EXPECT_NE(&metrics.Request("m", "tf", "", 0), unbound);
        metrics.SchedulerAttempt(true, "t", "pod-1", "ns", "80");
      }
    }).join();
  }
  EXPECT_THAT(registry.Text(), HasSubstr("port=\"80\"} 6\n"));
}

TEST(EppMetricsTest, SeriesOfGoneEndpointsDisappear) {
  Registry registry(1);
  EppMetrics metrics(&registry, {.workers = 1});
  const WorkerBinding binding(0);
  metrics.SchedulerAttempt(true, "t", "pod-1", "ns", "80");
  metrics.SchedulerAttempt(true, "t", "pod-2", "ns", "80");
  metrics.SchedulerAttempt(false, "t", "", "", "");
  metrics.EndpointGone("pod-1", "ns");
  EXPECT_THAT(registry.Text(), Not(HasSubstr("pod-1")));
  metrics.SchedulerAttempt(true, "t", "pod-1", "ns", "80");
  metrics.SchedulerAttempt(true, "t", "pod-2", "ns", "80");
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("endpoint_name=\"pod-1\",namespace=\"ns\",port=\"80\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("endpoint_name=\"pod-2\",namespace=\"ns\",port=\"80\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("status=\"failure\""));
}

TEST(EppMetricsTest, PoolAveragesGoWhenNothingIsFresh) {
  Registry registry(1);
  EppMetrics metrics(&registry, {.workers = 1});
  metrics.SetPool("p", {.fresh = 1, .average_kv = 0.004, .average_queue = 2.675});
  EXPECT_THAT(registry.Text(), HasSubstr("average_kv_cache_utilization{name=\"p\"} 0\n"));
  metrics.SetPool("p", {});
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("ready_endpoints{name=\"p\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("average_kv_cache_utilization{")));
}

TEST(EppMetricsTest, OneConfigInfoAtATime) {
  Registry registry(1);
  EppMetrics metrics(&registry, {.workers = 1});
  metrics.SetConfigInfo("5f1c9a77", 41);
  metrics.SetConfigInfo("91be03d4", 42);
  const std::string text = registry.Text();
  EXPECT_THAT(text, HasSubstr("epp_config_info{digest=\"91be03d4\",generation=\"42\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("5f1c9a77")));
  EXPECT_THAT(text, HasSubstr("epp_generation 42\n"));
}

TEST(EppMetricsTest, ValuesSurviveASecondObject) {
  Registry registry(1);
  EppMetrics first(&registry, {.workers = 1});
  first.decision_records.Add(4);
  EppMetrics second(&registry, {.workers = 1});
  EXPECT_EQ(second.decision_records.Value(), 4u);
  const auto queue = second.PerEndpointQueue([](const Emit& emit) { emit({"p", "ns", "e"}, 7); });
  EXPECT_THAT(registry.Text(), HasSubstr("per_endpoint_queue_size{name=\"p\",namespace=\"ns\","
                                         "model_server_endpoint=\"e\"} 7\n"));
  EXPECT_THAT(registry.Text(), HasSubstr("process_resident_memory_bytes"));
}

}  // namespace
}  // namespace epp::telemetry
