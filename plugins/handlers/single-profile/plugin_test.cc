#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "epp/testing.hpp"

namespace {

using epp::test::Pool;
using epp::test::Profiles;
using epp::test::Request;
using testing::ElementsAre;

TEST(SingleProfileHandlerTest, RunsTheProfileOnce) {
  auto handler = epp::test::Make("single-profile-handler", {{"anything", 1}});
  ASSERT_TRUE(handler.ok());
  Profiles profiles{"default"};
  Request request;
  const auto schedule = handler.Schedule(profiles, {{"default", {1}}}, Pool(2), request);
  EXPECT_THAT(schedule.rounds, ElementsAre(ElementsAre("default")));
  EXPECT_EQ(schedule.primary, "default");
}

TEST(SingleProfileHandlerTest, FailsWithTheProfile) {
  auto handler = epp::test::Make("single-profile-handler");
  Profiles profiles{"default"};
  Request request;
  const auto schedule = handler.Schedule(profiles, {}, Pool(2), request);
  EXPECT_THAT(schedule.rounds, ElementsAre(ElementsAre("default")));
  EXPECT_EQ(schedule.primary, "");
  EXPECT_EQ(handler.status(), EPP_RESOURCE_EXHAUSTED);
}

TEST(SingleProfileHandlerTest, WantsExactlyOneProfile) {
  auto handler = epp::test::Make("single-profile-handler");
  EXPECT_TRUE(handler.Check(Profiles{"a"}).ok());
  EXPECT_FALSE(handler.Check(Profiles{"a", "b"}).ok());
  EXPECT_FALSE(handler.Check(Profiles{}).ok());
}

}  // namespace
