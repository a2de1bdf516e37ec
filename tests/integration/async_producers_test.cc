// Producers that ask a server while the request waits: the real ones, over real sockets.
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/http/server.h"
#include "nlohmann/json.hpp"
#include "tests/integration/harness.h"
#include "tests/sim/server.h"

namespace epp::integration {
namespace {

using nlohmann::json;
using request::RequestVerdict;

class Bell final : public Waker {
 public:
  void Wake() override {
    const std::lock_guard lock(mutex_);
    rung_ = true;
    changed_.notify_all();
  }
  bool Wait() {
    std::unique_lock lock(mutex_);
    const bool rung = changed_.wait_for(lock, std::chrono::seconds(30), [this] { return rung_; });
    rung_ = false;
    return rung;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool rung_ = false;
};

// A request whose verdict was waited for. The test ends the exchange.
class Waiting {
 public:
  Waiting(Harness& harness, std::string_view path, std::string_view body)
      : bytes_(std::make_unique<char[]>(body.size() + request::Body::kPadding)),
        bell_(std::make_shared<Bell>()),
        exchange_(harness.factory().NewExchange(0, bell_)) {
    const std::vector<request::Header> headers = {{":method", "POST"}, {":path", path}};
    (void)exchange_->OnRequestHeaders(headers, FakeMetadata(), false);
    std::copy(body.begin(), body.end(), bytes_.get());
    verdict_ = exchange_->OnRequestBody({bytes_.get(), body.size()}, FakeMetadata());
    waited_ = verdict_.kind == RequestVerdict::Kind::kPending;
    while (verdict_.kind == RequestVerdict::Kind::kPending && bell_->Wait()) {
      verdict_ = exchange_->TakeVerdict();
    }
  }

  const RequestVerdict& verdict() const { return verdict_; }
  bool waited() const { return waited_; }
  request::Exchange& exchange() { return *exchange_; }

 private:
  std::unique_ptr<char[]> bytes_;
  std::shared_ptr<Bell> bell_;
  std::unique_ptr<request::Exchange> exchange_;
  RequestVerdict verdict_;
  bool waited_ = false;
};

std::string Config(uint16_t port, const std::string& timeout) {
  return R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: token-producer
    parameters:
      modelName: demo
      vllm: {url: "http://127.0.0.1:)" +
         std::to_string(port) + R"(", timeout: )" + timeout + ", mmTimeout: " + timeout + R"(}
  - type: approx-prefix-cache-producer
  - type: prefix-cache-scorer
  - type: max-score-picker
schedulingProfiles:
  - name: default
    plugins:
      - pluginRef: prefix-cache-scorer
      - pluginRef: max-score-picker
)";
}

std::unique_ptr<sim::Simulator> StartSim() {
  sim::ServerOptions options;
  options.name = "sim-0";
  auto simulator = sim::Simulator::Start({options});
  EXPECT_TRUE(simulator.ok()) << simulator.status();
  return *std::move(simulator);
}

class Rendering : public ::testing::Test {
 protected:
  void Serve(uint16_t port, const std::string& timeout) {
    harness_ = std::make_unique<Harness>(HarnessOptions{.config = Config(port, timeout)});
    harness_->SetPods({{.name = "a", .address = "10.0.0.1"}});
  }
  // The tokens of the decision about this request; -1 when they are not known.
  int64_t Tokens(std::string_view path, std::string_view body) {
    Waiting waiting(*harness_, path, body);
    waited_ = waiting.waited();
    EXPECT_TRUE(Forwards(waiting.verdict()));
    waiting.exchange().OnStreamEnd(request::StreamEnd::kCancelled);
    return harness_->LastDecision().tokens;
  }

  std::unique_ptr<Harness> harness_;
  bool waited_ = false;
};

TEST_F(Rendering, TokensComeFromTheServer) {
  const auto simulator = StartSim();
  Serve(simulator->port(0), "20s");
  // The server makes four bytes a token.
  EXPECT_EQ(Tokens("/v1/completions", R"({"model":"m","prompt":"0123456789abcdef"})"), 4);
  EXPECT_EQ(Tokens("/v1/completions", R"({"prompt":["01234567","0123"],"model":"m"})"), 3);
  EXPECT_GT(Tokens("/v1/chat/completions",
                   R"({"model":"m","messages":[{"role":"user","content":"hello there"}]})"),
            0);
  EXPECT_GT(Tokens("/v1/messages",
                   R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]})"),
            0);
  EXPECT_EQ(Tokens("/v1/completions", R"({"model":"m","prompt":[1,2,3,4,5]})"), 5);
  EXPECT_FALSE(waited_);
}

TEST_F(Rendering, RequestsGoOnWithoutTheServer) {
  auto simulator = StartSim();
  Serve(simulator->port(0), "20s");
  simulator.reset();
  EXPECT_EQ(Tokens("/v1/completions", R"({"model":"m","prompt":"0123456789abcdef"})"), -1);
}

TEST(LocalTokenizer, ShortPromptsAtOnceAndLongOnesElsewhere) {
  Harness harness({.config = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: token-producer
    parameters: {local: {timeout: 20s, tokenizers: [{path: )" TOKENIZER_FILE R"(}]}}
  - type: approx-prefix-cache-producer
  - type: prefix-cache-scorer
  - type: max-score-picker
schedulingProfiles:
  - name: default
    plugins:
      - pluginRef: prefix-cache-scorer
      - pluginRef: max-score-picker
)"});
  harness.SetPods({{.name = "a", .address = "10.0.0.1"}});
  std::string many;
  for (int i = 0; i < 3000; ++i) many += " 1";
  const struct {
    std::string prompt;
    bool waits;
    int64_t tokens;
  } cases[] = {{"Hello, world!", false, 7}, {many + many + many, true, 1 + 2 * 9000}};
  for (const auto& c : cases) {
    Waiting waiting(harness, kCompletions, json({{"model", "m"}, {"prompt", c.prompt}}).dump());
    EXPECT_EQ(waiting.waited(), c.waits);
    EXPECT_TRUE(Forwards(waiting.verdict()));
    waiting.exchange().OnStreamEnd(request::StreamEnd::kCancelled);
    EXPECT_EQ(harness.LastDecision().tokens, c.tokens);
  }
}

// A latency model in which an endpoint's KV cache use is its time to the first token, in percent of
// a second.
class LatencyModel {
 public:
  LatencyModel() {
    http::Router router;
    router.Handle(
        "POST", "/predict/bulk/strict",
        [this](const http::Request& request, http::Responder responder) {
          json predictions = json::array();
          const json body = json::parse(request.body);
          for (const json& row : body["requests"]) {
            predictions.push_back(
                {{"ttft_ms", row["kv_cache_percentage"].get<double>() * 1000}, {"tpot_ms", 20}});
          }
          const std::lock_guard lock(mutex_);
          if (broken_) return responder.Send({.status = 500});
          responder.Send({.body = json({{"predictions", predictions}}).dump()});
        });
    router.Handle("POST", "/add_training_data_bulk",
                  [this](const http::Request& request, http::Responder responder) {
                    const json body = json::parse(request.body);
                    const std::lock_guard lock(mutex_);
                    for (const json& entry : body["entries"]) {
                      lessons_.push_back(entry);
                    }
                    changed_.notify_all();
                    responder.Send({});
                  });
    auto server = http::Server::Start({.listen = {{.tcp = "127.0.0.1:0"}}}, std::move(router));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(server_->port(0)); }
  void Break() {
    const std::lock_guard lock(mutex_);
    broken_ = true;
  }
  std::vector<json> WaitForLessons(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(30), [&] { return lessons_.size() >= count; });
    return lessons_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<json> lessons_;
  bool broken_ = false;
  std::unique_ptr<http::Server> server_;  // goes before what its thread uses
};

TEST(PredictedLatency, TheModelIsAskedAndTaught) {
  LatencyModel model;
  setenv("PREDICTION_SERVER_URL", model.url().c_str(), 1);
  setenv("TRAINING_SERVER_URL", model.url().c_str(), 1);
  setenv("LATENCY_FLUSH_INTERVAL_SEC", "1", 1);
  Harness harness({.config = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: predicted-latency-producer
    parameters: {streamingMode: true}
  - type: latency-scorer
  - type: max-score-picker
schedulingProfiles:
  - name: default
    plugins:
      - pluginRef: latency-scorer
      - pluginRef: max-score-picker
)"});
  unsetenv("PREDICTION_SERVER_URL");
  unsetenv("TRAINING_SERVER_URL");
  unsetenv("LATENCY_FLUSH_INTERVAL_SEC");
  harness.SetPods({{.name = "a", .address = "10.0.0.1", .kv = 0.8},
                   {.name = "b", .address = "10.0.0.2", .kv = 0.1},
                   {.name = "c", .address = "10.0.0.3", .kv = 0.6}});

  const std::string body = R"({"model":"m","stream":true,"prompt":"0123456789abcdef"})";
  Waiting asked(harness, kCompletions, body);
  EXPECT_TRUE(asked.waited());
  EXPECT_EQ(Destination(asked.verdict()), "10.0.0.2:8000");
  EXPECT_GT(harness.Metric("llm_d_epp_request_ttft_prediction_duration_seconds_count"), 0);

  request::Exchange& exchange = asked.exchange();
  exchange.OnRequestSent();
  const std::vector<request::Header> head = {{":status", "200"},
                                             {"content-type", "text/event-stream"}};
  exchange.OnResponseHeaders(head, FakeMetadata(), false);
  for (const bool last : {false, false, true}) {
    exchange.OnResponseBody("data: {\"choices\":[{\"text\":\"w\"}]}\n\n", last);
  }
  exchange.OnStreamEnd(request::StreamEnd::kHalfClosed);
  const std::vector<json> lessons = model.WaitForLessons(2);
  ASSERT_EQ(lessons.size(), 2u);
  for (const json& lesson : lessons) EXPECT_EQ(lesson["kv_cache_percentage"], 0.1);
  EXPECT_GE(lessons[0]["actual_ttft_ms"], 0);
  EXPECT_GE(lessons[1]["actual_tpot_ms"], 0);

  model.Break();
  Waiting unanswered(harness, kCompletions, body);
  EXPECT_TRUE(Forwards(unanswered.verdict()));
  unanswered.exchange().OnStreamEnd(request::StreamEnd::kCancelled);
}

}  // namespace
}  // namespace epp::integration
