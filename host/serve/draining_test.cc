#include "host/serve/draining.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "host/runtime/test_rig.h"

namespace epp::serve {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kSecond = 1'000'000'000;

struct DrainingTest : testing::Test {
  std::unique_ptr<runtime::Generation> Build(const std::string& type,
                                             const runtime::Generation* former = nullptr) {
    return rig.Build("plugins: [{name: x, type: " + type + "}]", former);
  }
  runtime::test::Rig rig;
  FakeClock clock;
  Conditions conditions{&clock, &rig.metrics, 600 * kSecond};
  Draining draining{&conditions, &rig.metrics, 10 * kSecond};
};

TEST_F(DrainingTest, OneThatDoesNotGoIsSaidOnce) {
  const auto first = Build("queue-scorer");
  const auto second = Build("queue-scorer");
  ASSERT_TRUE(first && second);
  draining.Came(first.get(), 100 * kSecond);
  draining.Came(second.get(), 200 * kSecond);
  draining.Look(209 * kSecond);
  EXPECT_THAT(conditions.raised(), IsEmpty());
  EXPECT_THAT(rig.registry.Text(), HasSubstr("epp_generations_draining 1"));
  for (int i = 0; i < 5; ++i) {
    clock.Advance(kSecond);
    draining.Look((210 + i) * kSecond);
    ASSERT_THAT(conditions.raised(), SizeIs(1));
    EXPECT_EQ(conditions.raised()[0].code, "generation-stuck");
    EXPECT_EQ(conditions.raised()[0].text,
              "requests still run on former generations after 10 s: 1");
  }
  draining.Gone(first.get());
  draining.Look(215 * kSecond);
  EXPECT_THAT(conditions.raised(), IsEmpty());
  EXPECT_THAT(rig.registry.Text(), HasSubstr("epp_generations_draining 0"));
}

TEST_F(DrainingTest, InstancesAreInUseWhileAnyOfTheirGenerationsIsThere) {
  const auto first = Build("queue-scorer");
  const auto second = Build("queue-scorer", first.get());
  const auto third = Build("kv-cache-utilization-scorer", second.get());
  ASSERT_TRUE(first && second && third);
  for (const auto* g : {first.get(), second.get(), third.get()}) draining.Came(g, kSecond);
  const runtime::HeldInstance* x = nullptr;
  for (const auto& held : first->held()) {
    if (held->instance()->name() == "x") x = held.get();
  }
  ASSERT_NE(x, nullptr);
  draining.Gone(first.get());
  EXPECT_TRUE(draining.Uses(*x));
  draining.Gone(second.get());
  EXPECT_FALSE(draining.Uses(*x));
}

}  // namespace
}  // namespace epp::serve
