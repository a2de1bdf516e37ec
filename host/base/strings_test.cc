#include "host/base/strings.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace epp {
namespace {

TEST(EditDistanceTest, CountsEditsUpToTheLimit) {
  const struct {
    const char *a, *b;
    size_t limit, want;
  } cases[] = {
      {"", "", 2, 0},          {"queue", "queue", 2, 0},    {"queue", "qeuue", 2, 1},
      {"queue", "queu", 2, 1}, {"queue", "queues", 2, 1},   {"queue", "quxue", 2, 1},
      {"abc", "cab", 2, 2},    {"kitten", "sitting", 3, 3}, {"kitten", "sitting", 2, 3},
      {"a", "abcdef", 2, 3},   {"ab", "ba", 0, 1},          {"abcd", "badc", 2, 2},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(EditDistance(c.a, c.b, c.limit), c.want) << c.a << " " << c.b;
    EXPECT_EQ(EditDistance(c.b, c.a, c.limit), c.want) << c.b << " " << c.a;
  }
}

TEST(NearestTest, SuggestsOnlyWhatIsClose) {
  const std::vector<std::string> names = {"queue", "kv-cache", "prefix", "kv"};
  EXPECT_EQ(Nearest("qeue", names), "queue");
  EXPECT_EQ(Nearest("kv-cahce", names), "kv-cache");
  EXPECT_EQ(Nearest("kvx", names), "kv");
  EXPECT_EQ(Nearest("weight", names), "");
  EXPECT_EQ(Nearest("ab", names), "") << "differs everywhere";
  EXPECT_EQ(Nearest("queue", std::span<const std::string>{}), "");
  const std::vector<std::string_view> views = {"abc", "abd"};
  EXPECT_EQ(Nearest("abx", views), "abc") << "the first of equals";
}

TEST(MiddleEllipsisTest, CutsTheMiddle) {
  const struct {
    const char* in;
    size_t columns;
    const char* want;
  } cases[] = {
      {"short", 10, "short"},    {"exact", 5, "exact"},  {"abcdefghij", 5, "ab…ij"},
      {"abcdefghij", 4, "ab…j"}, {"abcdefghij", 1, "…"}, {"abcdefghij", 0, ""},
      {"ééééé", 3, "é…é"},       {"ééé", 3, "ééé"},
  };
  for (const auto& c : cases) EXPECT_EQ(MiddleEllipsis(c.in, c.columns), c.want) << c.in;
}

TEST(FormatTest, NumbersForPeople) {
  EXPECT_EQ(GroupThousands(0), "0");
  EXPECT_EQ(GroupThousands(999), "999");
  EXPECT_EQ(GroupThousands(1024), "1 024");
  EXPECT_EQ(GroupThousands(-1234567, ','), "-1,234,567");
  EXPECT_EQ(GroupThousands(INT64_MIN), "-9 223 372 036 854 775 808");
  EXPECT_EQ(FormatIecBytes(0), "0 B");
  EXPECT_EQ(FormatIecBytes(1023), "1023 B");
  EXPECT_EQ(FormatIecBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatIecBytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(FormatIecBytes(uint64_t{4} << 30), "4.0 GiB");
  EXPECT_EQ(FormatIecBytes(UINT64_MAX), "16.0 EiB");
}

}  // namespace
}  // namespace epp
