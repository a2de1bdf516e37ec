// Producers that wait, among those that do not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/scheduling/test_rig.h"

namespace epp::scheduling {
namespace {

using test::Rig;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMs = 1'000'000;

// What one producer is told to do, and what became of it.
struct Script {
  bool at_once = false;
  bool complete_in_start = false;
  Status start_fails, finish_fails;
  std::function<void()> complete;
  std::vector<std::string> log;
};

class Waiter {
 public:
  static constexpr const char* kName = "waiter";
  static constexpr const char* kDoc = "Does what the test says.";
  static inline Script* next = nullptr;
  static Result<Waiter> Create(const Context&) { return Waiter(next); }
  struct Operation {
    int64_t value;
  };

  epp::Status StartProduce(const Call& call, const Candidates& in, epp::Outputs& out,
                           Completion done, std::shared_ptr<Operation>& operation) {
    script_->log.push_back("start " +
                           std::to_string((call.raw().deadline_ns - call.now_ns()) / kMs));
    if (!script_->start_fails.ok()) return std::move(script_->start_fails);
    if (script_->at_once) {
      out.column<int64_t>(0)[0] = static_cast<int64_t>(in.size());
      return {};
    }
    operation = std::make_shared<Operation>(7);
    script_->complete = [done] { done(); };
    if (script_->complete_in_start) done();
    return {};
  }
  epp::Status FinishProduce(Operation& operation, const Call&, const Candidates&,
                            epp::Outputs& out) {
    script_->log.push_back("finish");
    out.column<int64_t>(0)[0] = operation.value;
    return std::move(script_->finish_fails);
  }
  void CancelProduce(Operation&) { script_->log.push_back("cancel"); }

 private:
  explicit Waiter(Script* script) : script_(script) {}
  Script* script_;
};

struct Count final : Waker {
  void Wake() override { ++woken; }
  int woken = 0;
};

class WaitingProducers : public ::testing::Test {
 protected:
  WaitingProducers() { rig.AddProfile("default"); }

  // A producer of one integer per endpoint.
  Script& AddWaiter(uint32_t on_failure = EPP_ASYNC_FAIL_STOP) {
    Script& script = scripts_.emplace_back();
    Waiter::next = &script;
    const loader::TypeEntry type{&epp::detail::Type<Waiter>::kRecord, nullptr};
    BoundPlugin& bound = rig.wiring.plugins.emplace_back();
    bound.index = static_cast<uint32_t>(rig.wiring.plugins.size() - 1);
    bound.instance =
        *loader::Instance::Create(type, "waiter-" + std::to_string(scripts_.size()), nullptr, {});
    bound.outputs.push_back(static_cast<uint32_t>(rig.wiring.produced.size()));
    rig.wiring.produced.push_back({"key", bound.name(), EPP_T_I64, EPP_SCOPE_ENDPOINT});
    tables_.push_back(*bound.instance->Get<epp_async_producer>(EPP_ASYNC_PRODUCER_ID));
    tables_.back().on_failure = on_failure;
    ProducerStep step;
    step.plugin = &bound;
    step.async = &tables_.back();
    step.timeout_ns = 400 * kMs;
    rig.wiring.producers.push_back(step);
    return script;
  }
  // An ordinary one, which needs another's attribute, or none.
  void AddNext(std::vector<uint32_t> needs = {}) {
    rig.AddProducer("next", EPP_T_I64, EPP_SCOPE_ENDPOINT, std::move(needs),
                    [this](const Call&, const Candidates&, epp::Outputs&) {
                      ++next_ran_;
                      return Status();
                    });
  }
  void Begin() {
    rig.record.emplace();
    rig.Begin();
    rig.context.operations = &operations_;
    rig.context.waker = waker_;
  }
  int64_t Value(uint32_t produced) {
    const epp_column& c =
        rig.context.candidates->Column({Source::Kind::kProduced, produced}, *rig.context.arena);
    const bool has = !c.validity || (c.validity[0] & 1);
    return has ? static_cast<const int64_t*>(c.values)[0] : -1;
  }

  std::vector<std::pair<uint64_t, std::function<void()>>> timers_;
  async::Operations operations_{1, [this](uint64_t at, std::function<void()> fn) {
                                  timers_.emplace_back(at, std::move(fn));
                                }};
  std::shared_ptr<Count> waker_ = std::make_shared<Count>();
  std::deque<Script> scripts_;
  std::deque<epp_async_producer> tables_;
  int next_ran_ = 0;
  Rig rig{2};
};

TEST_F(WaitingProducers, DoneAtOnceDoesNotSuspend) {
  Script& script = AddWaiter();
  script.at_once = true;
  Begin();
  EXPECT_TRUE(Produce(rig.context));
  EXPECT_EQ(Value(0), 2);
  EXPECT_THAT(script.log, ElementsAre("start 400"));
  EXPECT_THAT(timers_, IsEmpty());
  EXPECT_EQ(operations_.open(), 0u);
}

TEST_F(WaitingProducers, CompletedBeforeStartReturns) {
  Script& script = AddWaiter();
  script.complete_in_start = true;
  Begin();
  EXPECT_TRUE(Produce(rig.context));
  EXPECT_EQ(Value(0), 7);
  EXPECT_THAT(script.log, ElementsAre("start 400", "finish"));
}

TEST_F(WaitingProducers, SuspendsUntilComplete) {
  Script& script = AddWaiter();
  AddNext({0});
  Begin();
  EXPECT_FALSE(Produce(rig.context));
  EXPECT_FALSE(Produce(rig.context));  // woken for nothing
  EXPECT_EQ(next_ran_, 0);
  rig.clock.Advance(30 * kMs);
  script.complete();
  EXPECT_EQ(waker_->woken, 1);
  EXPECT_TRUE(Produce(rig.context));
  EXPECT_EQ(Value(0), 7);
  EXPECT_EQ(next_ran_, 1);
  EXPECT_EQ(rig.record->produce_ns, 30 * kMs);  // the time that it took, waiting included
  EXPECT_THAT(rig.watch.failed, IsEmpty());
  EXPECT_EQ(operations_.open(), 0u);
}

TEST_F(WaitingProducers, DeadlineStopsTheOthers) {
  Script& script = AddWaiter();
  AddNext();
  Begin();
  EXPECT_FALSE(Produce(rig.context));
  rig.clock.Advance(400 * kMs);
  ASSERT_EQ(timers_.size(), 1u);
  timers_[0].second();
  EXPECT_EQ(waker_->woken, 1);
  EXPECT_TRUE(Produce(rig.context));
  EXPECT_THAT(script.log, ElementsAre("start 400", "cancel"));
  EXPECT_THAT(rig.watch.failed, ElementsAre(HasSubstr("4 not done within 400 ms")));
  EXPECT_EQ(Value(0), -1);
  EXPECT_EQ(next_ran_, 0);
  script.complete();  // too late
  EXPECT_EQ(waker_->woken, 1);
}

TEST_F(WaitingProducers, CompleteAtTheDeadlineCounts) {
  Script& script = AddWaiter();
  Begin();
  EXPECT_FALSE(Produce(rig.context));
  rig.clock.Advance(500 * kMs);
  script.complete();
  EXPECT_TRUE(Produce(rig.context));
  EXPECT_EQ(Value(0), 7);
}

TEST_F(WaitingProducers, FailureSkipsOnlyThoseInNeed) {
  Script& script = AddWaiter(EPP_ASYNC_FAIL_SKIP);
  script.start_fails = {EPP_UNAVAILABLE, "not today"};
  AddNext({0});
  AddNext();
  Begin();
  EXPECT_TRUE(Produce(rig.context));
  EXPECT_THAT(rig.watch.failed, ElementsAre("waiter-1 14 not today"));
  EXPECT_EQ(next_ran_, 1);
}

TEST_F(WaitingProducers, FailureOfFinishStops) {
  Script& script = AddWaiter();
  script.complete_in_start = true;
  script.finish_fails = {EPP_INTERNAL, "bad answer"};
  Script& second = AddWaiter();
  Begin();
  EXPECT_TRUE(Produce(rig.context));
  EXPECT_THAT(rig.watch.failed, ElementsAre("waiter-1 13 bad answer"));
  EXPECT_THAT(second.log, IsEmpty());
  EXPECT_EQ(Value(0), -1);
  EXPECT_EQ(operations_.open(), 0u);
}

TEST_F(WaitingProducers, OneAfterTheOther) {
  Script& first = AddWaiter();
  Script& second = AddWaiter();
  Begin();
  EXPECT_FALSE(Produce(rig.context));
  EXPECT_THAT(second.log, IsEmpty());
  rig.clock.Advance(5 * kMs);
  first.complete();
  EXPECT_FALSE(Produce(rig.context));
  rig.clock.Advance(5 * kMs);
  second.complete();
  EXPECT_TRUE(Produce(rig.context));
  EXPECT_EQ(rig.record->produce_ns, 10 * kMs);
}

TEST_F(WaitingProducers, Abandoned) {
  Script& script = AddWaiter();
  Begin();
  EXPECT_EQ(Abandon(rig.context), nullptr);
  EXPECT_FALSE(Produce(rig.context));
  EXPECT_EQ(Abandon(rig.context)->name(), "waiter-1");
  EXPECT_THAT(script.log, ElementsAre("start 400", "cancel"));
  EXPECT_EQ(operations_.open(), 0u);
  EXPECT_EQ(Abandon(rig.context), nullptr);
}

TEST_F(WaitingProducers, WhereNobodyCanWait) {
  Script& script = AddWaiter();
  Begin();
  rig.context.operations = nullptr;
  EXPECT_TRUE(Produce(rig.context));
  EXPECT_THAT(script.log, ElementsAre("start 400", "cancel"));
  EXPECT_THAT(rig.watch.failed, ElementsAre(HasSubstr("cannot wait here")));
}

}  // namespace
}  // namespace epp::scheduling
