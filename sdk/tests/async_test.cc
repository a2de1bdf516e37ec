// Producers that wait, on the fake host.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "epp/testing.hpp"

namespace epp::sdk_test {
namespace {

using test::Cell;
using test::FakeHttp;
using test::FakeTimers;
using test::Host;
using test::Instance;
using test::Pool;
using test::Request;
using ::testing::ElementsAre;

constexpr epp::AttributeKind kAnswer{"Answer", EPP_T_I64};

// Asks over HTTP when the first candidate is busy, waits for a timer when there are two candidates,
// and knows the answer at once otherwise.
class Waiter {
 public:
  static constexpr const char* kName = "waiter";
  static constexpr const char* kDoc = "Waits.";
  static constexpr std::array kParams{epp::Duration("patience", 2, 0, 60, "Of an operation.")};
  static constexpr std::array kProduces{epp::Makes(kAnswer)};
  static epp::Result<Waiter> Create(const epp::Context& ctx) { return Waiter(ctx); }

  struct Operation {
    int64_t answer = 0;
  };
  uint64_t ProduceTimeoutNs() const { return patience_; }
  epp::Status StartProduce(const epp::Call& call, const epp::Candidates& in, epp::Outputs& out,
                           epp::Completion done, std::shared_ptr<Operation>& operation) {
    if (in.size() == 0) return epp::Status::Invalid("nobody to ask about");
    if (in.size() == 1) {
      out.column<int64_t>(0)[0] = 1;
      return {};
    }
    operation = std::make_shared<Operation>();
    if (in.size() == 2) {
      (void)timers_.At(call.now_ns() + 1000, [operation, done] {
        operation->answer = 2;
        done();
      });
      return {};
    }
    epp_http_request request{};
    request.struct_size = sizeof(request);
    request.method = epp::Str("POST");
    request.url = epp::Str("http://h/answer");
    request.body = epp::Str("?");
    return http_.Send(request, [operation, done](const epp_http_response& response) {
      operation->answer = response.http_status;
      done();
    });
  }
  epp::Status FinishProduce(Operation& operation, const epp::Call&, const epp::Candidates&,
                            epp::Outputs& out) {
    if (operation.answer == 500) return {EPP_UNAVAILABLE, "no answer"};
    for (int64_t& value : out.column<int64_t>(0)) value = operation.answer;
    return {};
  }
  void CancelProduce(Operation&) { ++cancelled; }

  static inline int cancelled = 0;

 private:
  explicit Waiter(const epp::Context& ctx)
      : http_(ctx.host()), timers_(ctx.host()), patience_(static_cast<uint64_t>(ctx.ns(0))) {}
  epp::Http http_;
  epp::Timers timers_;
  uint64_t patience_;
};

class Async : public ::testing::Test {
 protected:
  Host host_;
  FakeHttp http_{host_};
  FakeTimers timers_{host_};
  Instance waiter_ = test::Make<Waiter>({{"patience", "3s"}}, &host_);
  Request request_;
};

TEST_F(Async, IsNoOrdinaryProducer) {
  EXPECT_FALSE(waiter_.Has(EPP_PRODUCER_ID));
  const auto& table = waiter_.Table<epp_async_producer>(EPP_ASYNC_PRODUCER_ID);
  EXPECT_EQ(table.on_failure, EPP_ASYNC_FAIL_STOP);
  EXPECT_EQ(table.timeout_ns(waiter_.Self()), 3'000'000'000u);
}

TEST_F(Async, DoneAtOnce) {
  const Pool pool(1);
  Instance::Operation operation(waiter_, pool, request_);
  EXPECT_FALSE(operation.pending());
  EXPECT_THAT(operation.Finish().column(kAnswer), ElementsAre(1));
}

TEST_F(Async, StartFails) {
  const Pool pool(0);
  Instance::Operation operation(waiter_, pool, request_);
  EXPECT_FALSE(operation.pending());
  EXPECT_EQ(waiter_.status(), EPP_INVALID_ARGUMENT);
}

TEST_F(Async, TimerCompletes) {
  const Pool pool(2);
  Instance::Operation operation(waiter_, pool, request_);
  timers_.Advance(999);
  EXPECT_FALSE(operation.completed());
  timers_.Advance(1);
  EXPECT_TRUE(operation.completed());
  EXPECT_THAT(operation.Finish().column(kAnswer), ElementsAre(2, 2));
}

TEST_F(Async, AnswerFromAnotherThreadIsWaitedFor) {
  const Pool pool(3);
  std::thread server([&] {
    while (http_.size() == 0) std::this_thread::yield();
    http_.Answer(0, 204, "");
  });
  EXPECT_THAT(waiter_.Produce(pool, request_).column(kAnswer), ElementsAre(204, 204, 204));
  server.join();
  EXPECT_EQ(http_.sent(0).body, "?");
}

TEST_F(Async, FailureOfFinish) {
  const Pool pool(3);
  Instance::Operation operation(waiter_, pool, request_);
  http_.Answer(0, 500, "");
  EXPECT_TRUE(operation.Finish().columns.empty());
  EXPECT_EQ(waiter_.error(), "no answer");
}

TEST_F(Async, CancelledAndAnsweredTooLate) {
  const Pool pool(3);
  const int before = Waiter::cancelled;
  { const Instance::Operation operation(waiter_, pool, request_); }
  EXPECT_EQ(Waiter::cancelled, before + 1);
  http_.Answer(0, 200, "");
}

}  // namespace
}  // namespace epp::sdk_test
