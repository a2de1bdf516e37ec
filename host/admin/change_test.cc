#include "host/admin/change.h"

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "host/admin/deadlines.h"

namespace epp::admin {
namespace {

using std::chrono::milliseconds;

TEST(ChangeTest, AnEmptyBodyAsksForThePlainThing) {
  for (const char* body : {"", " \n", "{}"}) {
    const auto reload = ParseReloadBody(body);
    ASSERT_TRUE(reload.ok()) << body;
    EXPECT_FALSE(reload->wait.has_value());
    EXPECT_FALSE(reload->change.rollback_to.has_value());
    const auto rollback = ParseRollbackBody(body);
    ASSERT_TRUE(rollback.ok()) << body;
    EXPECT_EQ(rollback->change.rollback_to, 0u);
    EXPECT_EQ(rollback->wait, milliseconds(30'000));
  }
}

TEST(ChangeTest, EveryField) {
  const auto reload = ParseReloadBody(R"({"wait_ms":5,"expect":"91be03d4","force":true})");
  ASSERT_TRUE(reload.ok()) << reload.status();
  EXPECT_EQ(reload->wait, milliseconds(5));
  EXPECT_EQ(reload->change.expect, "91be03d4");
  EXPECT_TRUE(reload->change.force);
  const auto rollback = ParseRollbackBody(R"({"to":42,"reason":"too slow","wait_ms":0})");
  ASSERT_TRUE(rollback.ok()) << rollback.status();
  EXPECT_EQ(rollback->change.rollback_to, 42u);
  EXPECT_EQ(rollback->change.reason, "too slow");
  EXPECT_EQ(rollback->wait, milliseconds(0));
}

TEST(ChangeTest, RefusesTheRest) {
  for (const char* body :
       {"x", "[]", "3", R"({"wait_ms":-1})", R"({"wait_ms":600001})", R"({"wait_ms":"5"})",
        R"({"expect":"91be"})", R"({"expect":"91BE03D4"})", R"({"expect":7})", R"({"force":1})",
        R"({"to":3})", R"({"forse":true})"}) {
    EXPECT_FALSE(ParseReloadBody(body).ok()) << body;
  }
  const std::string longer(600, 'x');
  for (const std::string& body :
       {std::string(R"({"to":-3})"), std::string(R"({"to":"3"})"), std::string(R"({"to":1.5})"),
        std::string(R"({"expect":"91be03d4"})"), "{\"reason\":\"" + longer + "\"}"}) {
    EXPECT_FALSE(ParseRollbackBody(body).ok()) << body;
  }
}

TEST(DeadlinesTest, CallsInOrderOfTimeAndDropsWhatIsLeft) {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<int> called;
  const auto call = [&](int what) {
    return [&, what] {
      std::lock_guard lock(mutex);
      called.push_back(what);
      changed.notify_one();
    };
  };
  {
    Deadlines deadlines;
    deadlines.After(milliseconds(3'600'000), call(3));
    deadlines.After(milliseconds(40), call(2));
    deadlines.After(milliseconds(0), call(1));
    std::unique_lock lock(mutex);
    changed.wait_for(lock, std::chrono::seconds(30), [&] { return called.size() == 2; });
  }
  EXPECT_THAT(called, testing::ElementsAre(1, 2));
}

}  // namespace
}  // namespace epp::admin
