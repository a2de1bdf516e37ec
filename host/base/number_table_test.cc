#include "host/base/number_table.h"

#include "gtest/gtest.h"

namespace epp {
namespace {

TEST(NumberTableTest, FindsWhatItNumbered) {
  NumberTable<int> table;
  EXPECT_EQ(table.Find(1), nullptr);
  for (int i = 1; i <= 3000; ++i) ASSERT_EQ(table.Append(10 * i), static_cast<uint64_t>(i));
  const int* const first = table.Find(1);
  for (const int i : {1, 1024, 1025, 3000}) {
    ASSERT_NE(table.Find(i), nullptr) << i;
    EXPECT_EQ(*table.Find(i), 10 * i);
  }
  table.Append(0);
  EXPECT_EQ(table.Find(1), first);
}

TEST(NumberTableTest, FindsNothingUnderOtherNumbers) {
  NumberTable<int> table;
  table.Append(7);
  for (const uint64_t number : {uint64_t{0}, uint64_t{2}, uint64_t{0x7fffec4d62eb}, ~uint64_t{0}}) {
    EXPECT_EQ(table.Find(number), nullptr) << number;
  }
}

TEST(NumberTableTest, IsFullInTheEnd) {
  NumberTable<char> table;
  for (size_t i = 1; i <= table.kMost; ++i) ASSERT_EQ(table.Append(1), i);
  EXPECT_EQ(table.Append(1), 0u);
}

}  // namespace
}  // namespace epp
