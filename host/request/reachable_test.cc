#include "host/request/reachable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "host/base/clock.h"
#include "host/pool/pool.h"

namespace epp::request {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint32_t kEndpoints = 4;

class ReachableTest : public testing::Test {
 protected:
  ReachableTest() {
    for (uint32_t i = 0; i < kEndpoints; ++i) {
      pool_.Upsert(
          {"default", "e" + std::to_string(i), "10.0.0." + std::to_string(i + 1), 8000, 0, {}});
    }
    pool_.Publish();
  }

  std::shared_ptr<const pool::Frame> FrameWithout(const std::vector<uint32_t>& dead_rows) {
    const auto before = pool_.current();
    for (const uint32_t row : dead_rows) pool_.SetUnreachable(before->endpoints()[row]->id);
    pool_.Publish();
    return pool_.current();
  }

  std::vector<uint32_t> Of(const pool::Frame& frame, std::vector<uint32_t> rows) {
    const auto kept = Reachable(frame, rows, arena_);
    return {kept.begin(), kept.end()};
  }

  FakeClock clock_;
  pool::Pool pool_{std::make_shared<pool::AttributeRegistry>(), std::make_shared<Interner>(),
                   &clock_, pool::Pool::Options()};
  BlockCache blocks_;
  Arena arena_{&blocks_};
};

TEST_F(ReachableTest, AllWhenAllAre) {
  const auto frame = FrameWithout({});
  EXPECT_THAT(Reachable(*frame, arena_), IsEmpty());
  EXPECT_THAT(Of(*frame, {1, 3}), ElementsAre(1, 3));
}

TEST_F(ReachableTest, LeavesOutTheUnreachable) {
  const auto frame = FrameWithout({0, 2});
  EXPECT_THAT(Reachable(*frame, arena_), ElementsAre(1, 3));
  EXPECT_THAT(Of(*frame, {0, 1}), ElementsAre(1));
  EXPECT_THAT(Of(*frame, {1, 2, 3}), ElementsAre(1, 3));
}

TEST_F(ReachableTest, AllWhenNoneIs) {
  EXPECT_THAT(Of(*FrameWithout({0, 2}), {0, 2}), ElementsAre(0, 2));
  EXPECT_THAT(Reachable(*FrameWithout({0, 1, 2, 3}), arena_), IsEmpty());
}

}  // namespace
}  // namespace epp::request
