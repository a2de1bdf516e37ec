#include "host/base/quantity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace epp {
namespace {

TEST(DurationTest, ParsesWhatGoParses) {
  const struct {
    const char* text;
    int64_t ns;
  } cases[] = {
      {"0", 0},
      {"-0", 0},
      {"1m30s", 90'000'000'000},
      {"250ms", 250'000'000},
      {"1.5h", 5'400'000'000'000},
      {"-2s", -2'000'000'000},
      {"+5us", 5'000},
      {"5\xC2\xB5s", 5'000},
      {"5\xCE\xBCs", 5'000},
      {".5s", 500'000'000},
      {"1.s", 1'000'000'000},
      {"1.0000000004s", 1'000'000'000},
      {"0.100000000000000000000000000000000000000001h", 360'000'000'000},
      {"1h1m1s1ms1us1ns", 3'661'001'001'001},
      {"9223372036854775807ns", INT64_MAX},
      {"-9223372036854775808ns", INT64_MIN},
  };
  for (const auto& c : cases) {
    const auto got = ParseGoDurationNs(c.text);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(*got, c.ns) << c.text;
  }
}

TEST(DurationTest, RefusesTheRest) {
  for (const char* text : {"", "-", "1", "1.5", "s", ".s", "1x", "1m30", "1 s", " 1s", "1s ",
                           "--1s", "9223372036854775808ns", "-9223372036854775809ns", "3000000h",
                           "1e3s", "999999999999999999999999999999999999999999999999s"}) {
    const auto got = ParseGoDurationNs(text);
    EXPECT_FALSE(got.ok()) << text;
    EXPECT_THAT(got.status().message(), testing::HasSubstr("duration"));
  }
}

TEST(DurationTest, FormatsWhatItParses) {
  for (const char* text : {"1m30s", "1.5s", "250ms", "1h", "0s", "-2s", "3ns"}) {
    const auto got = ParseGoDuration(text == std::string("0s") ? "0" : text);
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(FormatGoDuration(*got), text);
  }
}

TEST(QuantityTest, ParsesWhatKubernetesParses) {
  const struct {
    const char* text;
    uint64_t want;
  } cases[] = {
      {"500", 500},
      {"+5", 5},
      {"1k", 1000},
      {"10Gi", uint64_t{10} << 30},
      {"1.5M", 1'500'000},
      {"1.5Ki", 1536},
      {"2e3", 2000},
      {"2E3", 2000},
      {"1E", 1000000000000000000u},
      {"1500m", 2},
      {"1000m", 1},
      {"1n", 1},
      {"0.0000000001", 1},
      {"0", 0},
      {"1e-1", 1},
      {"15Ei", uint64_t{15} << 60},
      {"18446744073709551615", UINT64_MAX},
      {"12e-1", 2},
      {".5k", 500},
      {"0e99", 0},
  };
  for (const auto& c : cases) {
    const auto got = ParseQuantity(c.text);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(*got, c.want) << c.text;
  }
}

TEST(QuantityTest, RefusesTheRest) {
  for (const char* text :
       {"",
        "k",
        "Gi",
        "-1",
        "1KB",
        "1K",
        "1ki",
        "1 k",
        "1e",
        "1e+",
        "1e1.5",
        "1e100",
        "16Ei",
        "18446744073709551616",
        "1..5",
        "0x10",
        "1e20",
        "inf",
        "999999999999999999999999999999999999",
        "99999999999999999999999999999999999999999999999999999999999999999999999999"}) {
    const auto got = ParseQuantity(text);
    EXPECT_FALSE(got.ok()) << text;
    EXPECT_THAT(got.status().message(), testing::HasSubstr("quantity"));
  }
}

}  // namespace
}  // namespace epp
