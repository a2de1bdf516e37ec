#include "host/serve/conditions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace epp::serve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr ConditionSpec kAtOnce{"pool-empty", 0};
constexpr ConditionSpec kHeld{"metrics-stale", 2 * kSecond};

class ConditionsTest : public testing::Test {
 protected:
  std::vector<std::string> Raised() const {
    std::vector<std::string> out;
    for (const admin::Warning& warning : conditions_.raised()) {
      out.push_back(warning.code + ": " + warning.text);
    }
    return out;
  }

  FakeClock clock_;
  telemetry::Registry registry_{1};
  telemetry::EppMetrics metrics_{&registry_, {}};
  Conditions conditions_{&clock_, &metrics_, 600 * kSecond};
};

TEST_F(ConditionsTest, SaidAtOnceWithoutHold) {
  conditions_.Set(kAtOnce, true, "no endpoints");
  EXPECT_THAT(Raised(), ElementsAre("pool-empty: no endpoints"));
  EXPECT_THAT(registry_.Text(), HasSubstr("epp_degraded{reason=\"pool-empty\"} 1"));
}

TEST_F(ConditionsTest, SaidOnlyWhenItLasts) {
  conditions_.Set(kHeld, true, "1 stale");
  clock_.Advance(kSecond);
  conditions_.Set(kHeld, true, "1 stale");
  EXPECT_THAT(Raised(), IsEmpty());
  clock_.Advance(kSecond);
  conditions_.Set(kHeld, true, "2 stale");
  EXPECT_THAT(Raised(), ElementsAre("metrics-stale: 2 stale"));
}

TEST_F(ConditionsTest, AGapStartsTheHoldAgain) {
  conditions_.Set(kHeld, true, "1 stale");
  clock_.Advance(kSecond);
  conditions_.Set(kHeld, false);
  clock_.Advance(kSecond);
  conditions_.Set(kHeld, true, "1 stale");
  EXPECT_THAT(Raised(), IsEmpty());
}

TEST_F(ConditionsTest, OverMeansGoneAndTheGaugeIsZero) {
  conditions_.Set(kAtOnce, true, "no endpoints");
  conditions_.Set(kAtOnce, false);
  EXPECT_THAT(Raised(), IsEmpty());
  EXPECT_THAT(registry_.Text(), HasSubstr("epp_degraded{reason=\"pool-empty\"} 0"));
}

TEST_F(ConditionsTest, OldestFirst) {
  conditions_.Set(kHeld, true, "stale");
  clock_.Advance(2 * kSecond);
  conditions_.Set(kAtOnce, true, "empty");
  conditions_.Set(kHeld, true, "stale");
  EXPECT_THAT(Raised(), ElementsAre("metrics-stale: stale", "pool-empty: empty"));
}

}  // namespace
}  // namespace epp::serve
