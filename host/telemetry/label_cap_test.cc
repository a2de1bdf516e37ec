#include "host/telemetry/label_cap.h"

#include <gtest/gtest.h>

namespace epp::telemetry {
namespace {

TEST(LabelCapTest, LaterValuesBecomeOther) {
  LabelCap cap(2);
  EXPECT_EQ(cap.Admit("a"), "a");
  EXPECT_EQ(cap.Admit(""), "");
  EXPECT_EQ(cap.Admit("b"), "b");
  EXPECT_EQ(cap.Admit("c"), "other");
  EXPECT_EQ(cap.Admit("a"), "a");
  cap.Pin("c");
  EXPECT_EQ(cap.Admit("c"), "c");
  EXPECT_EQ(cap.Admit("d"), "other");
  EXPECT_EQ(cap.admitted(), 2u);
}

}  // namespace
}  // namespace epp::telemetry
