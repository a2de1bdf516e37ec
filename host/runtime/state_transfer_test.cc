#include "host/runtime/state_transfer.h"

#include <atomic>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/runtime/test_rig.h"

namespace epp::runtime {
namespace {

using config::test::NoOpFilter;
using test::Rig;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Counts; what it saves is its count and what it inherited, as text.
template <class T>
struct Counts : NoOpFilter<T> {
  static constexpr std::array kParams{Int("build", 0, 0, 1e6, "A change makes a new instance."),
                                      String("fault", nullptr, "What goes wrong.")};
  static constexpr uint32_t kStateVersion = 3;
  static Result<T> Create(const Context& ctx) {
    auto made = std::make_unique<T>();
    made->fault = ctx.str(1);
    return made;
  }
  Status SaveState(std::string& out) const {
    if (fault == "save") return {EPP_UNAVAILABLE, "no time"};
    if (fault == "throw") throw std::runtime_error("boom");
    if (fault == "long") out.assign(2000, '1');
    const int sum = own + inherited;
    if (sum > 0 && fault != "long") out = std::to_string(sum);
    return {};
  }
  Status LoadState(uint32_t version, std::string_view bytes) {
    if (fault == "load" && !bytes.empty()) return Status::Invalid("another block size");
    EXPECT_EQ(version, kStateVersion);
    inherited = bytes.empty() ? 0 : std::stoi(std::string(bytes));
    ++loads;
    return {};
  }
  std::string fault;
  std::atomic<int> own{0};
  int inherited = 0;
  int loads = 0;
};
struct Learner : Counts<Learner> {
  static constexpr const char* kName = "learner";
};
struct Follower : Counts<Follower> {
  static constexpr const char* kName = "follower";
  static constexpr bool kStateFollows = true;
};
struct SerialLearner : Counts<SerialLearner> {
  static constexpr const char* kName = "serial-learner";
  static constexpr uint32_t kFlags = EPP_TYPE_SERIAL;
};
struct Forgetful : NoOpFilter<Forgetful> {
  static constexpr const char* kName = "forgetful";
  static constexpr std::array kParams{Int("build", 0, 0, 1e6, "A change makes a new instance.")};
};

// Throws through the border, as a careless C++ library may.
[[noreturn]] epp_status ThrowingSave(void*, const epp_writer*, epp_error*) {
  throw std::runtime_error("through the border");
}

struct StateTransferTest : testing::Test {
  explicit StateTransferTest(uint32_t workers = 1) : rig(workers) {
    config::test::AddTypes<Learner, Follower, SerialLearner, Forgetful>(*rig.catalog);
  }

  // A generation whose one plugin has these parameters.
  std::shared_ptr<Generation> Next(const std::string& type, int build,
                                   const std::string& fault = "") {
    const std::string text = "plugins: [{name: x, type: " + type +
                             ", parameters: {build: " + std::to_string(build) +
                             (fault.empty() ? "" : ", fault: " + fault) + "}}]";
    std::shared_ptr<Generation> made = rig.Build(text, last.get());
    EXPECT_TRUE(made) << rig.out.Render();
    if (last) report = carrier.Carry(*last, *made);
    living.insert(made.get());
    return last = made;
  }
  void Follow() {
    carrier.Follow([this](const HeldInstance& held) {
      for (const Generation* g : living) {
        for (const auto& h : g->held()) {
          if (h.get() == &held) return true;
        }
      }
      return false;
    });
  }
  template <class T>
  static T& Of(const Generation& generation, size_t copy = 0) {
    for (const auto& held : generation.held()) {
      if (held->instance()->name() == "x") return *static_cast<T*>(held->all()[copy]->self());
    }
    throw std::logic_error("no x");
  }
  std::vector<std::string> Lost() const {
    std::vector<std::string> out;
    for (const LostState& lost : report.lost) out.push_back(lost.plugin + ": " + lost.why);
    return out;
  }

  Rig rig;
  StateCarrier carrier{&rig.metrics, 1000};
  std::shared_ptr<Generation> last;
  std::set<const Generation*> living;
  StateReport report;
};

TEST_F(StateTransferTest, WhatWasLearnedReachesTheSuccessor) {
  auto first = Next("learner", 1);
  Of<Learner>(*first).own = 7;
  auto second = Next("learner", 2);
  EXPECT_EQ(Of<Learner>(*second).inherited, 7);
  EXPECT_EQ(report.carried, 1u);
  EXPECT_EQ(report.bytes, 1u);
  EXPECT_THAT(Lost(), IsEmpty());
  EXPECT_FALSE(carrier.following());
  EXPECT_THAT(rig.registry.Text(), HasSubstr("epp_state_transfers_total{result=\"carried\"} 1"));
}

TEST_F(StateTransferTest, AKeptInstanceIsLeftAlone) {
  auto first = Next("learner", 1);
  Of<Learner>(*first).own = 7;
  auto second = Next("learner", 1);
  EXPECT_EQ(&Of<Learner>(*first), &Of<Learner>(*second));
  EXPECT_EQ(Of<Learner>(*second).loads, 0);
  EXPECT_EQ(report.carried, 0u);
}

TEST_F(StateTransferTest, NothingLearnedIsNothingLost) {
  Next("learner", 1);
  auto second = Next("learner", 2);
  EXPECT_EQ(Of<Learner>(*second).loads, 0);
  EXPECT_EQ(report.carried, 0u);
  EXPECT_THAT(Lost(), IsEmpty());
  Next("forgetful", 1);
  EXPECT_THAT(Lost(), IsEmpty()) << "another type is no successor";
  Next("forgetful", 2);
  EXPECT_THAT(Lost(), IsEmpty());
}

struct FaultCase {
  const char* name;
  const char* old_fault;
  const char* new_fault;
  const char* why;
};
void PrintTo(const FaultCase& c, std::ostream* os) { *os << c.name; }
struct StateFaultTest : StateTransferTest, testing::WithParamInterface<FaultCase> {};

TEST_P(StateFaultTest, StartsEmptyAndSaysWhy) {
  auto first = Next("follower", 1, GetParam().old_fault);
  Of<Follower>(*first).own = 7;
  auto second = Next("follower", 2, GetParam().new_fault);
  EXPECT_EQ(Of<Follower>(*second).inherited, 0);
  EXPECT_EQ(report.carried, 0u);
  EXPECT_THAT(Lost(), ElementsAre(std::string("x: ") + GetParam().why));
  EXPECT_FALSE(carrier.following());
  EXPECT_THAT(rig.registry.Text(), HasSubstr("epp_state_transfers_total{result=\"lost\"} 1"));
}

INSTANTIATE_TEST_SUITE_P(
    Table, StateFaultTest,
    testing::Values(FaultCase{"SaveFails", "save", "", "the old instance did not save it: no time"},
                    FaultCase{"SaveThrows", "throw", "", "the old instance did not save it: boom"},
                    FaultCase{"TooLong", "long", "", "it has more than 1000 bytes"},
                    FaultCase{"LoadFails", "", "load",
                              "the new instance refused it: another block size"}),
    [](const auto& info) { return info.param.name; });

TEST_F(StateTransferTest, AnExceptionThroughTheBorderIsAnErrorToo) {
  static constexpr epp_plugin_type kThrower = [] {
    epp_plugin_type type = epp::detail::Type<Learner>::kRecord;
    type.name = "thrower";
    type.get_interface = [](void* self, const char* id) noexcept -> const void* {
      static const epp_state table = [] {
        epp_state t{sizeof(epp_state), 1, 0, 0, nullptr, &epp::detail::Type<Learner>::LoadState};
        auto* const save = &ThrowingSave;
        std::memcpy(&t.save, &save, sizeof(save));
        return t;
      }();
      if (std::string_view(id) == EPP_STATE_ID) return &table;
      return epp::detail::Type<Learner>::GetInterface(self, id);
    };
    return type;
  }();
  rig.catalog->AddBuiltin(&kThrower);
  Next("thrower", 1);
  Next("thrower", 2);
  EXPECT_THAT(Lost(), ElementsAre("x: the old instance did not save it: it threw an exception: "
                                  "through the border"));
}

TEST_F(StateTransferTest, FollowsUntilTheOldGenerationIsGone) {
  auto first = Next("follower", 1);
  Of<Follower>(*first).own = 5;
  auto second = Next("follower", 2);
  Of<Follower>(*second).own = 100;
  EXPECT_EQ(Of<Follower>(*second).inherited, 5);
  ASSERT_TRUE(carrier.following());
  Of<Follower>(*first).own = 3;
  Follow();
  EXPECT_EQ(Of<Follower>(*second).inherited, 3);
  Of<Follower>(*first).own = 0;
  living.erase(first.get());
  first.reset();  // what is followed lives on
  Follow();
  EXPECT_EQ(Of<Follower>(*second).inherited, 0);
  EXPECT_EQ(Of<Follower>(*second).own, 100);
  EXPECT_FALSE(carrier.following());
}

TEST_F(StateTransferTest, AChainOfDrainingGenerations) {
  auto first = Next("follower", 1);
  Of<Follower>(*first).own = 4;
  auto second = Next("follower", 2);
  Of<Follower>(*second).own = 20;
  auto third = Next("follower", 3);
  Of<Follower>(*third).own = 100;
  EXPECT_EQ(Of<Follower>(*third).inherited, 24);
  // The one in the middle ends first; what the first still has goes through it.
  Of<Follower>(*second).own = 0;
  living.erase(second.get());
  second.reset();
  Follow();
  EXPECT_EQ(Of<Follower>(*third).inherited, 4);
  EXPECT_TRUE(carrier.following());
  Of<Follower>(*first).own = 1;
  Follow();
  EXPECT_EQ(Of<Follower>(*third).inherited, 1);
  Of<Follower>(*first).own = 0;
  living.erase(first.get());
  Follow();
  EXPECT_EQ(Of<Follower>(*third).inherited, 0);
  EXPECT_FALSE(carrier.following());
}

TEST_F(StateTransferTest, AnInstanceOfTwoGenerationsIsFollowedUntilBothAreGone) {
  auto first = Next("follower", 1);
  auto same = Next("follower", 1);
  Of<Follower>(*first).own = 2;
  auto third = Next("follower", 2);
  living.erase(first.get());
  Follow();
  EXPECT_TRUE(carrier.following());
  living.erase(same.get());
  Follow();
  EXPECT_FALSE(carrier.following());
}

TEST_F(StateTransferTest, AFaultWhileFollowingForgetsWhatWasInherited) {
  auto first = Next("follower", 1);
  Of<Follower>(*first).own = 5;
  auto second = Next("follower", 2);
  Of<Follower>(*first).fault = "save";
  Follow();
  EXPECT_EQ(Of<Follower>(*second).inherited, 0);
  EXPECT_FALSE(carrier.following());
}

TEST_F(StateTransferTest, ASuccessorWithoutSuccessorIsNotFollowed) {
  auto first = Next("follower", 1);
  auto second = Next("follower", 2);
  Next("forgetful", 1);
  Follow();
  EXPECT_TRUE(carrier.following());
  living.erase(second.get());
  Follow();
  EXPECT_FALSE(carrier.following());
}

struct SerialStateTest : StateTransferTest {
  SerialStateTest() : StateTransferTest(3) {}
};

TEST_F(SerialStateTest, CopyByCopy) {
  auto first = Next("serial-learner", 1);
  for (size_t i = 0; i < 3; ++i) Of<SerialLearner>(*first, i).own = static_cast<int>(i) + 1;
  auto second = Next("serial-learner", 2);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(Of<SerialLearner>(*second, i).inherited, static_cast<int>(i) + 1);
  }
  EXPECT_EQ(report.carried, 1u);
}

}  // namespace
}  // namespace epp::runtime
