#include "host/async/hub.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "host/async/http_pool.h"
#include "host/base/clock.h"
#include "host/http/server.h"

namespace epp::async {
namespace {

using namespace std::chrono_literals;

bool Eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

uint64_t In(std::chrono::nanoseconds time) {
  return Clock::Real().mono_ns() + static_cast<uint64_t>(time.count());
}

// What an exchange came to.
struct Answer {
  std::atomic<int> calls{0};
  epp_status status = 0;
  int http_status = 0;
  std::string body, error;
  static void Done(void* arg, const epp_http_response* response) noexcept {
    auto& self = *static_cast<Answer*>(arg);
    self.status = response->status;
    self.http_status = response->http_status;
    self.body.assign(response->body.data, response->body.size);
    self.error.assign(response->error.data, response->error.size);
    ++self.calls;
  }
  bool Came() {
    return Eventually([this] { return calls > 0; });
  }
};

class HubTest : public ::testing::Test {
 protected:
  HubTest() {
    http::Router router;
    router.Handle("POST", "/echo", [](http::Request request, http::Responder responder) {
      responder.Send({.status = 201, .body = request.body + request.query});
    });
    router.Handle("GET", "/hang", [this](http::Request, http::Responder responder) {
      const std::lock_guard lock(mutex_);
      held_.push_back(std::make_unique<http::Responder>(std::move(responder)));
    });
    http::ServerOptions options;
    options.listen = {{.tcp = "127.0.0.1:0"}};
    options.max_connections = 2000;
    auto server = http::Server::Start(options, std::move(router));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    extensions_ = hub_.ForInstance();
    timer_ = static_cast<const epp_host_timer*>(extensions_->Get(EPP_HOST_TIMER_ID));
    http_ = static_cast<const epp_host_http*>(extensions_->Get(EPP_HOST_HTTP_ID));
  }
  ~HubTest() override {
    extensions_->Stop();
    const std::lock_guard lock(mutex_);
    held_.clear();
  }

  uint64_t Send(const char* method, const std::string& path, std::string_view body, Answer& answer,
                std::chrono::nanoseconds timeout = 20s, uint64_t max_body = 0) {
    const std::string url = "http://127.0.0.1:" + std::to_string(server_->port(0)) + path;
    epp_http_request request{};
    request.struct_size = sizeof(request);
    request.method = {method, std::char_traits<char>::length(method)};
    request.url = {url.data(), url.size()};
    request.body = {body.data(), body.size()};
    request.timeout_ns = static_cast<uint64_t>(timeout.count());
    request.max_body_bytes = max_body;
    return http_->send(http_->ctx, &request, &Answer::Done, &answer, &error_);
  }
  size_t held() {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<http::Responder>> held_;
  std::unique_ptr<http::Server> server_;
  Hub hub_{2};
  std::unique_ptr<loader::Extensions> extensions_;
  const epp_host_timer* timer_;
  const epp_host_http* http_;
  epp_error error_{sizeof(epp_error), EPP_OK, {}};
};

void CountFired(void* arg, epp_status status) noexcept {
  *static_cast<std::atomic<int>*>(arg) += status == EPP_OK ? 1 : 100;
}

TEST_F(HubTest, UnknownExtension) { EXPECT_EQ(extensions_->Get("epp.unheard-of/1"), nullptr); }

TEST_F(HubTest, TimersFireInTheirOrderAndNotBefore) {
  std::atomic<int> fired{0}, cancelled{0};
  const uint64_t at = In(20ms);
  std::atomic<uint64_t> when{0};
  timer_->set(
      timer_->ctx, at,
      [](void* arg, epp_status) noexcept {
        static_cast<std::atomic<uint64_t>*>(arg)->store(Clock::Real().mono_ns());
      },
      &when);
  const uint64_t second = timer_->set(timer_->ctx, In(1h), &CountFired, &cancelled);
  EXPECT_NE(second, 0u);
  EXPECT_EQ(timer_->cancel(timer_->ctx, second), 1);
  EXPECT_EQ(timer_->cancel(timer_->ctx, second), 0);
  EXPECT_TRUE(Eventually([&] { return when != 0; }));
  EXPECT_GE(when, at);
  EXPECT_EQ(cancelled, 0);
}

TEST_F(HubTest, StopEndsTimersAndExchanges) {
  std::atomic<int> fired{0};
  Answer answer;
  timer_->set(timer_->ctx, In(1h), &CountFired, &fired);
  Send("GET", "/hang", "", answer);
  EXPECT_TRUE(Eventually([&] { return held() == 1; }));
  extensions_->Stop();
  EXPECT_EQ(fired, 100);
  EXPECT_EQ(answer.calls, 1);
  EXPECT_EQ(answer.status, EPP_CANCELLED);
  EXPECT_EQ(timer_->set(timer_->ctx, In(0s), &CountFired, &fired), 0u);
  EXPECT_EQ(Send("GET", "/hang", "", answer), 0u);
}

TEST_F(HubTest, StopWaitsForACallback) {
  struct Gate {
    std::atomic<bool> in{false}, out{false};
  } gate;
  timer_->set(
      timer_->ctx, 0,
      [](void* arg, epp_status) noexcept {
        auto& g = *static_cast<Gate*>(arg);
        g.in = true;
        std::this_thread::sleep_for(20ms);
        g.out = true;
      },
      &gate);
  EXPECT_TRUE(Eventually([&] { return gate.in.load(); }));
  extensions_->Stop();
  EXPECT_TRUE(gate.out);
}

TEST_F(HubTest, PostsAndKeepsTheConnection) {
  for (int i = 0; i < 3; ++i) {
    Answer answer;
    const std::string body(static_cast<size_t>(i) * 100'000, 'x');
    ASSERT_NE(Send("POST", "/echo?q", body, answer), 0u);
    ASSERT_TRUE(answer.Came());
    EXPECT_EQ(answer.status, EPP_OK) << answer.error;
    EXPECT_EQ(answer.http_status, 201);
    EXPECT_EQ(answer.body, body + "q");
  }
  EXPECT_EQ(server_->connections(), 1u);
}

TEST_F(HubTest, Failures) {
  Answer late, large, nobody, unfound;
  Send("GET", "/hang", "", late, 30ms);
  ASSERT_TRUE(late.Came());
  EXPECT_EQ(late.status, EPP_DEADLINE_EXCEEDED) << late.error;
  Send("POST", "/echo", std::string(1000, 'x'), large, 20s, 100);
  ASSERT_TRUE(large.Came());
  EXPECT_EQ(large.status, EPP_RESOURCE_EXHAUSTED) << large.error;
  Send("GET", "/none", "", unfound);
  ASSERT_TRUE(unfound.Came());
  EXPECT_EQ(unfound.status, EPP_OK);
  EXPECT_EQ(unfound.http_status, 404);
  // Nothing listens on a port that a server just gave back.
  server_.reset();
}

TEST_F(HubTest, RefusedAtOnce) {
  Answer answer;
  EXPECT_EQ(Send("PUT", "/echo", "", answer), 0u);
  EXPECT_EQ(error_.code, EPP_INVALID_ARGUMENT);
  EXPECT_EQ(answer.calls, 0);
}

TEST_F(HubTest, CancelledExchangeIsNotHeardOf) {
  Answer answer;
  const uint64_t number = Send("GET", "/hang", "", answer);
  EXPECT_TRUE(Eventually([&] { return held() == 1; }));
  EXPECT_EQ(http_->cancel(http_->ctx, number), 1);
  EXPECT_EQ(http_->cancel(http_->ctx, number), 0);
  {
    const std::lock_guard lock(mutex_);
    held_.clear();  // answers, to nobody
  }
  // The hub's thread has come past it when a later exchange has ended.
  Answer later;
  Send("POST", "/echo", "later", later);
  EXPECT_TRUE(later.Came());
  EXPECT_EQ(answer.calls, 0);
}

TEST_F(HubTest, MoreExchangesThanConnections) {
  constexpr size_t kCount = HttpPool::kMaxConnections + 40;
  std::vector<Answer> answers(kCount);
  for (Answer& answer : answers) ASSERT_NE(Send("GET", "/hang", "", answer), 0u);
  EXPECT_TRUE(Eventually([&] { return held() == HttpPool::kMaxConnections; }));
  // Answered one by one as they come; those that wait take the connections over.
  EXPECT_TRUE(Eventually([&] {
    const std::lock_guard lock(mutex_);
    for (auto& responder : held_) {
      if (responder) responder->Send({.status = 200, .body = "{}"});
      responder.reset();
    }
    return std::all_of(answers.begin(), answers.end(),
                       [](const Answer& a) { return a.calls == 1 && a.http_status == 200; });
  }));
  EXPECT_LE(server_->connections(), HttpPool::kMaxConnections);
}

TEST_F(HubTest, WaitingForAConnectionCountsAsTime) {
  std::vector<Answer> answers(HttpPool::kMaxConnections);
  for (Answer& answer : answers) ASSERT_NE(Send("GET", "/hang", "", answer), 0u);
  Answer waits;
  ASSERT_NE(Send("GET", "/hang", "", waits, 20ms), 0u);
  ASSERT_TRUE(waits.Came());
  EXPECT_EQ(waits.status, EPP_DEADLINE_EXCEEDED);
  extensions_->Stop();
}

}  // namespace
}  // namespace epp::async
