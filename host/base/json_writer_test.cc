#include "host/base/json_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

namespace epp {
namespace {

TEST(JsonWriterTest, NestsAndSeparates) {
  std::string out;
  JsonWriter w(&out);
  w.BeginObject()
      .Field("a", 1)
      .Key("b")
      .BeginArray()
      .Value(true)
      .Null()
      .BeginObject()
      .EndObject()
      .Value("x")
      .EndArray()
      .Field("c", 0.1)
      .Key("d")
      .Raw("[1]")
      .EndObject();
  EXPECT_EQ(out, R"({"a":1,"b":[true,null,{},"x"],"c":0.1,"d":[1]})");
  EXPECT_TRUE(w.done());
}

TEST(JsonWriterTest, Numbers) {
  std::string out;
  JsonWriter w(&out);
  w.BeginArray()
      .Value(std::numeric_limits<int64_t>::min())
      .Value(std::numeric_limits<uint64_t>::max())
      .Value(1e300)
      .Value(0.785)
      .Value(-0.0)
      .Value(std::nan(""))
      .Value(std::numeric_limits<double>::infinity())
      .Value(4.0)
      .EndArray();
  EXPECT_EQ(out, "[-9223372036854775808,18446744073709551615,1e+300,0.785,-0,null,null,4]");
}

TEST(JsonWriterTest, Strings) {
  const struct {
    std::string in;
    const char* want;
  } cases[] = {
      {"", R"("")"},
      {"plain", R"("plain")"},
      {"q\"b\\", R"("q\"b\\")"},
      {"\n\r\t\x01\x7f", R"("\n\r\t\u0001\u007f")"},
      {std::string("a\0b", 3), R"("a\u0000b")"},
      {"\xC3\xA9\xF0\x9F\x98\x80", "\"\xC3\xA9\xF0\x9F\x98\x80\""},
      {"x\xFFy", "\"x\xEF\xBF\xBDy\""},
      {"\xC3", "\"\xEF\xBF\xBD\""},
      {"\xC3\"", "\"\xEF\xBF\xBD\\\"\""},
  };
  for (const auto& c : cases) {
    std::string out;
    AppendJsonString(c.in, &out);
    EXPECT_EQ(out, c.want);
  }
}

TEST(JsonWriterTest, SixtyFourLevels) {
  std::string out;
  JsonWriter w(&out);
  for (int i = 0; i < JsonWriter::kMaxDepth; ++i) w.BeginArray();
  w.Value(1).Value(2);
  for (int i = 0; i < JsonWriter::kMaxDepth; ++i) w.EndArray();
  EXPECT_EQ(out, std::string(64, '[') + "1,2" + std::string(64, ']'));
}

}  // namespace
}  // namespace epp
