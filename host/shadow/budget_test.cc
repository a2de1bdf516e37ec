#include "host/shadow/budget.h"

#include "gtest/gtest.h"

namespace epp::shadow {
namespace {

constexpr uint64_t kMs = 1'000'000;

TEST(BudgetTest, AShareOfTheTimeThatPassesIsAdmitted) {
  // 5 % of a thread, asked every millisecond for 20 s, with work of 1 ms each: twenty times too
  // much.
  Budget budget(0.05);
  uint64_t admitted = 0;
  for (uint64_t now = kMs; now <= 20'000 * kMs; now += kMs) {
    if (!budget.Admit(now)) continue;
    ++admitted;
    budget.Charge(kMs);
  }
  // 1 s at 5 %, and the 50 ms that may be saved up.
  EXPECT_GE(admitted, 1000u);
  EXPECT_LE(admitted, 1055u);
}

TEST(BudgetTest, CheapWorkIsAlwaysAdmitted) {
  Budget budget(0.05);
  for (uint64_t now = kMs; now <= 10'000 * kMs; now += kMs) {
    ASSERT_TRUE(budget.Admit(now));
    budget.Charge(kMs / 25);
  }
}

TEST(BudgetTest, ALongPieceIsPaidBackBeforeTheNext) {
  Budget budget(0.1);
  uint64_t now = kMs;
  ASSERT_TRUE(budget.Admit(now));
  budget.Charge(1100 * kMs);  // of 100 saved up
  EXPECT_FALSE(budget.Admit(now += 9'000 * kMs));
  EXPECT_TRUE(budget.Admit(now += 1'001 * kMs));
}

TEST(BudgetTest, SavingsAreBounded) {
  Budget budget(0.05);
  ASSERT_TRUE(budget.Admit(kMs));
  const uint64_t later = 3'600'000 * kMs;
  ASSERT_TRUE(budget.Admit(later));
  budget.Charge(51 * kMs);
  EXPECT_FALSE(budget.Admit(later));
}

TEST(BudgetTest, NoShareAdmitsNothingAndAClockThatRestsGivesNothing) {
  Budget none(0);
  EXPECT_FALSE(none.Admit(kMs));
  EXPECT_FALSE(none.Admit(1'000 * kMs));
  Budget all(1);
  ASSERT_TRUE(all.Admit(5 * kMs));
  all.Charge(2'000 * kMs);
  EXPECT_FALSE(all.Admit(5 * kMs));
  EXPECT_FALSE(all.Admit(4 * kMs));
}

TEST(MeterTest, WorkThatSleepsIsChargedForTheDelay) {
  FakeClock clock;
  const Meter meter(&clock);
  EXPECT_LT(meter.Stop().charge_ns, 1'000 * kMs);
  clock.Advance(5'000 * kMs);
  const Meter::Took took = meter.Stop();
  EXPECT_GE(took.charge_ns, 4'999 * kMs);
  EXPECT_LT(took.cpu_ns, 1'000 * kMs);
}

}  // namespace
}  // namespace epp::shadow
