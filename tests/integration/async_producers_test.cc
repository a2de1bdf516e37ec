// Prompts that a model server renders: the real producer, over real sockets.
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/harness.h"
#include "tests/sim/server.h"

namespace epp::integration {
namespace {

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
    const auto bell = std::make_shared<Bell>();
    const auto exchange = harness_->factory().NewExchange(0, bell);
    const std::vector<request::Header> headers = {{":method", "POST"}, {":path", path}};
    (void)exchange->OnRequestHeaders(headers, FakeMetadata(), false);
    const auto bytes = std::make_unique<char[]>(body.size() + request::Body::kPadding);
    std::copy(body.begin(), body.end(), bytes.get());
    RequestVerdict verdict = exchange->OnRequestBody({bytes.get(), body.size()}, FakeMetadata());
    waited_ = verdict.kind == RequestVerdict::Kind::kPending;
    while (verdict.kind == RequestVerdict::Kind::kPending && bell->Wait()) {
      verdict = exchange->TakeVerdict();
    }
    EXPECT_EQ(verdict.kind, RequestVerdict::Kind::kForward);
    exchange->OnStreamEnd(request::StreamEnd::kCancelled);
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

}  // namespace
}  // namespace epp::integration
