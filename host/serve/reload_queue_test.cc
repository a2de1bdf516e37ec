#include "host/serve/reload_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace epp::serve {
namespace {

using testing::ElementsAre;

std::vector<std::string> Causes(const ReloadQueue::Batch& batch) {
  std::vector<std::string> out;
  for (const ReloadQueue::Request& request : batch.requests) out.push_back(request.what.cause);
  return out;
}

TEST(ReloadQueueTest, OneThatIsDueTakesTheOthersAlong) {
  ReloadQueue queue;
  EXPECT_EQ(queue.due_ns(), UINT64_MAX);
  queue.Add({.what = {.cause = "file change"}}, 500);
  EXPECT_TRUE(queue.Take(100).requests.empty());
  queue.Add({.what = {.cause = "admin"}}, 100);
  EXPECT_EQ(queue.due_ns(), 100u);
  EXPECT_THAT(Causes(queue.Take(100)), ElementsAre("file change", "admin"));
  EXPECT_TRUE(queue.Take(1000).requests.empty());
}

TEST(ReloadQueueTest, WhatIsPostponedComesBackAndRemembersSinceWhen) {
  ReloadQueue queue;
  queue.Add({.what = {.cause = "file change"}}, 0);
  ReloadQueue::Batch batch = queue.Take(10);
  EXPECT_EQ(batch.postponed_ns, 0u);
  queue.Postpone(std::move(batch), 10, 100);
  EXPECT_TRUE(queue.Take(50).requests.empty());
  queue.Add({.what = {.cause = "admin"}}, 60);
  batch = queue.Take(60);
  EXPECT_THAT(Causes(batch), ElementsAre("file change", "admin"));
  EXPECT_EQ(batch.postponed_ns, 10u);
  queue.Postpone(std::move(batch), 60, 100);
  batch = queue.Take(100);
  EXPECT_EQ(batch.postponed_ns, 10u);
  EXPECT_EQ(batch.requests.size(), 2u);
}

}  // namespace
}  // namespace epp::serve
