#include "host/base/hostport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace epp {
namespace {

TEST(HostPortTest, SplitsAndJoins) {
  const struct {
    const char* text;
    HostPort want;
  } cases[] = {
      {"10.0.0.1:80", {"10.0.0.1", 80}},
      {"vllm-0.svc:8000", {"vllm-0.svc", 8000}},
      {"[::1]:0", {"::1", 0}},
      {":9090", {"", 9090}},
      {"[fe80::1%eth0]:65535", {"fe80::1%eth0", 65535}},
  };
  for (const auto& c : cases) {
    const auto got = SplitHostPort(c.text);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(*got, c.want);
    EXPECT_EQ(JoinHostPort(got->host, got->port), c.text);
  }
}

TEST(HostPortTest, RefusesTheRest) {
  for (const char* text :
       {"", "host", "host:", "host:x", "host:-1", "host:+1", "host:65536", "host: 80", "::1:80",
        "[::1]", "[::1]80", "[::1", "[host]:80", "a b:80", "http://a:80", "u@a:80", "a\n:80"}) {
    const auto got = SplitHostPort(text);
    EXPECT_FALSE(got.ok()) << text;
    EXPECT_THAT(got.status().message(), testing::HasSubstr("want host:port"));
  }
}

TEST(HostPortTest, KnowsLiterals) {
  EXPECT_TRUE(IsIpLiteral("127.0.0.1"));
  EXPECT_TRUE(IsIpLiteral("::1"));
  EXPECT_FALSE(IsIpLiteral("localhost"));
  EXPECT_FALSE(IsIpLiteral("127.1"));
  EXPECT_FALSE(IsIpLiteral(std::string(1000, '1')));
}

}  // namespace
}  // namespace epp
