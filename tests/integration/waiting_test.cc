// Requests that wait for a producer: alone, by the thousand, and behind the ext-proc server.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/test_waiter.h"
#include "tests/integration/wire.h"

namespace epp::integration {
namespace {

using namespace std::chrono_literals;
using request::RequestVerdict;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr std::string_view kBody = R"({"model":"m","prompt":"hello"})";
const Headers kPost = {{":method", "POST"}, {":path", "/v1/completions"}, {"x-wait", "1"}};

std::string Config(const std::string& timeout) {
  return R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {type: test-waiter, parameters: {timeout: )" +
         timeout + R"(}}
  - type: test-waited
  - type: max-score-picker
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: test-waited, weight: 1}
      - pluginRef: max-score-picker
)";
}

bool Eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

// Exchanges that want to be looked at again, as a worker's task queue.
class Queue {
 public:
  void Post(size_t exchange) {
    const std::lock_guard lock(mutex_);
    woken_.push_back(exchange);
    changed_.notify_all();
  }
  // Waits for the next; fails the test after a while.
  size_t Take() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 30s, [this] { return !woken_.empty(); }));
    if (woken_.empty()) std::abort();
    const size_t first = woken_.front();
    woken_.pop_front();
    return first;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<size_t> woken_;
};

class QueueWaker final : public Waker {
 public:
  QueueWaker(std::shared_ptr<Queue> queue, size_t exchange)
      : queue_(std::move(queue)), exchange_(exchange) {}
  void Wake() override { queue_->Post(exchange_); }

 private:
  const std::shared_ptr<Queue> queue_;
  const size_t exchange_;
};

class Waiting : public ::testing::Test {
 protected:
  void Make(const std::string& timeout) {
    WaiterDesk::Reset();
    harness_ = std::make_unique<Harness>(HarnessOptions{.config = Config(timeout)});
    harness_->SetPods({{.name = "a", .address = "10.0.0.1"},
                       {.name = "b", .address = "10.0.0.2", .labels = {{"waited", "1"}}}});
  }
  // An exchange whose body has arrived.
  RequestVerdict Post(size_t number, bool wait = true) {
    exchanges_.resize(std::max(exchanges_.size(), number + 1));
    auto& exchange = exchanges_[number];
    exchange = harness_->factory().NewExchange(0, std::make_shared<QueueWaker>(queue_, number));
    std::vector<request::Header> headers = {{":method", "POST"}, {":path", "/v1/completions"}};
    if (wait) headers.push_back({"x-wait", "1"});
    (void)exchange->OnRequestHeaders(headers, FakeMetadata(), false);
    bodies_.push_back(std::make_unique<char[]>(kBody.size() + request::Body::kPadding));
    std::copy(kBody.begin(), kBody.end(), bodies_.back().get());
    return exchange->OnRequestBody({bodies_.back().get(), kBody.size()}, FakeMetadata());
  }
  static std::string Destination(const RequestVerdict& verdict) {
    for (const auto& [name, value] : verdict.headers.set) {
      if (name == "x-gateway-destination-endpoint") return value;
    }
    return "none";
  }
  void End(size_t number) {
    exchanges_[number]->OnStreamEnd(request::StreamEnd::kCancelled);
    exchanges_[number].reset();
  }
  uint64_t open() const { return harness_->services().operations->open(); }

  std::unique_ptr<Harness> harness_;
  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
  std::vector<std::unique_ptr<char[]>> bodies_;
  std::vector<std::unique_ptr<request::Exchange>> exchanges_;
};

TEST_F(Waiting, GoesOnWhenComplete) {
  Make("20s");
  EXPECT_EQ(Post(0).kind, RequestVerdict::Kind::kPending);
  EXPECT_EQ(exchanges_[0]->TakeVerdict().kind, RequestVerdict::Kind::kPending);
  // Another request of the worker does not wait, and has a decision of its own.
  EXPECT_EQ(Destination(Post(1, false)), "10.0.0.2:8000");
  const uint64_t first = harness_->LastDecision().number;
  std::thread([] {
    for (const auto& complete : WaiterDesk::Take()) complete();
  }).join();
  EXPECT_EQ(queue_->Take(), 0u);
  EXPECT_EQ(Destination(exchanges_[0]->TakeVerdict()), "10.0.0.2:8000");
  const telemetry::DecisionRecord record = harness_->LastDecision();
  EXPECT_NE(record.number, first);
  EXPECT_GT(record.produce_ns, 0u);
  // A wake-up too many asks for nothing.
  EXPECT_EQ(exchanges_[0]->TakeVerdict().kind, RequestVerdict::Kind::kPending);
  End(0);
  End(1);
  EXPECT_EQ(open(), 0u);
}

TEST_F(Waiting, GoesOnWithoutWhenTheTimeIsUp) {
  Make("30ms");
  EXPECT_EQ(Post(0).kind, RequestVerdict::Kind::kPending);
  EXPECT_EQ(queue_->Take(), 0u);
  const RequestVerdict verdict = exchanges_[0]->TakeVerdict();
  EXPECT_EQ(verdict.kind, RequestVerdict::Kind::kForward);
  EXPECT_EQ(WaiterDesk::cancelled(), 1u);
  EXPECT_GE(harness_->LastDecision().produce_ns, 30'000'000u);
  EXPECT_THAT(harness_->MetricsText(), HasSubstr("test-waiter"));
  for (const auto& complete : WaiterDesk::Take()) complete();  // too late
  End(0);
  EXPECT_EQ(open(), 0u);
}

TEST_F(Waiting, ClientLeaves) {
  Make("20s");
  EXPECT_EQ(Post(0).kind, RequestVerdict::Kind::kPending);
  End(0);
  EXPECT_EQ(WaiterDesk::cancelled(), 1u);
  EXPECT_EQ(open(), 0u);
  const telemetry::DecisionRecord record = harness_->LastDecision();
  EXPECT_EQ(record.outcome, telemetry::Outcome::kAborted);
  EXPECT_THAT(std::string(record.message.view()), HasSubstr("test-waiter"));
  for (const auto& complete : WaiterDesk::Take()) complete();
}

TEST_F(Waiting, KeepsItsGenerationAndEndpoints) {
  Make("20s");
  EXPECT_EQ(Post(0).kind, RequestVerdict::Kind::kPending);
  harness_->Reload(Config("1s"));
  harness_->SetPods({{.name = "c", .address = "10.0.0.3"}});
  const auto old = WaiterDesk::Take();
  EXPECT_EQ(Post(1).kind, RequestVerdict::Kind::kPending);
  for (const auto& complete : WaiterDesk::Take()) complete();
  EXPECT_EQ(queue_->Take(), 1u);
  EXPECT_EQ(Destination(exchanges_[1]->TakeVerdict()), "10.0.0.3:8000");
  EXPECT_EQ(harness_->LastDecision().generation, 2u);
  for (const auto& complete : old) complete();
  EXPECT_EQ(queue_->Take(), 0u);
  EXPECT_EQ(Destination(exchanges_[0]->TakeVerdict()), "10.0.0.2:8000");
  EXPECT_EQ(harness_->LastDecision().generation, 1u);
  End(0);
  End(1);
}

TEST_F(Waiting, ThousandsAtOnce) {
  constexpr size_t kCount = 4000;
  Make("60s");
  for (size_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(Post(i).kind, RequestVerdict::Kind::kPending);
  }
  EXPECT_EQ(open(), kCount);
  for (size_t i = 0; i < kCount; i += 10) End(i);
  std::thread other([] {
    for (const auto& complete : WaiterDesk::Take()) complete();
  });
  for (size_t left = kCount - kCount / 10; left > 0; --left) {
    const size_t number = queue_->Take();
    EXPECT_EQ(Destination(exchanges_[number]->TakeVerdict()), "10.0.0.2:8000");
    End(number);
  }
  other.join();
  EXPECT_EQ(open(), 0u);
  EXPECT_EQ(WaiterDesk::finished() + WaiterDesk::cancelled(), kCount);
}

TEST_F(Waiting, CompletionsRaceWithTheDeadline) {
  constexpr size_t kCount = 400;
  Make("10ms");
  std::atomic<bool> over{false};
  std::thread completer([&] {
    while (!over) {
      for (const auto& complete : WaiterDesk::Take()) {
        // Spreads them over the deadlines; what is asked below holds wherever they fall.
        std::this_thread::sleep_for(30us);
        complete();
      }
    }
  });
  size_t next = 0, left = kCount;
  while (next < 100) ASSERT_EQ(Post(next++).kind, RequestVerdict::Kind::kPending);
  while (left > 0) {
    const size_t number = queue_->Take();
    if (exchanges_[number] == nullptr) continue;  // woken twice: completed at its deadline
    const RequestVerdict verdict = exchanges_[number]->TakeVerdict();
    if (verdict.kind == RequestVerdict::Kind::kPending) continue;
    EXPECT_EQ(verdict.kind, RequestVerdict::Kind::kForward);
    End(number);
    --left;
    if (next < kCount) {
      ASSERT_EQ(Post(next++).kind, RequestVerdict::Kind::kPending);
    }
  }
  over = true;
  completer.join();
  EXPECT_EQ(WaiterDesk::finished() + WaiterDesk::cancelled(), kCount);
  EXPECT_EQ(open(), 0u);
}

// ---- behind the server

TEST_F(Waiting, StreamGoesOnAtTheProxy) {
  Make("20s");
  WireServer server(*harness_);
  WireStream stream(server);
  stream.RequestHeaders(kPost);
  stream.RequestBody(kBody, true);
  ASSERT_TRUE(Eventually([] { return WaiterDesk::waiting() == 1; }));
  for (const auto& complete : WaiterDesk::Take()) complete();
  EXPECT_THAT(SetHeaders(stream.Read()), Contains("x-gateway-destination-endpoint: 10.0.0.2:8000"));
  EXPECT_EQ(KindOf(stream.Read()), "request_body end");
  stream.Cancel();
  stream.Finish();
  EXPECT_TRUE(server.Idle());
}

TEST_F(Waiting, StreamIsCancelledWhileItWaits) {
  Make("20s");
  WireServer server(*harness_);
  {
    WireStream stream(server);
    stream.RequestHeaders(kPost);
    stream.RequestBody(kBody, true);
    ASSERT_TRUE(Eventually([] { return WaiterDesk::waiting() == 1; }));
    stream.Cancel();
    stream.Finish();
  }
  EXPECT_TRUE(server.Idle());
  EXPECT_EQ(WaiterDesk::cancelled(), 1u);
  for (const auto& complete : WaiterDesk::Take()) complete();
}

TEST_F(Waiting, ServerEndsWhileStreamsWait) {
  Make("20s");
  auto server = std::make_unique<WireServer>(*harness_);
  std::vector<std::unique_ptr<WireStream>> streams;
  for (int i = 0; i < 20; ++i) {
    auto& stream = streams.emplace_back(std::make_unique<WireStream>(*server));
    stream->RequestHeaders(kPost);
    stream->RequestBody(kBody, true);
  }
  ASSERT_TRUE(Eventually([] { return WaiterDesk::waiting() == 20; }));
  server.reset();
  EXPECT_EQ(WaiterDesk::cancelled(), 20u);
  for (const auto& complete : WaiterDesk::Take()) complete();
}

}  // namespace
}  // namespace epp::integration
