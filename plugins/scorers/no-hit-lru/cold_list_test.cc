#include "cold_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace epp::nohit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Endpoint i has slot i and id 100 + i.
class ColdListTest : public testing::Test {
 protected:
  void Fill(uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) list_.Register(i, 100 + i, "pod-" + std::to_string(i));
  }
  void Touch(uint32_t i) { list_.Touch(i, 100 + i); }
  bool Listed(uint32_t slot, uint64_t id) const {
    Turn turn{7, id, 0};
    list_.Read({&slot, 1}, {&turn, 1});
    return turn.time != 0;
  }

  ColdList list_{3};
};

TEST_F(ColdListTest, NewestLast) {
  Fill(3);
  EXPECT_THAT(list_.Ids(), IsEmpty());
  for (const uint32_t i : {0, 1, 2, 0}) Touch(i);
  EXPECT_THAT(list_.Ids(), ElementsAre(101, 102, 100));
  Touch(2);
  EXPECT_THAT(list_.Ids(), ElementsAre(101, 100, 102));
  Touch(2);
  EXPECT_THAT(list_.Ids(), ElementsAre(101, 100, 102));
  EXPECT_THAT(list_.Names(2), ElementsAre("pod-1", "pod-0"));
}

TEST_F(ColdListTest, TheOldestMakesRoom) {
  Fill(5);
  for (const uint32_t i : {0, 1, 2, 3}) Touch(i);
  EXPECT_THAT(list_.Ids(), ElementsAre(101, 102, 103));
  EXPECT_FALSE(Listed(0, 100));
  Touch(1);
  Touch(4);
  EXPECT_THAT(list_.Ids(), ElementsAre(103, 101, 104));
  EXPECT_EQ(list_.size(), 3u);
}

TEST_F(ColdListTest, EndpointsLeave) {
  Fill(3);
  for (const uint32_t i : {0, 1, 2}) Touch(i);
  list_.Unregister(1, 101);
  EXPECT_THAT(list_.Ids(), ElementsAre(100, 102));
  list_.Unregister(2, 999);  // another endpoint that had the slot
  EXPECT_THAT(list_.Ids(), ElementsAre(100, 102));
  Touch(1);  // a request that was under way
  EXPECT_THAT(list_.Ids(), ElementsAre(100, 102));
}

TEST_F(ColdListTest, ASlotGetsAnotherEndpoint) {
  Fill(2);
  Touch(0);
  Touch(1);
  list_.Register(0, 100, "renamed");  // an update
  EXPECT_THAT(list_.Names(9), ElementsAre("renamed", "pod-1"));
  list_.Register(0, 200, "new");
  EXPECT_THAT(list_.Ids(), ElementsAre(101));
  EXPECT_FALSE(Listed(0, 100));
  EXPECT_FALSE(Listed(0, 200));
  list_.Touch(0, 100);
  EXPECT_FALSE(Listed(0, 200));
}

TEST_F(ColdListTest, OutOfRange) {
  EXPECT_FALSE(list_.Register(ColdList::kMaxSlots, 1, "far"));
  list_.Touch(ColdList::kMaxSlots, 1);
  list_.Touch(5, 1);
  list_.Unregister(5, 1);
  EXPECT_FALSE(Listed(5, 1));
  EXPECT_THAT(list_.Ids(), IsEmpty());
}

TEST_F(ColdListTest, LoadKeepsTheNewestOfThoseItKnows) {
  Fill(4);
  const std::vector<uint64_t> ids{102, 999, 100, 0, 103, 101};
  list_.Load(ids);
  EXPECT_THAT(list_.Ids(), ElementsAre(100, 103, 101));
  Touch(2);
  EXPECT_THAT(list_.Ids(), ElementsAre(103, 101, 102));
}

}  // namespace
}  // namespace epp::nohit
