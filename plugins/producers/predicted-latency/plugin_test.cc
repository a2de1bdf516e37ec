#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "epp/testing.hpp"
#include "plugins/common/attributes.hpp"
#include "plugins/common/scorer_attributes.hpp"
#include "plugins/producers/predicted-latency/running.h"

namespace {

using epp::test::Cell;
using epp::test::Event;
using epp::test::FakeHttp;
using epp::test::FakeTimers;
using epp::test::Host;
using epp::test::Instance;
using epp::test::Params;
using epp::test::Pool;
using epp::test::Produced;
using epp::test::Profiles;
using epp::test::Request;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kMs = 1'000'000;
const epp::test::Labels kModel{{"model_name", ""}, {"target_model_name", "t"}};

// A predictor's answer: TTFT and TPOT of each row.
std::string Answer(const std::vector<std::pair<double, double>>& rows) {
  json list = json::array();
  for (const auto& [ttft, tpot] : rows) list.push_back({{"ttft_ms", ttft}, {"tpot_ms", tpot}});
  return json{{"predictions", list}, {"total_requests", rows.size()}}.dump();
}

class Latency : public ::testing::Test {
 protected:
  Latency() {
    pool_.Set(epp::attr::kKvCacheUsage, {0.5, 0.25})
        .Set(epp::attr::kWaitingQueueSize, {1, 2})
        .Set(epp::attr::kRunningRequestsSize, {3, 4})
        .Set(epp::attr::kPrefixMatchBlocks, {1, 0})
        .Set(epp::attr::kInflightRequests, {5, 6})
        .Set(epp::attr::kInflightTokens, {70, 80});
    pool_.Label(1, "role", "prefill");
    Prepare(request_);
  }
  static void Prepare(Request& request) {
    request.TargetModel("t").Tokens({1, 2, 3, 4, 5, 6, 7, 8});
    request.Set(epp::attr::kPrefixTotalBlocks, Cell(2));
    request.Header("x-llm-d-slo-ttft-ms", "100").Header("x-slo-tpot-ms", "20");
  }
  void Make(const Params& params = {}) {
    producer_ = std::make_unique<Instance>(
        *epp::test::Library::Linked().Find("predicted-latency-producer"), params, &host_);
    ASSERT_TRUE(producer_->ok()) << producer_->error();
  }
  // Asks, answers with one status, and gives what was produced.
  Produced Ask(std::string_view answer, int status = 200) {
    Instance::Operation operation(*producer_, pool_, request_);
    timers_.Advance(1 * kMs);
    http_.Answer(http_.size() - 1, status, answer);
    return operation.Finish();
  }
  void Send(uint32_t row = 0) {
    producer_->PreRequest(Profiles{"decode"}.Ok("decode", {row}).Primary("decode"), pool_,
                          request_);
  }
  void Chunk(Request& request, uint64_t after_ms, bool last = false) {
    host_.Advance(after_ms * kMs);
    Event event;
    event.Bytes("x");
    if (last) event.Last();
    producer_->OnBody(event, request);
  }
  ~Latency() override {
    http_.Stop();
    timers_.Stop();
  }

  Host host_;
  FakeHttp http_{host_};
  FakeTimers timers_{host_};
  Pool pool_{2};
  Request request_;
  std::unique_ptr<Instance> producer_;
};

TEST_F(Latency, AsksForEveryCandidate) {
  Make({{"endpointRoleLabel", "role"}});
  Instance::Operation operation(*producer_, pool_, request_);
  EXPECT_EQ(http_.size(), 0u);  // waits for others
  timers_.Advance(1 * kMs);
  ASSERT_EQ(http_.size(), 1u);
  EXPECT_EQ(http_.sent(0).url, "http://localhost:8001/predict/bulk/strict");
  const json body = json::parse(http_.sent(0).body);
  ASSERT_EQ(body["requests"].size(), 2u);
  EXPECT_EQ(body["requests"][0], json::parse(R"({"kv_cache_percentage":0.5,"input_token_length":8,
                "num_request_waiting":1,"num_request_running":5,"num_tokens_generated":1,
                "prefix_cache_score":0.5,"encoder_input_size":0,"encoder_matched_size":0,
                "prefill_tokens_in_flight":70,"decode_tokens_in_flight":0})"));
  EXPECT_EQ(body["requests"][1]["pod_type"], "prefill");
}

TEST_F(Latency, ComparesWithTheObjectives) {
  Make({{"streamingMode", true}, {"sloBufferFactor", 0.5}, {"endpointRoleLabel", "role"}});
  const Produced out = Ask(Answer({{80, 15}, {120, 15}}));
  ASSERT_EQ(producer_->status(), EPP_OK) << producer_->error();
  EXPECT_THAT(out.column(epp::common::kLatencyTtftValid), ElementsAre(true, false));
  EXPECT_THAT(out.column(epp::common::kLatencyTtftHeadroom), ElementsAre(20.0, -20.0));
  EXPECT_THAT(out.column(epp::common::kLatencyTpotValid), ElementsAre(false, true));
  EXPECT_THAT(out.column(epp::common::kLatencyTpotHeadroom), ElementsAre(-5.0, 0.0));
  EXPECT_THAT(out.column(epp::common::kLatencyTtft), ElementsAre(80.0, 120.0));
  EXPECT_THAT(out.column(epp::common::kLatencyTpot), ElementsAre(15.0, 15.0));
  EXPECT_THAT(out.column(epp::common::kLatencyDispatched), ElementsAre(0, 0));
}

TEST_F(Latency, WithoutStreamingTpotIsAlwaysWellAndWithoutObjectiveTtftNever) {
  Make();
  Request request;
  request.TargetModel("t").Tokens({1}).Set(epp::attr::kPrefixTotalBlocks, Cell(0));
  request.Header("x-llm-d-slo-ttft-ms", "soon");
  Instance::Operation operation(*producer_, pool_, request);
  timers_.Advance(1 * kMs);
  http_.Answer(0, 200, Answer({{80, 15}, {120, 15}}));
  const Produced out = operation.Finish();
  EXPECT_THAT(out.column(epp::common::kLatencyTpotValid), ElementsAre(true, true));
  EXPECT_THAT(out.column(epp::common::kLatencyTtftHeadroom), ElementsAre(-80.0, -120.0));
}

TEST_F(Latency, FailuresSayNothing) {
  Make();
  for (const auto& [status, answer] : std::vector<std::pair<int, std::string>>{
           {500, ""},
           {200, "{"},
           {200, Answer({{1, 1}})},
           {200, R"({"predictions":[{"ttft_ms":1,"tpot_ms":1},{"ttft_ms":null,"tpot_ms":1}]})"}}) {
    const Produced out = Ask(answer, status);
    EXPECT_EQ(producer_->status(), EPP_OK);
    EXPECT_THAT(out.column(epp::common::kLatencyTtft), ElementsAre(Cell(), Cell()));
  }
}

TEST_F(Latency, WithoutMetricsNothingIsAsked) {
  Make();
  pool_.Set(epp::attr::kKvCacheUsage, {0.5, std::nullopt});
  Instance::Operation operation(*producer_, pool_, request_);
  EXPECT_FALSE(operation.pending());
  EXPECT_THAT(operation.Finish().column(epp::common::kLatencyTtft), ElementsAre(Cell(), Cell()));
}

TEST_F(Latency, CallsOfAMomentAreOne) {
  Make();
  Request other;
  Prepare(other);
  Instance::Operation first(*producer_, pool_, request_);
  Instance::Operation second(*producer_, pool_, other);
  timers_.Advance(1 * kMs);
  ASSERT_EQ(http_.size(), 1u);
  http_.Answer(0, 200, Answer({{1, 1}, {2, 2}, {3, 3}, {4, 4}}));
  EXPECT_THAT(first.Finish().column(epp::common::kLatencyTtft), ElementsAre(1.0, 2.0));
  EXPECT_THAT(second.Finish().column(epp::common::kLatencyTtft), ElementsAre(3.0, 4.0));
}

TEST_F(Latency, TightestRunningRequestCounts) {
  Make({{"streamingMode", true}});
  Request other;
  Prepare(other);
  other.Header("x-llm-d-slo-tpot-ms", "10");
  producer_->PreRequest(Profiles{"decode"}.Ok("decode", {1}).Primary("decode"), pool_, other);
  Produced out = Ask(Answer({{80, 15}, {80, 15}}));
  EXPECT_THAT(out.column(epp::common::kLatencyTpotHeadroom), ElementsAre(5.0, -5.0));
  EXPECT_THAT(out.column(epp::common::kLatencyDispatched), ElementsAre(0, 1));
  Chunk(other, 1, true);
  out = Ask(Answer({{80, 15}, {80, 15}}));
  EXPECT_THAT(out.column(epp::common::kLatencyDispatched), ElementsAre(0, 0));
}

TEST_F(Latency, TeachesWhatItTook) {
  Make({{"streamingMode", true}});
  Ask(Answer({{80, 15}, {120, 15}}));
  Send(0);
  EXPECT_DOUBLE_EQ(host_.Metric("llm_d_epp_request_predicted_ttft_seconds",
                                {{"model_name", ""},
                                 {"target_model_name", "t"},
                                 {"plugin_name", "under-test"},
                                 {"plugin_type", "predicted-latency-producer"}}),
                   0.08);
  Chunk(request_, 150);
  Chunk(request_, 30);
  Chunk(request_, 30, true);
  EXPECT_DOUBLE_EQ(host_.Metric("inference_objective_request_ttft_seconds", kModel), 0.15);
  EXPECT_DOUBLE_EQ(host_.Metric("inference_objective_request_tpot_seconds", kModel), 0.03);
  epp::test::Labels typed = kModel;
  typed["type"] = "ttft";
  EXPECT_EQ(host_.Metric("inference_objective_request_slo_violation_total", typed), 1);
  timers_.Advance(1000 * kMs);
  const FakeHttp::Sent sent = http_.sent(http_.size() - 1);
  EXPECT_EQ(sent.url, "http://localhost:8000/add_training_data_bulk");
  const json entries = json::parse(sent.body)["entries"];
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0]["actual_ttft_ms"], 150);
  EXPECT_EQ(entries[0]["prefix_cache_score"], 0.5);
  EXPECT_EQ(entries[1]["actual_tpot_ms"], 30);
  EXPECT_EQ(entries[1]["prefix_cache_score"], 0);
  EXPECT_EQ(entries[1]["timestamp"].get<std::string>().size(), 20u);
}

TEST_F(Latency, TtftIsOfThePrefillEndpoint) {
  Make({{"streamingMode", true}, {"predictInProduce", false}});
  producer_->PreRequest(
      Profiles{"prefill", "decode"}.Ok("prefill", {1}).Ok("decode", {0}).Primary("decode"), pool_,
      request_);
  Chunk(request_, 10);
  Chunk(request_, 10, true);
  timers_.Advance(1000 * kMs);
  const json entries = json::parse(http_.sent(0).body)["entries"];
  EXPECT_EQ(entries[0]["kv_cache_percentage"], 0.25);
  EXPECT_EQ(entries[1]["kv_cache_percentage"], 0.5);
}

TEST_F(Latency, AWholeResponseIsOneTime) {
  Make({{"predictInProduce", false}});
  Send();
  Chunk(request_, 10);
  Chunk(request_, 40, true);
  EXPECT_DOUBLE_EQ(host_.Metric("inference_objective_request_ttft_seconds", kModel), 0.05);
  timers_.Advance(1000 * kMs);
  EXPECT_EQ(json::parse(http_.sent(0).body)["entries"].size(), 1u);
}

TEST_F(Latency, AbortedRequestsTeachNothing) {
  Make({{"predictInProduce", false}});
  Send();
  Event event;
  event.Last(EPP_END_CLIENT_DISCONNECT);
  producer_->OnBody(event, request_);
  EXPECT_EQ(timers_.size(), 0u);
}

TEST_F(Latency, EnvironmentNamesTheServers) {
  setenv("PREDICTION_SERVER_URL", " http://p:1/ , ", 1);
  setenv("LATENCY_COALESCE_WINDOW_MS", "0", 1);
  setenv("LATENCY_MAX_BULK_SIZE", "1", 1);
  setenv("LATENCY_HTTP_TIMEOUT_SEC", "soon", 1);
  Make();
  unsetenv("PREDICTION_SERVER_URL");
  unsetenv("LATENCY_COALESCE_WINDOW_MS");
  unsetenv("LATENCY_MAX_BULK_SIZE");
  unsetenv("LATENCY_HTTP_TIMEOUT_SEC");
  Instance::Operation two(*producer_, pool_, request_);
  EXPECT_FALSE(two.pending());  // more than the limit
  Request other;
  Prepare(other);
  const epp::test::Selection one(pool_, {1});
  Instance::Operation operation(*producer_, one, other);
  ASSERT_EQ(http_.size(), 1u);
  EXPECT_EQ(http_.sent(0).url, "http://p:1/predict/bulk/strict");
  EXPECT_EQ(http_.sent(0).timeout_ns, 10'000 * kMs);
}

TEST(LatencyCreate, Refused) {
  auto producer = epp::test::Make("predicted-latency-producer", {{"sloBufferFactor", 0}});
  EXPECT_FALSE(producer.ok());
  EXPECT_THAT(producer.error(), HasSubstr("sloBufferFactor"));
}

TEST(LatencyCreate, Declarations) {
  EXPECT_THAT(epp::test::Lint(epp::test::Library::Linked().module()), testing::IsEmpty());
}

TEST(Running, ExpiresAndForgets) {
  epp::latency::Running running(100);
  EXPECT_EQ(running.Add(1, -1, 0), 0u);
  const uint64_t first = running.Add(1, 30, 0);
  running.Add(1, 10, 50);
  EXPECT_EQ(running.Read(1).requests, 2);
  EXPECT_EQ(running.Read(1).tightest_ms, 10);
  running.Add(2, 5, 100);  // the first one's time is up
  EXPECT_EQ(running.Read(1).requests, 1);
  running.Remove(first);
  EXPECT_EQ(running.Read(1).requests, 1);
  running.Forget(2);
  EXPECT_EQ(running.Read(2).requests, 0);
  running.Add(3, 1, 1000);
  EXPECT_EQ(running.Read(1).requests, 0);
  EXPECT_EQ(running.Read(3).requests, 1);
}

}  // namespace
