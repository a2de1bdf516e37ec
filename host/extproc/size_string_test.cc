#include "host/extproc/size_string.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "gtest/gtest.h"

namespace epp::extproc {
namespace {

struct Case {
  const char* text;
  std::optional<uint64_t> bytes;
};

TEST(SizeStringTest, C118_Sizes) {
  const Case cases[] = {
      {"", 0},
      {"  ", 0},
      {"0", 0},
      {"1", 1},
      {"10MiB", 10485760},
      {"10Mi", 10485760},
      {" 10MiB ", 10485760},
      {"10Mib", 10485760},
      {"20MB", 20000000},
      {"20M", 20000000},
      {"4k", 4000},
      {"0.5Ki", 512},
      {"1.5k", 1500},
      {"1e3", 1000},
      {"2E2", 200},
      {"4000m", 4},
      {"123456", 123456},
      {"4Gi", uint64_t{4} << 30},
      {"9223372036854775807", static_cast<uint64_t>(std::numeric_limits<int64_t>::max())},
      {"9223372036854775808", std::nullopt},
      {"10invalid", std::nullopt},
      {"abc", std::nullopt},
      {"-10Mi", std::nullopt},
      {"10Ei", std::nullopt},
      {"10E", std::nullopt},
      {"10mb", std::nullopt},
      {"0.3", std::nullopt},
      {"B", std::nullopt},
      {".", std::nullopt},
      {"1.2.3", std::nullopt},
      {"1e99", std::nullopt},
      {"10 Mi", std::nullopt},
      {"99999999999999999999999999999999999999999999", std::nullopt},
  };
  for (const Case& c : cases) {
    const auto got = ParseSizeString(c.text);
    EXPECT_EQ(got.ok(), c.bytes.has_value()) << '"' << c.text << "\" " << got.status();
    if (got.ok() && c.bytes.has_value()) {
      EXPECT_EQ(*got, *c.bytes) << c.text;
    }
  }
}

TEST(SizeStringTest, ErrorsNameTheText) {
  EXPECT_EQ(std::string(ParseSizeString("-1").status().message()),
            "size \"-1\": is negative, want bytes such as 10MiB or 20MB");
}

}  // namespace
}  // namespace epp::extproc
